"""The command line: reads arguments and the limits file, puts the parts together, runs the server. Exits 0, 2 or 4."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from ratelimiter import __version__
from ratelimiter.api import Api
from ratelimiter.lifecycle import Lifecycle
from ratelimiter.limiter import MAX_KEYS, Limiter
from ratelimiter.limits import InvalidLimits, read_limits
from ratelimiter.server import Address, AddressInUse, TcpAddress, UnixAddress, serve

OK, INVALID, NOT_REACHABLE = 0, 2, 4


def main(argv: list[str] | None = None) -> int:
    """Run a command. Returns 0 after a stop by signal, 2 for bad input, 4 when the address cannot be used."""
    arguments = _parser().parse_args(argv)
    try:
        limiter = Limiter(read_limits(arguments.limits), clock_ns=time.monotonic_ns, max_keys=arguments.max_keys)
    except InvalidLimits as error:
        print(error, file=sys.stderr)
        return INVALID
    api = Api(limiter=limiter, lifecycle=Lifecycle(clock=_now), clock=_now)
    try:
        asyncio.run(serve(arguments.http, api))
    except (AddressInUse, OSError) as error:
        print(f"{arguments.http}: cannot listen: {error}", file=sys.stderr)
        return NOT_REACHABLE
    return OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ratelimiter", description="A rate limiter as a service.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("serve", help="answer checks over HTTP until SIGTERM")
    command.add_argument("--http", required=True, type=_address, metavar="unix:PATH|HOST:PORT", help="where to listen")
    command.add_argument("--limits", required=True, type=Path, metavar="FILE", help="the limits file")
    command.add_argument(
        "--max-keys", default=MAX_KEYS, type=_count, metavar="N", help="keys held per limit (default: %(default)s)"
    )
    return parser


def _address(text: str) -> Address:
    kind, _, path = text.partition(":")
    if kind == "unix" and path:
        return UnixAddress(Path(path))
    host, _, port = text.rpartition(":")
    if host and port.isascii() and port.isdigit() and int(port) < 2**16:
        return TcpAddress(host.removeprefix("[").removesuffix("]"), int(port))
    raise argparse.ArgumentTypeError(f"{text!r} is neither unix:PATH nor HOST:PORT")


def _count(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no number of keys above 0")


def _now() -> datetime:
    return datetime.now(UTC)
