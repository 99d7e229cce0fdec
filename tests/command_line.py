"""The command line in this process, its tree of commands built once: that takes longer than most commands.

Touches what the commands touch.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from typer.main import get_command
from typer.testing import CliRunner, Result

from harness.cli import app
from harness.core.errors import HarnessError

COMMANDS = get_command(app)


def ended(words: Sequence[str], env: Mapping[str, str] | None = None) -> Result:
    """How the command ended, in the form of ``CliRunner.invoke``, which would build the tree anew."""
    runner, error, code = CliRunner(), None, 0
    with runner.isolation(env=env) as (out, err, both):
        try:
            COMMANDS.main(words, prog_name="harness")
        except SystemExit as end:
            code, error = end.code or 0, end if end.code else None
        except HarnessError as refused:
            code, error = 1, refused
        sys.stdout.flush()
        sys.stderr.flush()
        return Result(
            runner=runner, stdout_bytes=out.getvalue(), stderr_bytes=err.getvalue(), output_bytes=both.getvalue(),
            return_value=None, exit_code=code, exception=error,
        )  # fmt: skip
