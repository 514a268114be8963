"""Keys, orgs, records, feedback, marks and the gateways' metrics: the first schema.

Written out instead of imported from `schema.py`: a migration must keep meaning what it meant on its day.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the first tables."""
    _tenants()
    _records()
    op.create_table(
        "marks",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )
    op.execute(sa.text("INSERT INTO marks (name, value) VALUES ('keys', 0)"))
    op.create_table(
        "gateways",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("exposition", sa.Text, nullable=False),
        sa.Column("updated_at", sa.Double, nullable=False),
    )


def _tenants() -> None:
    op.create_table(
        "orgs",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("name", sa.String, nullable=False, unique=True),
        sa.Column("keep_text", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
    )
    op.create_table(
        "keys",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("sha256", sa.String, nullable=False, unique=True),
        sa.Column("prefix", sa.String, nullable=False),
        sa.Column("name", sa.String),
        sa.Column("org", sa.String, sa.ForeignKey("orgs.name"), nullable=False),
        sa.Column("user", sa.String, nullable=False),
        sa.Column("role", sa.String, nullable=False),
        sa.Column("models", sa.JSON),
        sa.Column("concurrency", sa.Integer),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double),
        sa.Column("revoked_at", sa.Double),
    )


def _records() -> None:
    op.create_table("records", *_identity(), *_outcome())
    op.create_index("records_by_id", "records", ["id"])
    op.create_index("records_by_time", "records", ["started_at"])
    op.create_index("records_by_org", "records", ["org", "started_at"])
    op.create_index("records_by_key", "records", ["key_id", "started_at"])
    op.create_table(
        "feedback",
        sa.Column("record_uid", sa.String, sa.ForeignKey("records.uid"), nullable=False),
        sa.Column("record_id", sa.String, nullable=False),
        sa.Column("org", sa.String, nullable=False),
        sa.Column("user", sa.String, nullable=False),
        sa.Column("rating", sa.String, nullable=False),
        sa.Column("comment", sa.Text),
        sa.Column("corrected", sa.Text),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("record_uid", "user"),
    )


def _identity() -> list[sa.Column[object]]:
    return [
        sa.Column("id", sa.String, nullable=False),
        sa.Column("started_at", sa.Double, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        *(sa.Column(name, sa.String) for name in ("org", "user", "key_id", "feature")),
        sa.Column("stream", sa.Boolean, nullable=False),
        *(sa.Column(name, sa.String) for name in ("requested_model", "served_model", "tier")),
        *(sa.Column(name, sa.String) for name in ("route_policy", "route_reason")),
        sa.Column("route_score", sa.Double),
    ]


def _outcome() -> list[sa.Column[object]]:
    return [
        sa.Column("attempts", sa.JSON, nullable=False),
        *(sa.Column(f"{name}_tokens", sa.BigInteger, nullable=False) for name in ("prompt", "completion", "cached")),
        sa.Column("tokens_estimated", sa.Boolean, nullable=False),
        sa.Column("ttft_ms", sa.Double),
        sa.Column("latency_ms", sa.Double),
        sa.Column("finish_reason", sa.String),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("error_code", sa.String),
        sa.Column("client_gone", sa.Boolean, nullable=False),
        sa.Column("stages_ms", sa.JSON, nullable=False),
        sa.Column("traceparent", sa.String),
        sa.Column("prompt_text", sa.Text),
        sa.Column("answer_text", sa.Text),
        sa.Column("uid", sa.String, primary_key=True),
    ]
