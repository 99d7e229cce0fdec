"""Checks a whole ledger: every column of every event against the chain, and the file below. Repairs nothing."""

from __future__ import annotations

from typing import Any

from harness.core.chain import Walk
from harness.core.errors import Broken
from harness.core.record import Verification
from harness.ledger.database import Database
from harness.ledger.faults import meaning


def audit(database: Database, connection: Any) -> Verification:
    """What holds, in one view of the ledger however many are writing. Damaged data is reported, never raised."""
    walk = Walk()
    try:
        for columns in database.every_event(connection):
            fault = walk.step(columns)
            if fault is not None:
                return fault
        damage = database.damage(connection)
    except database.error as error:
        if not isinstance(meaning(error, "under audit"), Broken):
            raise
        return walk.failed(f"cannot be read: {error}")
    return walk.held(damage=damage)
