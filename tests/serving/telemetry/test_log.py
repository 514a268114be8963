"""The log: one JSON object per line, no keys, no texts."""

import io
import json

import structlog

from serving.telemetry.log import log_call, redact
from serving.telemetry.record import AttemptTrace, CallRecord

CANARY = "sk-penstock-" + "c4n4rY_-" * 5 + "abc"


class Opaque:
    def __repr__(self) -> str:
        return f"Opaque({CANARY})"


def test_a_call_is_one_line_with_its_record_and_without_its_texts(log_lines: io.StringIO) -> None:
    log_call(
        CallRecord(
            id="req-1",
            started_at=5.0,
            kind="chat",
            attempts=[AttemptTrace("demo-small", "r#1", "ok", 2.5)],
            prompt_text="my prompt",
            answer_text="its answer",
        )
    )
    [line] = log_lines.getvalue().splitlines()
    logged = json.loads(line)
    assert (logged["event"], logged["id"], logged["attempts"][0]["card"]) == ("call", "req-1", "demo-small")
    assert {"time", "level", "status"} <= set(logged)
    assert "my prompt" not in line
    assert "its answer" not in line


def test_a_key_is_blacked_out_wherever_it_stands(log_lines: io.StringIO) -> None:
    log = structlog.get_logger()
    for value in (CANARY, f"Bearer {CANARY},", [CANARY, {"a": (CANARY,)}], {CANARY: CANARY}, Opaque()):
        log.warning(f"seen {CANARY}", value=value)
    try:
        raise ValueError(CANARY)
    except ValueError:
        log.exception("failed")
    written = log_lines.getvalue()
    assert written.count("sk-penstock-…") >= 10
    assert "c4n4rY" not in written
    assert len([json.loads(line) for line in written.splitlines()]) == 6


def test_a_value_that_json_cannot_hold_is_logged_all_the_same(log_lines: io.StringIO) -> None:
    structlog.get_logger().info("odd", text="\ud800", number=2**80)
    [line] = log_lines.getvalue().splitlines()
    assert "odd" in json.loads(line)


def test_redaction_leaves_everything_else_as_it_is() -> None:
    value = {"a": [1, 2.5, True, None, "sk-other-key"], "b": "text"}
    assert redact(value) == value
