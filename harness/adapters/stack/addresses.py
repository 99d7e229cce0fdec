"""Where the parts of this home's stack are reached: ports chosen once and kept, in ``run/stack.json``."""

from __future__ import annotations

import json
import socket
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.adapters.stack.home import Home
from harness.adapters.stack.processes import listening_ports, members
from harness.adapters.stack.replace import DAMAGED, replace_text
from harness.core.errors import Broken, Retryable

LOOPBACK = "127.0.0.1"
PORT_NAMES = (
    "temporal",
    "temporal_http",
    "prometheus",
    "envoy_in",
    "envoy_ops",
    "envoy_admin",
    "traffic_metrics",
    "worker_metrics",
    "api",
)
FIRST_PORT = 20_000
"""Below 32768, where the kernel takes the ports of outgoing connections: a restart must find its own port free."""
SPAN = 10_000
DYING_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """``ports``: every name of PORT_NAMES, all on loopback. ``sockets``: the short folder of the Unix sockets.

    ``temporal`` is host:port and ``prometheus`` a URL; both may belong to somebody else (TEMPORAL_ADDRESS,
    PROMETHEUS_URL).
    """

    temporal: str
    temporal_namespace: str
    prometheus: str
    ports: dict[str, int]
    sockets: str

    def url(self, port_name: str) -> str:
        return f"http://{LOOPBACK}:{self.ports[port_name]}"

    def write(self, home: Home) -> None:
        replace_text(home.stack, json.dumps(asdict(self), indent=1))

    @classmethod
    def read(cls, home: Home) -> Addresses:
        """Raises Retryable when this home never had a stack."""
        try:
            return cls(**json.loads(home.stack.read_text()))
        except FileNotFoundError:
            raise Retryable(f"{home.root}: no stack was started here; start it with `harness up`") from None
        except DAMAGED:
            raise Retryable(f"{home.stack}: is damaged; `harness up` writes it anew") from None


def choose_addresses(
    home: Home, *, sockets: Path, temporal: str | None, namespace: str, prometheus: str | None
) -> Addresses:
    """The addresses of last time, with a new port for each one that somebody else has taken since."""
    ports = choose_ports(_kept_ports(home), first=_first_port(home), free=is_free)
    return Addresses(
        temporal=temporal or f"{LOOPBACK}:{ports['temporal']}",
        temporal_namespace=namespace,
        prometheus=prometheus or f"http://{LOOPBACK}:{ports['prometheus']}",
        ports=ports,
        sockets=str(sockets),
    )


def choose_ports(kept: Mapping[str, int], *, first: int, free: Callable[[int], bool]) -> dict[str, int]:
    """One port for every name of PORT_NAMES: the kept one, else the next free one from ``first``.

    Raises Broken when the whole span has none left.
    """
    ports = {name: kept[name] for name in PORT_NAMES if name in kept}
    candidates = iter(FIRST_PORT + (first - FIRST_PORT + step) % SPAN for step in range(SPAN))
    for name in PORT_NAMES:
        if name not in ports:
            taken = set(ports.values())
            port = next((port for port in candidates if port not in taken and free(port)), None)
            if port is None:
                raise Broken(f"{name}: no free port on {LOOPBACK} from {FIRST_PORT} to {FIRST_PORT + SPAN - 1}")
            ports[name] = port
    return ports


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of the loopback now."""
    with socket.socket() as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that linger are no obstacle
        try:
            attempt.bind((LOOPBACK, port))
            attempt.listen()
        except OSError:
            return False
    return True


def _kept_ports(home: Home) -> dict[str, int]:
    """The ports of last time that are free, or already in the hands of this home's stack."""
    try:
        kept = json.loads(home.stack.read_text())["ports"].items()
        ports = {str(name): int(port) for name, port in kept}
    except (FileNotFoundError, *DAMAGED):
        return {}
    deadline = time.monotonic() + DYING_S
    while foreign := _in_other_hands(home, ports.values()):
        if time.monotonic() > deadline:  # it is no process of ours that is dying and holds its port a moment more
            return {name: port for name, port in ports.items() if port not in foreign}
        time.sleep(0.02)
    return ports


def _in_other_hands(home: Home, ports: Iterable[int]) -> set[int]:
    busy = {port for port in ports if not is_free(port)}
    return busy - listening_ports(member.process.pid for member in members(home)) if busy else busy


def _first_port(home: Home) -> int:
    """Every home begins somewhere else, so that two first starts at once do not choose the same ports."""
    return FIRST_PORT + zlib.crc32(bytes(home.root)) % SPAN
