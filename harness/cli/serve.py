"""`harness serve`: the HTTP interface over a ledger, with what the commands of tickets do. Joins the two; starts no
other part."""

from __future__ import annotations

import errno
import os
import socket
import sys
from dataclasses import asdict
from ipaddress import ip_address
from typing import Annotated, Any

import typer

from harness.adapters.api_token import kept_token, make_token, told
from harness.adapters.stack.addresses import LOOPBACK
from harness.adapters.stack.components import NAMES
from harness.adapters.stack.report import report
from harness.bootstrap import Record, Rules, open_record, read_manifest, read_rules
from harness.cli.ticket import ticket_document
from harness.cli.ticket_file import file_spec
from harness.cli.ticket_list import backlog_now, listed
from harness.core.alert_cause import Declared
from harness.core.errors import Forbidden, Invalid, Retryable
from harness.core.ids import ticket_stream
from harness.core.ticket_spec import TicketSpec
from harness.settings import Settings
from harness.stages.file import file
from harness.stages.receive import Change, Stage

PORT = 8420
"""Where no stack of this home has chosen one."""
BACKLOG = 2_048


def serve(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = LOOPBACK,
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="The port; 0 for any. Default: the stack's, else 8420.")
    ] = None,
    beyond_loopback: Annotated[
        bool, typer.Option("--beyond-loopback", help="Let other machines in: plain HTTP, so put TLS before it.")
    ] = False,
) -> None:
    """Serve the HTTP interface: signals, tickets, health. `harness up` runs it as the component `api`.

    The token is HARNESS_API_TOKEN; without one it is made at the first start, printed once, and kept in the home.
    """
    settings = Settings.load()
    _require_loopback(host, beyond_loopback)
    token = settings.api_token or kept_token(settings.home)
    if token is None:
        token = make_token(settings.home)
        print(told(token.get_secret_value()), flush=True)
    # Half a second of imports that no other command needs.
    from harness.adapters.logs import log_without

    log_without(settings.secrets)
    from harness.api.app import Doors, build_app
    from harness.api.connections import server

    record, rules = open_record(settings), read_rules()
    stage = Stage(declared=_declared(settings, rules), ledger=record.ledger, blobs=record.blobs, clock=record.clock)
    app = build_app(
        Doors(
            tickets=lambda: listed(record),
            ticket=lambda ticket_id: _ticket(record, ticket_id),
            file_ticket=lambda document: _file(record, settings, rules, document),
            components=lambda: _components(settings),
            backlog=lambda: backlog_now(record), ledger=record.ledger, stage=stage,
            file=lambda change: file_change(change, record, rules), token=token, secrets=settings.secrets,
        )
    )  # fmt: skip
    listening = _listen(host, _port(settings, port))
    print(f"serving http://{_shown(listening)}", file=sys.stderr, flush=True)
    server(app).run(sockets=[listening])


def file_change(change: Change, record: Record, rules: Rules) -> None:
    """What the alerts of one cause come to: a ticket, or evidence on one."""
    if change.signal is not None:
        file(
            change.signal, slos=rules.slos, invariants=rules.invariants, sustained_s=rules.profile.verify.window_s,
            policy=rules.profile.causes, ledger=record.ledger, blobs=record.blobs, clock=record.clock,
            along=change.along,
        )  # fmt: skip
    change.note_end()
    change.end_signal()


def _declared(settings: Settings, rules: Rules) -> Declared:
    return Declared(read_manifest(settings, rules), rules.slos, rules.invariants)


def _ticket(record: Record, ticket_id: str) -> dict[str, Any]:
    from harness.api.problems import Absent

    if not record.ledger.stream_version(ticket_stream(ticket_id)):
        raise Absent(f"{ticket_id!r}: no such ticket; GET /api/v1/tickets lists all")
    return ticket_document(record, ticket_id)


def _file(record: Record, settings: Settings, rules: Rules, document: Any) -> str:
    spec = TicketSpec.read(document, "ticket file", service=rules.service)
    return file_spec(record, settings, rules, spec, by="api")


def _components(settings: Settings) -> list[dict[str, Any]]:
    parts = [asdict(part) for part in report(settings.home, names=NAMES).components]
    return [
        {"name": part.pop("name"), "state": part.pop("state"), "since": part.pop("since"), "evidence": part}
        for part in parts
    ]


def _require_loopback(host: str, allowed: bool) -> None:
    try:
        local = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        raise Invalid(f"--host: {host!r} is no address; allowed: an IP address, or localhost") from None
    if not local and not allowed:
        raise Forbidden(
            f"--host: {host} lets other machines in, and the token travels in plain HTTP; put something that speaks "
            "TLS before this server, and say --beyond-loopback"
        )


def _port(settings: Settings, given: int | None) -> int:
    if given is not None:
        return given
    try:
        return settings.addresses.ports["api"]
    except (Retryable, KeyError):  # no stack here, or one of before there was an interface
        return PORT


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        way = "name another by --port, or stop who has it (`harness status`)" if taken else "name another by --host"
        raise Retryable(f"--port: {host}:{port}: {os.strerror(error.errno or 0)}; {way}") from None


def _shown(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
