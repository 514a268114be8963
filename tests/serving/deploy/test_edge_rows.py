"""Rows H through the real HAProxy in front of the real HTTP layer: how many answers, whose, and what was let through.

Behind an answer that leaves the connection open comes one more good request: what the edge had kept would show there.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.serving.api.fakes import Stack, error_in, served
from tests.serving.api.test_http_rows import GET, GOOD, KEY, OUR_ROWS, PARSER_ROWS, POST, SECOND
from tests.serving.api.wire import Wire, body_of, statuses, wire
from tests.serving.deploy.conftest import Edge

StartEdge = Callable[..., Edge]
LAST = GET + KEY + b"Host: a\r\nConnection: close\r\n\r\n"
OWN = {name: request for name, (request, _, _) in OUR_ROWS.items()}


@dataclass
class Site:
    """A gateway behind its edge; `seen` are the requests that reached it, as its server understood them."""

    stack: Stack = field(default_factory=Stack)
    seen: list[Any] = field(default_factory=list)
    port: int = 0

    def counting(self, app: Any) -> Any:
        async def counted(scope: Any, receive: Any, send: Any) -> None:
            self.seen.append(scope)
            await app(scope, receive, send)

        return counted

    @asynccontextmanager
    async def behind(self, edge: StartEdge) -> AsyncIterator[Wire]:
        """A client's connection to the edge."""
        async with served(self.counting(self.stack.app())) as gateway:
            self.port = edge(gateway=gateway).port
            async with wire(self.port) as client:
                yield client

    def headers(self, name: bytes) -> list[bytes]:
        """A header of the first request, as it arrived."""
        return [value for key, value in self.seen[0]["headers"] if key == name]


async def answers(client: Wire, request: bytes) -> bytes:
    """Everything that comes for a request and for a good one sent behind its answer's head."""
    await client.send(request)
    head = await client.reader.readuntil(b"\r\n\r\n")
    await client.send(LAST)
    return head + await client.until_closed()


REFUSED = {
    **{row: PARSER_ROWS[row] for row in ("H2", "H5", "H9")},
    **{row: OWN[row] for row in ("H11-two", "H12", "H12-at", "H14", "H16")},
    "H2-list": POST + b"Content-Length: 2, 3\r\n\r\n{}",
    "H2-sign": POST + b"Content-Length: +2\r\n\r\n{}",
    "H5-two": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "H6-no-version": b"GET /v1/models\r\n\r\n",
    "H7-space": GET + KEY + b"Host: a\r\nX : a\r\n\r\n",
    "H8-bare-cr": GET + KEY + b"Host: a\r\nX: a\rb\r\n\r\n",
    "H9-name": GET + KEY + b"Host: a\r\nX\0: a\r\n\r\n",
    "H16-256": GET + KEY + b"Host: a\r\n" + b"X: y\r\n" * 254 + b"\r\n",
    "H23-fragment": GET.replace(b"models", b"models#x") + KEY + b"Host: a\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00",
}


@pytest.mark.parametrize("row", REFUSED)
async def test_what_the_edge_refuses_gets_its_own_page_once_and_reaches_no_gateway(edge: StartEdge, row: str) -> None:
    site = Site()
    async with site.behind(edge) as client:
        await client.send(REFUSED[row])
        received = await client.until_closed()
    assert statuses(received) == [400]
    assert b"text/html" in received
    assert site.seen == []


