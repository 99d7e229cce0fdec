"""Has the assertions of the acceptance tests' parts explained here too. Touches nothing."""

import pytest

pytest.register_assert_rewrite("tests.acceptance.killing", "tests.acceptance.disturbing")
