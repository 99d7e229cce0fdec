"""The first tables: the events, kept append-only by triggers of the database, and how far each follower has come."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

# On both databases text sorts by code point and a whole number has 64 bits.
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
WHOLE = sa.Integer().with_variant(sa.BigInteger(), "postgresql")

APPEND_ONLY = {
    "sqlite": (
        "CREATE TRIGGER events_refuse_update BEFORE UPDATE ON events "
        "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: UPDATE is refused'); END",
        "CREATE TRIGGER events_refuse_delete BEFORE DELETE ON events "
        "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: DELETE is refused'); END",
        # INSERT OR REPLACE deletes the old row without firing the delete trigger.
        "CREATE TRIGGER events_refuse_replace BEFORE INSERT ON events "
        "WHEN EXISTS (SELECT 1 FROM events WHERE position = NEW.position) "
        "OR EXISTS (SELECT 1 FROM events WHERE id = NEW.id) "
        "OR EXISTS (SELECT 1 FROM events WHERE stream = NEW.stream AND version = NEW.version) "
        "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: the position, id or stream version is taken'); END",
    ),
    "postgresql": (
        "CREATE FUNCTION events_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RAISE EXCEPTION 'the ledger is append-only: % is refused', TG_OP "
        "USING ERRCODE = 'integrity_constraint_violation'; END $$",
        # For each statement: so it also meets INSERT … ON CONFLICT DO UPDATE, MERGE, and TRUNCATE.
        "CREATE TRIGGER events_refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON events "
        "FOR EACH STATEMENT EXECUTE FUNCTION events_refuse_change()",
        # ALWAYS: a session that plays a replica would pass by the others.
        "ALTER TABLE events ENABLE ALWAYS TRIGGER events_refuse_change",
    ),
}


def upgrade() -> None:
    op.create_table(
        "events",
        sa.Column("position", WHOLE, primary_key=True, autoincrement=False),
        sa.Column("id", TEXT, nullable=False, unique=True),
        sa.Column("stream", TEXT, nullable=False),
        sa.Column("version", WHOLE, nullable=False),
        sa.Column("type", TEXT, nullable=False),
        sa.Column("schema_version", WHOLE, nullable=False),
        sa.Column("data", TEXT, nullable=False),
        sa.Column("actor", TEXT, nullable=False),
        sa.Column("causation_id", TEXT),
        sa.Column("correlation_id", TEXT),
        sa.Column("occurred_at_us", WHOLE, nullable=False),
        sa.Column("recorded_at_us", WHOLE, nullable=False),
        sa.Column("prev_hash", TEXT, nullable=False),
        sa.Column("hash", TEXT, nullable=False),
        sqlite_strict=True,
    )
    op.create_index("events_by_stream", "events", ["stream", "version"], unique=True)
    for statement in APPEND_ONLY[op.get_context().dialect.name]:
        op.execute(statement)
    op.create_table(
        "checkpoints",
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("position", WHOLE, sa.CheckConstraint("position >= 0"), nullable=False),
        sqlite_strict=True,
    )