PASSED = {name: row for name, row in OUR_ROWS.items() if name not in REFUSED and name != "A9"}
PASSED |= {
    "H7": (PARSER_ROWS["H7"], 401, "invalid_api_key"),
    "H8": (PARSER_ROWS["H8"], 401, "invalid_api_key"),
    "H2-equal": (POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", 400, "missing_required_parameter"),
    "H14-60-KB": (GET + KEY + b"Host: a\r\nX: " + b"x" * 60_000 + b"\r\n\r\n", 431, "headers_too_large"),
    "H16-255": (GET + KEY + b"Host: a\r\n" + b"X: y\r\n" * 253 + b"\r\n", 431, "headers_too_large"),
    "H22-own-host": (OWN["H22"].replace(b"evil", b"a"), 400, "invalid_value"),
}


@pytest.mark.parametrize("row", PASSED)
async def test_what_the_edge_lets_through_gets_the_gateways_answer_once(edge: StartEdge, row: str) -> None:
    request, status, code = PASSED[row]
    site = Site()
    async with site.behind(edge) as client:
        received = await answers(client, request)
    assert statuses(received) == [status, 200]
    assert error_in(body_of(received).partition(b"HTTP/1.1")[0], status)["code"] == code
    assert len(site.seen) == 2
    assert site.stack.pipeline.requests == []


async def test_h24_an_unknown_method_is_refused_by_the_gateways_parser(edge: StartEdge) -> None:
    site = Site()
    async with site.behind(edge) as client:
        assert statuses(await answers(client, PARSER_ROWS["H24-FOO"])) == [400, 200]
    assert len(site.seen) == 1


@pytest.mark.parametrize(
    ("request_", "value"),
    [
        (GET + KEY + b"Host: a\r\nX: a\r\n b\r\n\r\n", [b"a   b"]),
        (b"GET /v1/models HTTP/1.1\nHost: a\nAuthorization: Bearer good\nX: a\n\n", [b"a"]),
    ],
    ids=["H7-folded", "H8-bare-lf"],
)
async def test_what_the_edge_mends_arrives_in_one_reading(edge: StartEdge, request_: bytes, value: list[bytes]) -> None:
    site = Site()
    async with site.behind(edge) as client:
        assert statuses(await answers(client, request_)) == [200, 200]
    assert site.headers(b"x") == value


FRAMINGS = {
    "H1": PARSER_ROWS["H1"],
    "H1-chunked-first": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + SECOND,
    "H1-good": POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n" + SECOND,
}


@pytest.mark.parametrize("row", FRAMINGS)
async def test_h1_a_request_hidden_behind_two_lengths_is_never_one(edge: StartEdge, row: str) -> None:
    site = Site()
    async with site.behind(edge) as client:
        await client.send(FRAMINGS[row])
        received = await client.until_closed()
    assert statuses(received) == [400]
    assert error_in(body_of(received), 400)["code"] in ("invalid_json", "missing_required_parameter")
    assert len(site.seen) == 1
    assert (site.headers(b"content-length"), site.headers(b"transfer-encoding")) == ([], [b"chunked"])


async def test_h4_a_byte_left_over_gets_the_page_behind_the_answer_and_is_never_a_request(edge: StartEdge) -> None:
    site = Site()
    async with site.behind(edge) as client:
        await client.send(POST + b"Content-Length: %d\r\n\r\n" % (len(GOOD) - 1) + GOOD)
        status, _, body = await client.answer()
        assert (status, error_in(body, 400)["code"]) == (400, "invalid_json")
        assert statuses(await client.until_closed()) == [400]
    assert len(site.seen) == 1


@pytest.mark.parametrize("request_", [OWN["A9"], GET + b"X: " + b"x" * 8 * 2**20 + b"\r\n\r\n"], ids=["A9", "H15"])
async def test_megabytes_of_headers_are_cut_off_and_the_edge_lives(edge: StartEdge, request_: bytes) -> None:
    site = Site()
    async with site.behind(edge) as client:
        with suppress(ConnectionError):
            await client.send(request_)
        assert statuses(await client.until_closed()) in ([], [400])  # the reset may overtake the page
        assert site.seen == []
        async with wire(site.port) as other:
            assert statuses(await answers(other, LAST.replace(b"close", b"keep-alive"))) == [200, 200]


async def test_h27_an_announced_flood_is_refused_before_its_body(edge: StartEdge) -> None:
    site = Site()
    async with site.behind(edge) as client:
        await client.send(POST + b"Expect: 100-continue\r\nContent-Length: 10737418240\r\n\r\n")
        status, _, body = await client.answer()
    assert (status, error_in(body, 413)["code"]) == (413, "request_too_large")


async def test_a_gateway_that_cuts_the_connection_is_a_bad_answer(edge: StartEdge) -> None:
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        cuts.append(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    cuts: list[bytes] = []
    server = await asyncio.start_server(cut, "127.0.0.1", 0)
    async with server, wire(edge(gateway=server.sockets[0].getsockname()[1]).port) as client:
        await client.send(LAST)
        status, _, body = await client.answer()
    assert (status, error_in(body, 502)["code"]) == (502, "upstream_bad_response")
    assert len(cuts) == 1


async def test_the_edges_own_health_is_open_to_everybody(edge: StartEdge) -> None:
    async with wire(edge().port) as client:
        await client.send(b"GET /-/healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await client.answer())[0] == 200


OURS = {
    "H24-CONNECT": (b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 405, "method_not_allowed"),
    "H22-options": (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid_value"),
    "H22-query": (b"GET ?a HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid_value"),
    "H22-relative": (b"GET v1/models HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid_value"),
}


@pytest.mark.parametrize("row", OURS)
async def test_a_target_that_is_no_path_is_refused_at_the_edge_in_our_shape(edge: StartEdge, row: str) -> None:
    request, status, code = OURS[row]
    site = Site()
    async with site.behind(edge) as client:
        await client.send(request)
        received = await client.until_closed()
    assert statuses(received) == [status]
    assert error_in(body_of(received), status)["code"] == code
    assert site.seen == []


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        (b"x-session-id", []),
        (b"serve-multiplexed-model-id", []),
        (b"x-request-disconnect-disabled", []),
        (b"x-a", [b"\xe9"]),
    ],
)
async def test_headers_that_serve_decodes_unchecked_do_not_reach_it(
    edge: StartEdge, name: bytes, kept: list[bytes]
) -> None:
    site = Site()
    async with site.behind(edge) as client:
        assert statuses(await answers(client, GET + KEY + b"Host: a\r\n" + name + b": \xe9\r\n\r\n")) == [200, 200]
    assert site.headers(name) == kept


async def test_a_session_id_of_plain_letters_reaches_the_gateway(edge: StartEdge) -> None:
    site = Site()
    async with site.behind(edge) as client:
        assert statuses(await answers(client, GET + KEY + b"Host: a\r\nx-session-id: a-1\r\n\r\n")) == [200, 200]
    assert site.headers(b"x-session-id") == [b"a-1"]
