"""Statuses and texts of an engine, as a caller may see them."""

import orjson
import pytest

from models.errors import InvalidRequest, Unavailable, UpstreamError
from serving.engines.failures import EngineComplaint, Failure, cleaned, from_event, from_status

TOO_LONG = (
    "This model's maximum context length is 512 tokens. However, you requested 64 output tokens and your prompt "
    "contains at least 449 input tokens, for a total of at least 513 tokens. Please reduce the length of the input "
    "prompt or the number of requested output tokens."
)


def make_error(status: int, code: int | str | None = None, message: str = "no", **more: object) -> Failure:
    body = orjson.dumps({"error": {"message": message, "type": "BadRequestError", "code": code, **more}})
    return from_status(status, body, headers={"retry-after": "7"}, kind="chat")


@pytest.mark.parametrize(
    ("status", "code", "kind", "told"),
    [
        (400, 400, InvalidRequest, "invalid_value"),
        (422, 422, InvalidRequest, "invalid_value"),
        (401, "invalid_api_key", UpstreamError, "engine_error"),
        (404, 404, UpstreamError, "engine_error"),
        (500, 500, UpstreamError, "engine_error"),
        (501, 501, UpstreamError, "upstream_bad_response"),
        (502, None, UpstreamError, "upstream_bad_response"),
        (302, None, UpstreamError, "upstream_bad_response"),
        (503, None, Unavailable, "no_capacity"),
        (503, "overloaded", Unavailable, "overloaded"),
        (503, "server_shutting_down", Unavailable, "server_shutting_down"),
    ],
)
def test_each_status_has_one_meaning(status: int, code: int | str | None, kind: type, told: str) -> None:
    error = make_error(status, code)
    assert isinstance(error, kind)
    assert error.code == told
    assert (error.retry_after_s is not None) == (kind is Unavailable)


@pytest.mark.parametrize(
    ("status", "code", "fault"),
    [
        (400, 400, "request"),
        (501, 501, "request"),
        (503, "overloaded", "nobody"),
        (503, "server_shutting_down", "leaving"),
        (500, 500, "replica"),
        (502, None, "replica"),
        (503, None, "replica"),
    ],
)
def test_each_status_is_somebodys_fault(status: int, code: int | str | None, fault: str) -> None:
    assert make_error(status, code).fault == fault


def test_a_dead_engine_is_missing_capacity_and_no_internal_error() -> None:
    assert make_error(500, 500, "EngineDeadError: EngineCore encountered an issue").code == "no_capacity"


def test_in_a_stream_a_dead_engine_is_lost_and_a_failed_request_is_an_error() -> None:
    dead = EngineComplaint("EngineCore encountered an issue. See stack trace (above) for the root cause.", code=500)
    assert from_event(dead, kind="chat").code == "upstream_lost"
    assert from_event(EngineComplaint("out of memory", code=500), kind="chat").code == "engine_error"


def test_the_door_says_when_to_come_back() -> None:
    assert make_error(503, "overloaded").retry_after_s == 7


def test_a_prompt_that_is_too_long_keeps_the_engines_sentence() -> None:
    error = make_error(400, 400, TOO_LONG, param="input_tokens")
    assert (error.code, error.param) == ("context_length_exceeded", "messages")
    assert error.public.startswith("This model's maximum context length is 512 tokens. However, you requested 64")
    assert len(error.public) <= 200


def test_engine_errors_show_nothing_of_the_engine() -> None:
    error = make_error(500, 500, "CUDA error at /opt/vllm/csrc/attention.cu:17")
    assert "CUDA" not in error.public
    assert error.detail is not None
    assert "CUDA" in error.detail


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b'{"error": 5}',
        b'{"detail": "x"}',
        b"\xff",
        b'{"error": "\xff"}',
        pytest.param(b'{"a":' * 9999, id="deep"),
    ],
)
def test_a_body_that_is_no_error_object_is_answered_by_status_alone(body: bytes) -> None:
    assert from_status(500, body, headers={}, kind="chat").code == "engine_error"
    assert from_status(400, body, headers={}, kind="chat").public == "The engine refuses this request."


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("bad file /srv/app/lib/x.py here", "bad file ... here"),
        ("open C:\\data\\models\\x.bin failed", "open ... failed"),
        ("first\nTraceback (most recent call last)", "first"),
        (f"no '{'s' * 65}' there", "no '...' there"),
        ("1 error: field, input='secret prompt'", "1 error: field"),
        ("naïve", "na\\xefve"),
        ("either/or stays", "either/or stays"),
    ],
)
def test_engine_text_is_cleaned_before_it_is_shown(text: str, shown: str) -> None:
    assert cleaned(text) == shown
