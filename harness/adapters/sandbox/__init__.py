"""Runs code that nobody has to trust, by bubblewrap: checks that end, releases that go on. Decides nothing."""

from harness.adapters.sandbox.box import Finished, Sandbox, Tag
from harness.adapters.sandbox.cage import SOCKET_DIR, TREE_DIR

__all__ = ["SOCKET_DIR", "TREE_DIR", "Finished", "Sandbox", "Tag"]
