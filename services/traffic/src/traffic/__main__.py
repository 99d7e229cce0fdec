"""The command ``python -m traffic``: wires the parts, plays until SIGTERM; judges nothing itself."""

from __future__ import annotations

import argparse
import asyncio
import re
import secrets
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import uvloop

from .contract import Contract, ContractError, read_contract
from .exposition import serve_metrics
from .metrics import Metrics
from .player import Play, Player
from .schedule import ABUSIVE_KEYS

_MAX_RATE_PER_S = 5_000
_MAX_KEYS = 1_000_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 after SIGTERM or SIGINT, 1 when the metrics port is taken, 2 for bad arguments or a bad contract."""
    options = _parser().parse_args(arguments)
    try:
        contract = read_contract(options.contract)
    except ContractError as error:
        print(f"traffic: {error}", file=sys.stderr)
        return 2
    host, port = options.url
    play = Play(host=host, port=port, rate_per_s=options.rate, keys=options.keys, prefix=options.prefix)
    return uvloop.run(_run(play, contract, metrics_address=options.metrics))


async def _run(play: Play, contract: Contract, *, metrics_address: tuple[str, int]) -> int:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    metrics = Metrics()
    host, port = metrics_address
    try:
        server = await serve_metrics(metrics.exposition, host=host, port=port)
    except OSError as error:
        print(f"traffic: metrics cannot be served on {host}:{port}: {error}", file=sys.stderr)
        return 1
    player = Player(play, contract, metrics)
    bound_host, bound_port = server.sockets[0].getsockname()[:2]
    print(
        f"traffic: {play.rate_per_s} requests/s to {play.host}:{play.port}, keys {play.prefix}-0 to "
        f"{play.prefix}-{play.keys - 1}, metrics on {bound_host}:{bound_port}",
        flush=True,
    )
    player.start()
    await stopped.wait()
    player.stop()
    server.close()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="traffic", description="Plays the users of the rate limiter.")
    parser.add_argument("--url", required=True, type=_url, help="where checks go, like http://127.0.0.1:8080")
    parser.add_argument("--metrics", required=True, type=_address, help="HOST:PORT for GET /metrics, port 0: any free")
    parser.add_argument("--contract", required=True, type=Path, help="what the users were promised (YAML)")
    parser.add_argument("--rate", type=_number(1, _MAX_RATE_PER_S), default=400, help="requests per second")
    parser.add_argument("--keys", type=_number(ABUSIVE_KEYS + 1, _MAX_KEYS), default=4000, help="number of keys")
    parser.add_argument("--prefix", type=_prefix, default=secrets.token_hex(4), help="of key names (default: random)")
    return parser


def _url(text: str) -> tuple[str, int]:
    parts = urlsplit(text)
    if parts.scheme != "http" or not parts.hostname or parts.path not in ("", "/"):
        raise argparse.ArgumentTypeError(f"{text!r} is not like http://HOST:PORT")
    return parts.hostname, parts.port or 80


def _address(text: str) -> tuple[str, int]:
    host, separator, port = text.rpartition(":")
    if not separator or not host or not port.isdecimal() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not like HOST:PORT")
    return host, int(port)


def _prefix(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", text):
        raise argparse.ArgumentTypeError(f"{text!r}, allowed are 1 to 64 of A-Z a-z 0-9 _ . -")
    return text


def _number(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} to {most}")
        return int(text)

    return parse


if __name__ == "__main__":
    sys.exit(main())
