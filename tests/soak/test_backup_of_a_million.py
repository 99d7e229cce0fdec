"""A backup of a million events, and its way back: the memory that it takes does not grow with the ledger."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from uuid import UUID, uuid5

from harness.core.record import NewEvent, StreamWrite
from harness.ledger.store import Ledger
from tests.integration.ledger_homes import NOON

Report = Callable[[str, object], None]
ROOT = Path(__file__).parents[2]
NAMES = UUID("9a6f0a39-5e0c-4c0e-8a0d-54a5f8b7a117")
FEW, MANY = 10_000, 1_000_000
STREAMS = 1_000
MOST_MORE_MIB = 24

CHILD = """
import resource, sys, time
from datetime import UTC, datetime
from pathlib import Path
from harness.ledger.backup import check, export, restore
from harness.ledger.blobs import Blobs
from harness.ledger.store import Ledger
what, root, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
ledger = Ledger.open(root / "ledger.db", now=lambda: datetime.now(UTC))
began, blobs = time.monotonic(), Blobs(root / "blobs")
if what == "export":
    done = export(ledger, blobs, folder, taken_at=datetime.now(UTC))
else:
    done = check(folder)
    restore(folder, done, ledger, blobs)
print(done.events, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, round(time.monotonic() - began, 1))
"""


def ledger_of(count: int, root: Path) -> Path:
    """A ledger of so many events of the size that events have, a thousand in each append."""
    with closing(Ledger.open(root / "ledger.db", now=lambda: NOON)) as ledger:
        for first in range(0, count, 1_000):
            ledger.append([StreamWrite(f"ticket-INF-{start // 100 % STREAMS}", None,
                                       [event(number) for number in range(start, start + 100)])
                           for start in range(first, first + 1_000, 100)])  # fmt: skip
    return root


def event(number: int) -> NewEvent:
    body = {"attempt": 1, "step": number, "ok": True, "body": f"sha256:{number:064x}"}
    return NewEvent(
        id=str(uuid5(NAMES, str(number))), type="ObservationRecorded", data=body, actor="harness", occurred_at=NOON,
        correlation_id=f"INF-{number // 100 % STREAMS}",
    )  # fmt: skip


def measured(what: str, root: Path, folder: Path) -> tuple[int, int, float]:
    """Events, the most memory that the process had (MiB), and seconds."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, what, str(root), str(folder)], env={"PYTHONPATH": str(ROOT)}, check=True,
        capture_output=True, text=True,
    )  # fmt: skip
    events, rss_mib, seconds = done.stdout.split()
    return int(events), int(rss_mib), float(seconds)


def test_memory_is_flat_while_a_million_events_are_exported_and_brought_back(
    tmp_path: Path, record_property: Report
) -> None:
    taken: dict[tuple[str, int], int] = {}
    for count in (FEW, MANY):
        here, there, folder = (tmp_path / f"{name}-{count}" for name in ("here", "there", "backup"))
        ledger_of(count, here)
        for what, root in (("export", here), ("restore", there)):
            events, rss_mib, seconds = measured(what, root, folder)
            assert events == count
            taken[what, count] = rss_mib
            record_property(f"{what}_{count}", {"rss_mib": rss_mib, "seconds": seconds})
            print(what, count, "events", rss_mib, "MiB", seconds, "s")
    for what in ("export", "restore"):
        assert taken[what, MANY] - taken[what, FEW] <= MOST_MORE_MIB
