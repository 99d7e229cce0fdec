"""`harness summary`: the week for people, from the ledger alone. Reads; writes only the file that is asked for."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from harness.bootstrap import Record, read_record
from harness.cli.render import AsJson
from harness.cli.shown import Shown
from harness.cli.story import line
from harness.cli.summary_html import page
from harness.cli.summary_markdown import markdown
from harness.core.errors import Invalid
from harness.core.redaction import Secrets
from harness.core.summary import summary as document_of
from harness.core.week import Week
from harness.journal import decode
from harness.ledger.paging import rows
from harness.settings import Settings

Format = Literal["md", "html", "json"]


def summary(
    week: Annotated[str | None, typer.Option(help="A week such as 2026-W47, in UTC; this week when left out.")] = None,
    format_: Annotated[Format, typer.Option("--format", help="Markdown, one self-contained page, or JSON.")] = "md",
    out: Annotated[Path | None, typer.Option(help="Write to this file instead of stdout.")] = None,
    as_json: AsJson = False,
) -> None:
    """Tell a week: what changed and why, what was stopped, what burnt, what is asked for.

    Every claim names the event that it rests on. A quiet week is one line.
    """
    record = read_record(Settings.load())
    asked = Week.parse(week) if week else Week.of(record.clock.now())
    document = week_document(record, asked)
    text = rendered(document, "json" if as_json else format_)
    if out is None:
        print(text, end="")
    else:
        write_whole(out, text)
        print(out)


def week_document(record: Record, week: Week) -> dict[str, Any]:
    """The document of a week, anchored at the ledger's head, without the secrets of this environment."""
    head, shown = record.ledger.head(), Shown(record.blobs)
    told = ((row, decode(row)) for row in rows(record.ledger, up_to=head.position))
    document: dict[str, Any] = document_of(
        told, week=week, head=head, body=shown.get_json, tell=lambda event: line(event, shown)
    )
    clean: dict[str, Any] = Secrets.of(os.environ).taken_from(document)[0]
    return clean


def rendered(document: dict[str, Any], form: Format) -> str:
    """The document as text."""
    match form:
        case "html":
            return page(document)
        case "md":
            return markdown(document)
    return json.dumps(document, allow_nan=False) + "\n"


def write_whole(path: Path, text: str) -> None:
    """The file, or what was there before: never half of it. Raises Invalid where it cannot be written."""
    try:
        handle, unnamed = tempfile.mkstemp(dir=path.absolute().parent, prefix=f".{path.name[:40]}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            os.chmod(unnamed, 0o644)
            os.replace(unnamed, path)
        except BaseException:
            Path(unnamed).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise Invalid(f"--out {path}: {error.strerror}; name a file in a folder that can be written to") from None
