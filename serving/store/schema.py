"""The tables as the newest migration leaves them: one schema for SQLite and Postgres.

Owns column names and types. Does not create tables (`migration.py` does) and runs no query (the repositories do). Times
are seconds since the epoch, UTC.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
)

METADATA = MetaData()

ORGS = Table(
    "orgs",
    METADATA,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False, unique=True),
    Column("keep_text", Boolean, nullable=False),
    Column("created_at", Double, nullable=False),
)

KEYS = Table(
    "keys",
    METADATA,
    Column("id", String, primary_key=True),
    Column("sha256", String, nullable=False, unique=True),
    Column("prefix", String, nullable=False),
    Column("name", String),
    Column("org", String, ForeignKey("orgs.name"), nullable=False),
    Column("user", String, nullable=False),
    Column("role", String, nullable=False),
    Column("models", JSON(none_as_null=True)),
    Column("concurrency", Integer),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("revoked_at", Double),
)

RECORDS = Table(
    "records",
    METADATA,
    Column("id", String, nullable=False),
    Column("started_at", Double, nullable=False),
    Column("kind", String, nullable=False),
    Column("org", String),
    Column("user", String),
    Column("key_id", String),
    Column("feature", String),
    Column("stream", Boolean, nullable=False),
    Column("requested_model", String),
    Column("served_model", String),
    Column("tier", String),
    Column("route_policy", String),
    Column("route_reason", String),
    Column("route_score", Double),
    Column("route_threshold", Double),
    Column("route_version", String),
    Column("route_cause", String),
    Column("routed_tier", String),
    Column("session", String),
    Column("task", String),
    Column("retrieval", Double),
    Column("adapter", String),
    Column("adapter_version", Integer),
    Column("cohort", String),
    Column("shadow", JSON(none_as_null=True)),
    Column("attempts", JSON, nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("tokens_estimated", Boolean, nullable=False),
    Column("ttft_ms", Double),
    Column("latency_ms", Double),
    Column("finish_reason", String),
    Column("status", Integer, nullable=False),
    Column("error_code", String),
    Column("client_gone", Boolean, nullable=False),
    Column("stages_ms", JSON, nullable=False),
    Column("traceparent", String),
    Column("prompt_text", Text),
    Column("answer_text", Text),
    Column("prompt_messages", JSON(none_as_null=True)),
    Column("uid", String, primary_key=True),
    Index("records_by_id", "id"),
    Index("records_by_time", "started_at"),
    Index("records_by_org", "org", "started_at"),
    Index("records_by_key", "key_id", "started_at"),
    Index("records_by_session", "session", "started_at"),
    Index("records_by_version", "route_version", "started_at"),
    Index("records_by_adapter", "org", "adapter", "adapter_version", "started_at"),
)

FEEDBACK = Table(
    "feedback",
    METADATA,
    Column("record_uid", String, ForeignKey("records.uid"), nullable=False),
    Column("record_id", String, nullable=False),
    Column("org", String, nullable=False),
    Column("user", String, nullable=False),
    Column("rating", String, nullable=False),
    Column("comment", Text),
    Column("corrected", Text),
    Column("created_at", Double, nullable=False),
    PrimaryKeyConstraint("record_uid", "user"),
)

# One row per thing that other processes watch: its number grows in the transaction that changes the thing. Taking the
# row first also puts the writers of that thing in a line, on both databases.
MARKS = Table(
    "marks",
    METADATA,
    Column("name", String, primary_key=True),
    Column("value", BigInteger, nullable=False),
)

# What is live, as a history: the newest row of a name counts, and those before it are the way back.
ROUTER_RELEASES = Table(
    "router_releases",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("name", String, nullable=False),
    Column("policy", String, nullable=False),
    Column("action", String, nullable=False),
    Column("version", String, nullable=False),
    Column("threshold", Double, nullable=False),
    Column("share", Double),
    Column("basis", String),
    Column("shadow", String),
    Column("shadow_threshold", Double),
    Column("created_at", Double, nullable=False),
)

ADAPTERS = Table(
    "adapters",
    METADATA,
    Column("id", String, primary_key=True),
    Column("org", String, nullable=False),
    Column("name", String, nullable=False),
    Column("base", String, nullable=False),
    Column("price", JSON(none_as_null=True)),
    Column("created_by", String, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("numbered", Integer, nullable=False),
    UniqueConstraint("org", "name"),
)

ADAPTER_VERSIONS = Table(
    "adapter_versions",
    METADATA,
    Column("adapter", String, ForeignKey("adapters.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("state", String, nullable=False),
    Column("reason", Text),
    Column("digest", String),
    Column("bytes", BigInteger, nullable=False),
    Column("base_revision", String),
    Column("facts", JSON, nullable=False),
    Column("created_by", String, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("state_at", Double, nullable=False),
    Column("holder", String),
    Column("warm_until", Double),
    PrimaryKeyConstraint("adapter", "number"),
    Index("adapter_versions_by_state", "state"),
    Index("adapter_versions_by_digest", "digest"),
)

# A public name. `targets`: version number and weight of each version that it points to, the live one first.
ALIASES = Table(
    "aliases",
    METADATA,
    Column("org", String, nullable=False),
    Column("name", String, nullable=False),
    Column("adapter", String, ForeignKey("adapters.id"), nullable=False),
    Column("targets", JSON, nullable=False),
    Column("previous", Integer),
    Column("canary", JSON(none_as_null=True)),
    Column("changed_at", Double, nullable=False),
    PrimaryKeyConstraint("org", "name"),
)

# Who did what, written in the transaction that does it. Never changed, never deleted.
AUDIT = Table(
    "audit",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", Double, nullable=False),
    Column("org", String, nullable=False),
    Column("actor", String, nullable=False),
    Column("action", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("detail", JSON, nullable=False),
    Index("audit_by_subject", "org", "subject", "at"),
)

# How far each gateway has followed a mark, and that it is alive.
VIEWS = Table(
    "views",
    METADATA,
    Column("gateway", String, nullable=False),
    Column("mark", String, nullable=False),
    Column("value", BigInteger, nullable=False),
    Column("seen_at", Double, nullable=False),
    PrimaryKeyConstraint("gateway", "mark"),
)

# What one process at a time may do.
LEASES = Table(
    "leases",
    METADATA,
    Column("name", String, primary_key=True),
    Column("holder", String, nullable=False),
    Column("until", Double, nullable=False),
)

# What clients uploaded; the bytes lie in the artifact store, under the file's id.
FILES = Table(
    "files",
    METADATA,
    Column("id", String, primary_key=True),
    Column("org", String, nullable=False),
    Column("name", Text, nullable=False),
    Column("purpose", String, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("digest", String, nullable=False),
    Column("facts", JSON, nullable=False),
    Column("created_by", String, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Index("files_by_org", "org", "created_at"),
)

# `asked`: the request as it came; `order`: what the trainer was told; `wanted`: what its owner asked for meanwhile.
TUNING_JOBS = Table(
    "tuning_jobs",
    METADATA,
    Column("id", String, primary_key=True),
    Column("org", String, nullable=False),
    Column("user", String, nullable=False),
    Column("created_by", String, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("status", String, nullable=False),
    Column("phase", String, nullable=False),
    Column("state_at", Double, nullable=False),
    Column("wanted", String),
    Column("base", String, nullable=False),
    Column("asked", JSON, nullable=False),
    Column("order", JSON(none_as_null=True)),
    Column("training_file", String, nullable=False),
    Column("validation_file", String),
    Column("adapter", String, nullable=False),
    Column("adapter_version", Integer),
    Column("fine_tuned_model", String),
    Column("attempt", Integer, nullable=False),
    Column("worker", JSON(none_as_null=True)),
    Column("beat_at", Double),
    Column("started_at", Double),
    Column("finished_at", Double),
    Column("step", Integer, nullable=False),
    Column("steps", Integer),
    Column("trained_tokens", BigInteger),
    Column("trained_s", Double, nullable=False),
    Column("error", JSON(none_as_null=True)),
    Column("report", JSON(none_as_null=True)),
    Column("result_files", JSON, nullable=False),
    Index("tuning_jobs_by_org", "org", "created_at"),
    Index("tuning_jobs_by_status", "status"),
)

TUNING_EVENTS = Table(
    "tuning_events",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("job", String, ForeignKey("tuning_jobs.id"), nullable=False),
    Column("at", Double, nullable=False),
    Column("level", String, nullable=False),
    Column("type", String, nullable=False),
    Column("message", Text, nullable=False),
    Column("data", JSON, nullable=False),
    Index("tuning_events_by_job", "job", "id"),
)

TUNING_CHECKPOINTS = Table(
    "tuning_checkpoints",
    METADATA,
    Column("job", String, ForeignKey("tuning_jobs.id"), nullable=False),
    Column("step", Integer, nullable=False),
    Column("at", Double, nullable=False),
    Column("digest", String, nullable=False),
    Column("metrics", JSON, nullable=False),
    Column("adapter_version", Integer),
    PrimaryKeyConstraint("job", "step"),
)

# The latest metrics text of each gateway process, so that whichever answers a scrape can answer for all.
GATEWAYS = Table(
    "gateways",
    METADATA,
    Column("id", String, primary_key=True),
    Column("exposition", Text, nullable=False),
    Column("updated_at", Double, nullable=False),
)
