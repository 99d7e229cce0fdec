"""Gives the tests of this folder the homes of ``homes.py``. Touches nothing."""

import pytest

pytest.register_assert_rewrite("tests.acceptance.killing", "tests.acceptance.disturbing")

from tests.acceptance.homes import newcomer, outside  # noqa: E402  (the assertions are rewritten at import)

__all__ = ["newcomer", "outside"]
