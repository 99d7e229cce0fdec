"""Keeps a ledger's tables at the revision that this code knows. Making them is running every migration there is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from harness.core.errors import Refused
from harness.ledger.database import Database

if TYPE_CHECKING:
    from alembic.config import Config

MIGRATIONS: Final = Path(__file__).with_name("migrations")
_REVISIONS = sorted(path.name[:4] for path in MIGRATIONS.glob("versions/[0-9]*.py"))
FIRST: Final = _REVISIONS[0]
"""The revision of a ledger that was made before there were migrations."""
NEWEST: Final = _REVISIONS[-1]


def bring_up(database: Database, ledger: str) -> None:
    """Runs the migrations that a ledger lacks; two processes may do so at once. Raises ``Refused`` for a newer one."""
    connection = database.engine.raw_connection()
    try:
        found = _revision(database, connection.driver_connection)
    finally:
        connection.close()
    if found != NEWEST:
        if found is not None:
            refuse_unknown(found, ledger)
        _migrate(database)


def refuse_unknown(revision: str, ledger: str) -> None:
    """Raises ``Refused`` for tables that other code has made: what they mean is not known here."""
    if revision not in _REVISIONS:
        raise Refused(
            f"ledger {ledger}: its tables are of revision {revision}, and this code knows them up to {NEWEST}; "
            "use the version of the harness that wrote it last, or a newer one"
        )


def _revision(database: Database, connection: Any) -> str | None:
    there = database.tables(connection)
    if "alembic_version" in there:
        found = database.fetched(connection, "SELECT version_num FROM alembic_version")
        return found[0][0] if found else None
    return None


def _migrate(database: Database) -> None:
    from alembic import command  # 0.9 s, and hardly ever needed

    # One transaction that holds the write lock from its start: of two processes the second finds everything done.
    with database.engine.begin() as connection:
        config = _config(connection)
        there = database.tables(connection.connection.driver_connection)
        if "events" in there and "alembic_version" not in there:
            command.stamp(config, FIRST)
        command.upgrade(config, "head")


def _config(connection: object) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
