"""The log: one JSON object per line, keys blacked out, never the text of a prompt or an answer.

Owns how this process logs and the line of each call. Does not own what libraries write through `logging`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import orjson
import structlog

from serving.telemetry.record import CallRecord, record_values

MARK = "sk-penstock-"
KEY = re.compile(MARK + r"[A-Za-z0-9_-]+")
BLACK = f"{MARK}…"
TEXTS = ("prompt_text", "answer_text", "prompt_messages")


def configure_log(*, level: str = "info", stream: TextIO | None = None) -> None:
    """Set up structlog for this process; call it once, before the first line."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.processors.format_exc_info,
            _redact_event,
            structlog.processors.JSONRenderer(serializer=_dump),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(stream or sys.stderr),
        cache_logger_on_first_use=False,
    )


def log_call(record: CallRecord) -> None:
    """The line of one finished call: its record, without texts and without what is empty."""
    fields = {name: value for name, value in record_values(record).items() if name not in TEXTS and value is not None}
    structlog.get_logger().info("call", **fields)


def redact(value: Any) -> Any:
    """The same value with every key in it blacked out, however deep."""
    if isinstance(value, str):
        return KEY.sub(BLACK, value) if MARK in value else value
    if isinstance(value, dict):
        return {redact(key): redact(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [redact(item) for item in value]
    if isinstance(value, (int, float, bool)) or value is None:
        return value
    return KEY.sub(BLACK, str(value))


def _redact_event(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {name: redact(value) for name, value in event.items()}


def _dump(event: Any, **_: Any) -> str:
    try:
        return orjson.dumps(event, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # half a surrogate pair, or an integer of more than 64 bits
        return orjson.dumps(ascii(event)).decode()
