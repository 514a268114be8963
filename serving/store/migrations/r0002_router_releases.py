"""Which router model is live, and what a record keeps of a learned decision."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the table and the columns."""
    op.create_table(
        "router_releases",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("policy", sa.String, nullable=False),
        sa.Column("action", sa.String, nullable=False),
        sa.Column("version", sa.String, nullable=False),
        sa.Column("threshold", sa.Double, nullable=False),
        sa.Column("share", sa.Double),
        sa.Column("basis", sa.String),
        sa.Column("shadow", sa.String),
        sa.Column("shadow_threshold", sa.Double),
        sa.Column("created_at", sa.Double, nullable=False),
    )
    op.execute(sa.text("INSERT INTO marks (name, value) VALUES ('router', 0)"))
    for name, kind in (
        ("route_threshold", sa.Double),
        ("route_version", sa.String),
        ("route_cause", sa.String),
        ("routed_tier", sa.String),
        ("session", sa.String),
        ("task", sa.String),
        ("retrieval", sa.Double),
        ("shadow", sa.JSON),
    ):
        op.add_column("records", sa.Column(name, kind))
    op.create_index("records_by_session", "records", ["session", "started_at"])
    op.create_index("records_by_version", "records", ["route_version", "started_at"])
