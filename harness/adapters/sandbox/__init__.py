"""Runs code that nobody has to trust, by bubblewrap: checks that end, releases that go on. Decides nothing."""

from harness.adapters.sandbox.box import Finished, Sandbox
from harness.adapters.sandbox.cage import SOCKET_DIR, TREE_DIR
from harness.adapters.sandbox.start_log import Tag

__all__ = ["SOCKET_DIR", "TREE_DIR", "Finished", "Sandbox", "Tag"]
