"""The command line: `harness NOUN VERB`. One file per noun; this one joins them and is the process edge."""

from __future__ import annotations

import errno
import os
import sys
from traceback import format_exception

import typer

from harness.cli import (
    action,
    agent,
    anomaly,
    budget,
    demo,
    deployment,
    invariant,
    ledger,
    ledger_blobs,
    ledger_tail,
    node,
    notice,
    opportunity,
    recover,
    serve,
    signal,
    slo,
    slo_status,
    stack,
    summary,
    ticket,
    ticket_file,
    ticket_list,
    ticket_tell,
    trajectory,
)
from harness.core.errors import HarnessError, Retryable
from harness.core.plain_text import safe
from harness.core.redaction import Secrets

app = typer.Typer(
    name="harness", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Turns SLO burns and broken invariants into tickets, works them, and verifies every change.",
)  # fmt: skip
app.command()(stack.up)
app.command()(stack.down)
app.command()(stack.status)
app.command()(demo.demo)
app.command()(serve.serve)
app.command()(summary.summary)
app.command("recover")(recover.recover_)
ticket.app.command("list")(ticket_list.list_)
ticket.app.command("file")(ticket_file.file_)
for command in (ticket_list.queue, ticket_file.lint, ticket_file.revert, ticket_tell.pause, ticket_tell.resume,
                ticket_tell.cancel, ticket_tell.answer, ticket_tell.take_over, ticket_tell.approve,
                ticket_tell.reject, ticket_tell.constrain, ticket_tell.split):  # fmt: skip
    ticket.app.command()(command)
app.add_typer(ticket.app, name="ticket")
ledger.app.command()(ledger_blobs.gc)
ledger.app.command()(ledger_blobs.forget)
app.add_typer(agent.app, name="agent")
app.add_typer(action.app, name="action")
app.add_typer(anomaly.app, name="anomaly")
app.add_typer(budget.app, name="budget")
app.add_typer(deployment.app, name="deployment")
app.add_typer(invariant.app, name="invariant")
app.add_typer(node.app, name="node")
app.add_typer(notice.app, name="notice")
app.add_typer(opportunity.app, name="opportunity")
app.add_typer(signal.app, name="signal")
slo.app.command("status")(slo_status.status)
app.add_typer(slo.app, name="slo")
app.add_typer(trajectory.app, name="trajectory")
ledger.app.command("tail")(ledger_tail.tail)
app.add_typer(ledger.app, name="ledger")

ELSEWHERE = "make it writable for you, or name another place (for a home by HARNESS_HOME)"
WAY_OUT = {
    errno.ENOSPC: "free some space on its disk, then try again",
    errno.EDQUOT: "free some of your quota, then try again",
    errno.EFBIG: "raise the limit of a file's size, then try again",
    errno.EIO: "check its disk, then try again",
    errno.EROFS: ELSEWHERE,
    errno.EACCES: ELSEWHERE,
    errno.EPERM: ELSEWHERE,
}
"""What can be wrong with the folder of a home, wherever it is met. Any other error of the system is a bug of ours."""


def main() -> None:
    """Run a command; every error that we know ends in one line on stderr and the contract's exit code."""
    sys.excepthook = lambda kind, error, trace: sys.stderr.write(_clean("".join(format_exception(kind, error, trace))))
    code: object = 0
    try:
        app()
    except SystemExit as end:
        code = end.code
    except HarnessError as error:
        print(f"harness: {_clean(str(error))}", file=sys.stderr)
        code = error.exit_code
    except OSError as error:
        if error.errno not in WAY_OUT:
            raise
        print(_clean(f"harness: {error.filename}: {error.strerror}; {WAY_OUT[error.errno]}"), file=sys.stderr)
        code = Retryable.exit_code
    if "temporalio" in sys.modules and isinstance(code, int | None):
        # Temporal's threads may still be at work while the interpreter takes itself down, and abort the process then:
        # a command that was done would end with 134. Nothing is left to do but to say what it came to.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code or 0)
    sys.exit(code if isinstance(code, int | str) else 0)


def _clean(text: str) -> str:
    """What is said of an error may be kept in somebody's log, and holds what somebody else wrote."""
    return safe(Secrets.of(os.environ).taken_from_text(text)[0])
