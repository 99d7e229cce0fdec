"""Checks a whole ledger: every column of every event against the chain, and the file below. Repairs nothing."""

from __future__ import annotations

import sqlite3

from sqlalchemy import Connection

from harness.core.chain import Row, Walk
from harness.core.errors import Broken
from harness.core.record import Verification
from harness.ledger.faults import meaning

_EVERY_EVENT = f"SELECT {', '.join(Row._fields)} FROM events ORDER BY position"


def audit(connection: Connection) -> Verification:
    """What holds, in one view of the ledger however many are writing. Damaged data is reported, never raised."""
    cursor = connection.connection.cursor()
    cursor.execute("BEGIN")
    walk = Walk()
    try:
        cursor.execute(_EVERY_EVENT)
        # One by one: in a batch, an unreadable text would take the good events before it along.
        while (columns := cursor.fetchone()) is not None:
            fault = walk.step(columns)
            if fault is not None:
                return fault
        (integrity,) = cursor.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        if not isinstance(meaning(error, "under audit"), Broken):
            raise
        return walk.failed(f"cannot be read: {error}")
    finally:
        # Not COMMIT, which raises after a malformed page.
        cursor.execute("ROLLBACK")
    return walk.held(damage=None if integrity == "ok" else f"integrity_check: {integrity}")
