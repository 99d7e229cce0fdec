"""Projections: how far each is folded, and its documents. They can be made anew from the events at any time."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

# On both databases text sorts by code point and a whole number has 64 bits.
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
WHOLE = sa.Integer().with_variant(sa.BigInteger(), "postgresql")


def upgrade() -> None:
    op.create_table(
        "projections",
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("version", WHOLE, nullable=False),
        sa.Column("position", WHOLE, sa.CheckConstraint("position >= 0"), nullable=False),
        sa.Column("hash", TEXT, nullable=False),
        sqlite_strict=True,
    )
    op.create_table(
        "documents",
        sa.Column("projection", TEXT, primary_key=True),
        sa.Column("key", TEXT, primary_key=True),
        sa.Column("document", TEXT, nullable=False),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
