"""Lets the tests find the program and what the contract tests share, from whatever folder they are started."""

import sys
from pathlib import Path

TESTS = Path(__file__).parent

# The shared parts lie beside the contract tests, so that they are protected with them.
sys.path[:0] = [str(TESTS.parent / "src"), str(TESTS / "contract")]
