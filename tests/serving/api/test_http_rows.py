"""Rows H against a real server (uvicorn, httptools) on loopback. The id of each case is the row's name.

The parser refuses some rows by itself, in plain text: there, status, one answer and a closed socket are what counts.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from serving.settings import HttpSettings, TimerSettings
from tests.serving.api.fakes import CHAT, Stack, error_in
from tests.serving.api.wire import body_of, post, statuses, until, wire

GOOD = json.dumps(CHAT).encode()
KEY = b"Authorization: Bearer good\r\n"
JSON = b"Content-Type: application/json\r\n"
POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n" + KEY + JSON
SECOND = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n\r\n"
GET = b"GET /v1/models HTTP/1.1\r\n"

PARSER_ROWS = {
    "H1": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SECOND,
    "H2": POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}   ",
    "H5": POST + b"Transfer-Encoding: xchunked\r\n\r\n{}",
    "H7": GET + b"Host: a\r\nX: a\r\n b\r\n\r\n",
    "H8": b"GET /v1/models HTTP/1.1\nHost: a\n\n",
    "H9": GET + b"Host: a\r\nX: a\0b\r\n\r\n",
    "H24-FOO": b"FOO /v1/models HTTP/1.1\r\nHost: a\r\n\r\n",
}


@pytest.mark.parametrize("row", PARSER_ROWS)
async def test_the_parser_refuses_doubtful_framing_once_and_closes(stack: Stack, row: str) -> None:
    async with stack.served() as port, wire(port) as client:
        await client.send(PARSER_ROWS[row])
        assert statuses(await client.until_closed()) == [400]
    assert stack.pipeline.requests == []


OUR_ROWS = {
    "H10": (GET + KEY + b"\r\n", 400, "invalid_host"),
    "H11-two": (GET + KEY + b"Host: a\r\nHost: b\r\n\r\n", 400, "invalid_host"),
    "H12": (GET + b"Host: a/v1/models?\r\n\r\n", 400, "invalid_host"),
    "H12-at": (GET + KEY + b"Host: a@b\r\n\r\n", 400, "invalid_host"),
    "H14": (GET + KEY + b"Host: a\r\nX: " + b"x" * 80_000 + b"\r\n\r\n", 431, "headers_too_large"),
    "H16": (GET + KEY + b"Host: a\r\n" + b"X: y\r\n" * 20_000 + b"\r\n", 431, "headers_too_large"),
    "H17-target": (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414, "uri_too_long"),
    "H18": (b"GET /v1/files/%2e%2e%2fetc/passwd HTTP/1.1\r\nHost: a\r\n" + KEY + b"\r\n", 404, "unknown_url"),
    "H19": (b"POST //v1/chat/completions HTTP/1.1\r\nHost: a\r\n" + JSON + b"\r\n", 404, "unknown_url"),
    "H20": (b"POST /V1/chat/completions HTTP/1.1\r\nHost: a\r\n" + JSON + b"\r\n", 404, "unknown_url"),
    "H21-encoded": (b"POST /v1/%63hat/completions HTTP/1.1\r\nHost: a\r\n" + KEY + b"\r\n", 404, "unknown_url"),
    "H21-dots": (b"GET /v1/%2e%2e/metrics HTTP/1.1\r\nHost: a\r\n\r\n", 404, "unknown_url"),
    "H21-semicolon": (b"GET /v1/models;x HTTP/1.1\r\nHost: a\r\n\r\n", 404, "unknown_url"),
    "H21-slash": (b"GET /v1/models/ HTTP/1.1\r\nHost: a\r\n" + KEY + b"\r\n", 404, "model_not_found"),
    "H22": (b"GET http://evil/v1/models HTTP/1.1\r\nHost: evil\r\n" + KEY + b"\r\n", 400, "invalid_value"),
    "H24-TRACE": (b"TRACE /v1/chat/completions HTTP/1.1\r\nHost: a\r\n\r\n", 405, "method_not_allowed"),
    "H24-OPTIONS": (b"OPTIONS /v1/chat/completions HTTP/1.1\r\nHost: a\r\n\r\n", 405, "method_not_allowed"),
    "H25": (GET + b"Host: a\r\nAuthorization: \xff\xfe\r\n\r\n", 401, "invalid_api_key"),
    "H25-bearer": (GET + b"Host: a\r\nAuthorization: Bearer \xff\xfe\r\n\r\n", 401, "invalid_api_key"),
    "A9": (GET + b"Host: a\r\nAuthorization: Bearer " + b"k" * 2**20 + b"\r\n\r\n", 431, "headers_too_large"),
}


@pytest.mark.parametrize("row", OUR_ROWS)
async def test_a_bad_request_line_or_header_gets_its_exact_answer(stack: Stack, row: str) -> None:
    request, status, code = OUR_ROWS[row]
    async with stack.served() as port, wire(port) as client:
        await client.send(request)
        answered, headers, body = await client.answer()
    assert (answered, error_in(body, status)["code"]) == (status, code)
    assert headers["content-type"] == "application/json"
    assert headers["x-request-id"]
    assert stack.keys.asked in ([], ["good"])
    assert stack.pipeline.requests == []


async def test_h22_requests_in_one_pipe_are_judged_one_by_one(stack: Stack) -> None:
    first, second = GET + KEY + b"Host: a\r\n\r\n", OUR_ROWS["H22"][0].replace(b"/v1/models", b"/v1/models/x")
    async with stack.served() as port, wire(port) as client:
        await client.send(first + second)
        assert [(await client.answer())[0], (await client.answer())[0]] == [200, 400]


async def test_h24_connect_reaches_no_route(stack: Stack) -> None:
    async with stack.served() as port, wire(port) as client:
        await client.send(b"CONNECT evil:80 HTTP/1.1\r\nHost: evil:80\r\n\r\n")
        assert statuses(await client.until_closed(6)) in ([400], [404], [405])


async def test_h13_a_host_beyond_the_allow_list_is_refused_and_one_in_it_is_served() -> None:
    stack = Stack(http=HttpSettings(allowed_hosts=("penstock.internal",)))
    async with stack.served() as port, wire(port) as client, wire(port) as other:
        await client.send(GET + KEY + b"Host: evil.example\r\n\r\n")
        status, _, body = await client.answer()
        assert (status, error_in(body, 400)["code"]) == (400, "invalid_host")
        await other.send(GET + KEY + b"Host: Penstock.Internal:8000\r\n\r\n")
        assert (await other.answer())[0] == 200


async def test_h15_an_8_mb_header_is_refused_and_closed(stack: Stack) -> None:
    async with stack.served() as port, wire(port) as client:
        await client.send(GET + KEY + b"Host: a\r\nX: " + b"x" * 8 * 2**20 + b"\r\n\r\n")
        assert statuses(await client.until_closed()) == [431]


async def test_h3_a_body_that_never_ends_is_closed_at_the_body_timer() -> None:
    stack = Stack(timers=TimerSettings(body_s=0.1))
    async with stack.served() as port, wire(port) as client:
        await client.send(POST + b"Content-Length: %d\r\n\r\n" % (len(GOOD) + 4) + GOOD)
        received = await client.until_closed()
    assert statuses(received) == [400]
    assert error_in(body_of(received), 400)["code"] == "upload_incomplete"
    stack.assert_one_row(400, "upload_incomplete")


async def test_h4_a_byte_left_over_is_never_a_request(stack: Stack) -> None:
    async with stack.served() as port, wire(port) as client:
        await client.send(POST + b"Content-Length: %d\r\n\r\n" % (len(GOOD) - 1) + GOOD)
        assert statuses(await client.until_closed()) == [400]
        await until(lambda: stack.records.rows)
    stack.assert_one_row(400, "invalid_json")


async def test_h4_a_byte_that_comes_behind_the_answer_closes_the_connection(stack: Stack) -> None:
    async with stack.served() as port, wire(port) as client:
        await client.send(POST + b"Content-Length: %d\r\n\r\n" % (len(GOOD) - 1) + GOOD[:-1])
        status, _, body = await client.answer()
        assert (status, error_in(body, 400)["code"]) == (400, "invalid_json")
        await client.send(GOOD[-1:])
        assert statuses(await client.until_closed()) == [400]
    stack.assert_one_row(400, "invalid_json")


SLOW_SOCKETS = 400  # both ends are in this process, and 1,024 open files are the usual limit


async def test_h26_slow_bodies_do_not_slow_a_healthy_client() -> None:
    stack = Stack(timers=TimerSettings(body_s=0.5))
    head = POST + b"Content-Length: 1000\r\n\r\n"
    async with stack.served() as port:
        slow = [await asyncio.open_connection("127.0.0.1", port) for _ in range(SLOW_SOCKETS)]
        for _, writer in slow:
            writer.write(head + b"{")
        async with wire(port) as client:
            await client.send(post(CHAT))
            assert (await client.answer(0.5))[0] == 200
        endings = [await asyncio.wait_for(reader.read(), 5) for reader, _ in slow]
        for _, writer in slow:
            writer.close()
    assert {tuple(statuses(ending)) for ending in endings} == {(400,)}
    assert len(stack.records.rows) == SLOW_SOCKETS + 1


async def test_h27_an_announced_flood_is_refused_before_its_body(stack: Stack) -> None:
    async with stack.served() as port, wire(port) as client:
        await client.send(POST + b"Expect: 100-continue\r\nContent-Length: 10737418240\r\n\r\n")
        received = await client.until_closed()
    assert statuses(received) == [413]
    assert error_in(body_of(received), 413)["code"] == "request_too_large"
    stack.assert_one_row(413, "request_too_large")


async def test_h28_a_chunked_body_is_cut_at_the_limit() -> None:
    stack = Stack(http=HttpSettings(max_body_bytes=200_000))
    async with stack.served() as port, wire(port) as client:
        await client.send(POST + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(5):
            await client.send(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        received = await client.until_closed()
    assert statuses(received) == [413]
    assert error_in(body_of(received), 413)["code"] == "request_too_large"
    stack.assert_one_row(413, "request_too_large")


async def test_a_body_just_over_the_limit_is_drained_and_the_connection_lives() -> None:
    stack = Stack(http=HttpSettings(max_body_bytes=100_000))
    async with stack.served() as port, wire(port) as client:
        await client.send(post(b"x" * 100_001))
        assert (await client.answer())[0] == 413
        await client.send(post(CHAT))
        assert (await client.answer())[0] == 200


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("abc-123", True), ("a" * 64, True), ("a" * 65, False), ("a b", False), ("a\u00e9", False), ("", False)],
)
async def test_h30_a_request_id_is_kept_only_if_it_is_harmless(stack: Stack, sent: str, kept: bool) -> None:
    async with stack.served() as port, wire(port) as client:
        await client.send(post(CHAT, headers=f"X-Request-Id: {sent}\r\n"))
        _, headers, _ = await client.answer()
    assert (headers["x-request-id"] == sent) is kept
    assert stack.records.rows[0].id == headers["x-request-id"]


CLAIMS = {
    **{"X-Tenant-Id": "rival", "X-User-Id": "rob", "X-Priority": "100", "X-Real-IP": "10.0.0.1"},
    **{"X-Forwarded-For": "10.0.0.1", "X-Forwarded-Host": "evil", "X-Forwarded-User": "ops", "Forwarded": "for=[::1]"},
}


async def test_h30_a_header_that_claims_who_calls_or_how_urgently_changes_nothing(stack: Stack) -> None:
    claims = "".join(f"{name}: {value}\r\n" for name, value in CLAIMS.items())
    async with stack.served() as port, wire(port) as client:
        for headers in ("", claims):
            await client.send(post(CHAT, headers=headers))
            assert (await client.answer())[0] == 200
    plain, claimed = (replace(request, id="", received=0) for request in stack.pipeline.requests)
    assert plain == claimed
    assert [(row.org, row.user, row.key_id) for row in stack.records.rows] == [("acme", "ann", "key_good")] * 2


async def test_a_websocket_is_no_way_around_the_routes(stack: Stack) -> None:
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAA\r\n"
    async with stack.served() as port, wire(port) as client:
        await client.send(b"GET /v1/chat/completions HTTP/1.1\r\nHost: a\r\n" + upgrade + b"\r\n")
        assert (await client.answer())[0] == 405
