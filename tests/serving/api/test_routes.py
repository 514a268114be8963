"""The quiet routes: models, feedback, operations and keys; and that nothing of the server shows in an answer."""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from typing import Any

import pytest

from models.errors import PenstockError
from models.types import GenerationRequest
from serving.api.errors import CODES, GENERIC, echo, envelope, refusal
from serving.engines.answer import Answer
from tests.serving.api.fakes import CHAT, Stack, assert_error, error_in


async def test_models_are_listed_without_server_paths(stack: Stack) -> None:
    async with stack.client() as client:
        listed = (await client.get("/v1/models")).json()
    assert [one["id"] for one in listed["data"]] == ["auto", "demo-small", "demo-large"]
    assert set(listed["data"][0]) == {"id", "object", "created", "owned_by", "parent", "tier"}


async def test_one_model_is_found_by_its_exact_name(stack: Stack) -> None:
    async with stack.client() as client:
        assert (await client.get("/v1/models/demo-small")).json()["id"] == "demo-small"
        assert (await client.get("/v1/models/demo%2Dsmall")).json()["id"] == "demo-small"
        for name in ("nope", "..%2f..", "demo-small%00", "DEMO-SMALL", "x" * 5000):
            assert_error(await client.get(f"/v1/models/{name}"), 404, "model_not_found", "model")


TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(("sent", "kept"), [(TRACE, TRACE), (TRACE.upper(), None), ("x" * 55, None)])
async def test_a_trace_context_reaches_the_record_if_it_is_one(stack: Stack, sent: str, kept: str | None) -> None:
    async with stack.client() as client:
        await client.post("/v1/chat/completions", json=CHAT, headers={"traceparent": sent})
    assert stack.records.rows[0].traceparent == kept
    assert stack.pipeline.requests[0].traceparent == kept


async def test_feedback_joins_the_call_it_is_about(stack: Stack) -> None:
    async with stack.client() as client:
        made = await client.post("/v1/chat/completions", json=CHAT)
        opinion = {"request_id": made.headers["x-request-id"], "rating": "up", "comment": "good", "corrected": None}
        assert (await client.post("/v1/feedback", json=opinion)).status_code == 200
    assert stack.records.opinions == [(opinion["request_id"], "up")]


async def test_feedback_on_another_orgs_call_answers_like_a_missing_one(stack: Stack) -> None:
    async with stack.client() as client, stack.client("other") as other:
        made = await client.post("/v1/chat/completions", json=CHAT, headers={"x-request-id": "call-1"})
        assert made.headers["x-request-id"] == "call-1"
        foreign = await other.post("/v1/feedback", json={"request_id": "call-1", "rating": "down"})
        missing = await other.post("/v1/feedback", json={"request_id": "call-2", "rating": "down"})
    assert_error(foreign, 404, "not_found")
    assert foreign.content == missing.content
    assert stack.records.opinions == []


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"rating": "up"}, "missing_required_parameter", "request_id"),
        ({"request_id": "a", "rating": "meh"}, "invalid_value", "rating"),
        ({"request_id": "a", "rating": "up", "stars": 5}, "unknown_parameter", "stars"),
        ({"request_id": "a", "rating": "up", "comment": "x" * 4097}, "invalid_value", "comment"),
    ],
)
async def test_bad_feedback_is_named(stack: Stack, body: dict[str, Any], code: str, param: str) -> None:
    async with stack.client() as client:
        assert_error(await client.post("/v1/feedback", json=body), 400, code, param)


async def test_readiness_names_what_is_missing(stack: Stack) -> None:
    async with stack.client(None) as client:
        assert (await client.get("/health")).json() == {"status": "ok"}
        assert (await client.get("/ready")).status_code == 200
        stack.readiness.missing = ("engine demo-large",)
        response = await client.get("/ready")
    assert (response.status_code, response.json()["not_ready"]) == (503, ["engine demo-large"])


async def test_metrics_are_prometheus_text(stack: Stack) -> None:
    async with stack.client("scraper") as client:
        response = await client.get("/metrics")
        assert (await client.get("/version")).json() == {"version": "0.1.0"}
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert response.content == b"penstock_calls_total 1\n"


async def test_a_key_is_made_shown_once_listed_and_revoked(stack: Stack) -> None:
    async with stack.client("root") as client:
        made = await client.post("/admin/keys", json={"org": "acme", "user": "bob", "models": ["demo-small"]})
        listed = await client.get("/admin/keys")
        gone = await client.delete(f"/admin/keys/{made.json()['id']}")
        assert_error(await client.delete("/admin/keys/nope"), 404, "not_found")
        assert_error(await client.delete("/admin/keys/key_last"), 400, "invalid_value", "id")
    assert (made.status_code, made.json()["key"]) == (201, "sk-secret")
    assert "sk-secret" not in listed.text
    assert listed.json()["data"][0]["models"] == ["demo-small"]
    assert gone.json()["revoked"] is True


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"org": None}, "missing_required_parameter", "org"),
        ({"role": "king"}, "invalid_value", "role"),
        ({"models": "all"}, "invalid_value", "models"),
        ({"concurrency": True}, "invalid_value", "concurrency"),
        ({"expires_at": "soon"}, "invalid_value", "expires_at"),
        ({"keep_text": True}, "unknown_parameter", "keep_text"),
    ],
)
async def test_a_bad_key_is_not_made(stack: Stack, fields: dict[str, Any], code: str, param: str) -> None:
    async with stack.client("root") as client:
        response = await client.post("/admin/keys", json={"org": "acme", "user": "bob"} | fields)
    assert_error(response, 400, code, param)
    assert stack.key_admin.rows == []


async def test_a_bug_is_logged_and_answered_without_its_words(
    stack: Stack, logged: list[MutableMapping[str, Any]]
) -> None:
    async def broken(request: GenerationRequest) -> Answer:
        raise RuntimeError("secret at 0xdeadbeef in /srv/penstock/app.py")

    stack.pipeline.script = broken
    async with stack.client() as client:
        response = await client.post("/v1/chat/completions", json=CHAT)
    assert_error(response, 500, "internal_error")
    assert not re.search(r"0x|secret|/srv|Traceback", response.text)
    assert any("0xdeadbeef" in str(line.get("error")) for line in logged)
    assert [(row.status, row.error_code) for row in stack.records.rows] == [(500, "internal_error")]


@pytest.mark.parametrize("code", CODES)
def test_every_code_has_its_status_and_a_shape_the_sdk_reads(code: str) -> None:
    status, _ = CODES[code]
    response = refusal(PenstockError("words", code=code, param="p", detail="secret", retry_after_s=None))
    assert response.status_code == status
    assert error_in(bytes(response.body), status)["code"] == code
    assert (b"words" in response.body) is (status < 500)
    assert b"secret" not in response.body
    assert ("retry-after" in response.headers) is (status == 503 or code == "rate_limit_exceeded")
    assert ("x-should-retry" in response.headers) is (code == "insufficient_quota")


def test_every_server_error_has_words_of_its_own() -> None:
    assert set(GENERIC) == {code for code, (status, _) in CODES.items() if status >= 500}


def test_a_code_that_is_not_in_the_table_leaves_as_an_internal_error() -> None:
    assert b'"internal_error"' in envelope(PenstockError("secret", code="invalid_configuration"))


@pytest.mark.parametrize("value", ["x" * 1000, "\u202e" * 1000, "\x00\n\x7f", "\ud800", "a"])
def test_an_echo_is_short_printable_ascii(value: str) -> None:
    assert len(echo(value)) <= 64
    assert echo(value).isascii()
    assert echo(value).isprintable()
