"""Adapters, their versions, aliases and the audit; what a record keeps of them; how far gateways have followed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the tables and the columns."""
    op.create_table(
        "adapters",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("org", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("base", sa.String, nullable=False),
        sa.Column("price", sa.JSON(none_as_null=True)),
        sa.Column("created_by", sa.String, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("numbered", sa.Integer, nullable=False),
        sa.UniqueConstraint("org", "name"),
    )
    op.create_table(
        "adapter_versions",
        sa.Column("adapter", sa.String, sa.ForeignKey("adapters.id"), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("digest", sa.String),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("base_revision", sa.String),
        sa.Column("facts", sa.JSON, nullable=False),
        sa.Column("created_by", sa.String, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("state_at", sa.Double, nullable=False),
        sa.Column("holder", sa.String),
        sa.Column("warm_until", sa.Double),
        sa.PrimaryKeyConstraint("adapter", "number"),
    )
    op.create_index("adapter_versions_by_state", "adapter_versions", ["state"])
    op.create_index("adapter_versions_by_digest", "adapter_versions", ["digest"])
    op.create_table(
        "aliases",
        sa.Column("org", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("adapter", sa.String, sa.ForeignKey("adapters.id"), nullable=False),
        sa.Column("targets", sa.JSON, nullable=False),
        sa.Column("previous", sa.Integer),
        sa.Column("canary", sa.JSON(none_as_null=True)),
        sa.Column("changed_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("org", "name"),
    )
    _audit_and_followers()
    for name, kind in (("adapter", sa.String), ("adapter_version", sa.Integer), ("cohort", sa.String)):
        op.add_column("records", sa.Column(name, kind))
    op.create_index("records_by_adapter", "records", ["org", "adapter", "adapter_version", "started_at"])


def _audit_and_followers() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("org", sa.String, nullable=False),
        sa.Column("actor", sa.String, nullable=False),
        sa.Column("action", sa.String, nullable=False),
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("detail", sa.JSON, nullable=False),
    )
    op.create_index("audit_by_subject", "audit", ["org", "subject", "at"])
    op.create_table(
        "views",
        sa.Column("gateway", sa.String, nullable=False),
        sa.Column("mark", sa.String, nullable=False),
        sa.Column("value", sa.BigInteger, nullable=False),
        sa.Column("seen_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("gateway", "mark"),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("holder", sa.String, nullable=False),
        sa.Column("until", sa.Double, nullable=False),
    )
    op.execute(sa.text("INSERT INTO marks (name, value) VALUES ('adapters', 0)"))
