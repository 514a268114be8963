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
    Column("uid", String, primary_key=True),
    Index("records_by_id", "id"),
    Index("records_by_time", "started_at"),
    Index("records_by_org", "org", "started_at"),
    Index("records_by_key", "key_id", "started_at"),
    Index("records_by_session", "session", "started_at"),
    Index("records_by_version", "route_version", "started_at"),
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

# The latest metrics text of each gateway process, so that whichever answers a scrape can answer for all.
GATEWAYS = Table(
    "gateways",
    METADATA,
    Column("id", String, primary_key=True),
    Column("exposition", Text, nullable=False),
    Column("updated_at", Double, nullable=False),
)
