"""Uploaded files; fine-tuning jobs, their events and their checkpoints."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "files",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("org", sa.String, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("purpose", sa.String, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.String, nullable=False),
        sa.Column("facts", sa.JSON, nullable=False),
        sa.Column("created_by", sa.String, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double),
    )
    op.create_index("files_by_org", "files", ["org", "created_at"])
    _jobs()
    op.create_table(
        "tuning_events",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("job", sa.String, sa.ForeignKey("tuning_jobs.id"), nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("level", sa.String, nullable=False),
        sa.Column("type", sa.String, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("data", sa.JSON, nullable=False),
    )
    op.create_index("tuning_events_by_job", "tuning_events", ["job", "id"])
    op.create_table(
        "tuning_checkpoints",
        sa.Column("job", sa.String, sa.ForeignKey("tuning_jobs.id"), nullable=False),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("digest", sa.String, nullable=False),
        sa.Column("metrics", sa.JSON, nullable=False),
        sa.Column("adapter_version", sa.Integer),
        sa.PrimaryKeyConstraint("job", "step"),
    )


def _jobs() -> None:
    op.create_table(
        "tuning_jobs",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("org", sa.String, nullable=False),
        sa.Column("user", sa.String, nullable=False),
        sa.Column("created_by", sa.String, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("phase", sa.String, nullable=False),
        sa.Column("state_at", sa.Double, nullable=False),
        sa.Column("wanted", sa.String),
        sa.Column("base", sa.String, nullable=False),
        sa.Column("asked", sa.JSON, nullable=False),
        sa.Column("order", sa.JSON(none_as_null=True)),
        sa.Column("training_file", sa.String, nullable=False),
        sa.Column("validation_file", sa.String),
        sa.Column("adapter", sa.String, nullable=False),
        sa.Column("adapter_version", sa.Integer),
        sa.Column("fine_tuned_model", sa.String),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("worker", sa.JSON(none_as_null=True)),
        sa.Column("beat_at", sa.Double),
        sa.Column("started_at", sa.Double),
        sa.Column("finished_at", sa.Double),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("steps", sa.Integer),
        sa.Column("trained_tokens", sa.BigInteger),
        sa.Column("trained_s", sa.Double, nullable=False),
        sa.Column("error", sa.JSON(none_as_null=True)),
        sa.Column("report", sa.JSON(none_as_null=True)),
        sa.Column("result_files", sa.JSON, nullable=False),
    )
    op.create_index("tuning_jobs_by_org", "tuning_jobs", ["org", "created_at"])
    op.create_index("tuning_jobs_by_status", "tuning_jobs", ["status"])
