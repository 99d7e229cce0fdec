"""`harness agent …`: asks a model's endpoint whether it can work here. Changes nothing, needs no stack."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

import typer

from harness.bootstrap import build_probe
from harness.cli.render import AsJson, print_json, safe
from harness.core.errors import Invalid
from harness.settings import Settings, http_url

app = typer.Typer(no_args_is_help=True, help="Models as agents.")


@app.callback()
def _group() -> None:
    """Keeps the verb when there is only one."""


@app.command()
def probe(
    agent: Annotated[Literal["runbook", "anthropic", "openai"], typer.Option(help="Whose API the endpoint speaks.")],
    base_url: Annotated[
        str | None, typer.Option(help="Where, if not as the environment says: anthropic without /v1, openai with it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run one fixed, read-only session against a model's endpoint.

    Exit 0 when the model finished it, 4 when the endpoint could not be reached or did not answer whole, else 1.
    """
    if agent == "runbook":
        raise Invalid("--agent runbook: walks trees and asks no endpoint; allowed: anthropic, openai")
    report = asyncio.run(build_probe(Settings.load(), agent, _checked(base_url))())
    if as_json:
        print_json(report.document())
    else:
        tokens = f"{_known(report.prompt_tokens)} tokens in, {_known(report.completion_tokens)} out"
        cost = "cost not known" if report.cost_usd is None else f"{report.cost_usd:.4f} USD"
        print(f"{report.exit_status}: {safe(report.error or report.summary or '')}")
        print(
            f"{report.model or 'no model answered'}; {report.model_calls} calls, {report.retries} retries, "
            f"{report.tool_calls} tool calls; {tokens}, {cost}"
        )
    raise typer.Exit(0 if report.exit_status == "finished" else 4 if report.unreachable else 1)


def _checked(base_url: str | None) -> str | None:
    try:
        return http_url(base_url) if base_url is not None else None
    except ValueError as error:
        raise Invalid(f"--base-url {base_url!r}: is not allowed; allowed: {error}") from None


def _known(number: int | None) -> str:
    return "?" if number is None else str(number)
