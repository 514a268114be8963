"""Rows A: who may call what. The id of each case is the row's name."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from tests.serving.api.fakes import CHAT, Stack, assert_error

OPEN = {"/health", "/ready"}
ROUTES = {
    "/v1/chat/completions": {"POST"},
    "/v1/completions": {"POST"},
    "/v1/models": {"GET"},
    "/v1/models/auto": {"GET", "DELETE"},
    "/v1/feedback": {"POST"},
    "/v1/router/explain": {"POST"},
    "/v1/router/status": {"GET"},
    "/v1/files": {"GET", "POST"},
    "/v1/files/file-0": {"GET", "DELETE"},
    "/v1/files/file-0/content": {"GET"},
    "/v1/fine_tuning/jobs": {"GET", "POST"},
    "/v1/fine_tuning/jobs/ftjob-0": {"GET"},
    "/v1/fine_tuning/jobs/ftjob-0/cancel": {"POST"},
    "/v1/fine_tuning/jobs/ftjob-0/pause": {"POST"},
    "/v1/fine_tuning/jobs/ftjob-0/resume": {"POST"},
    "/v1/fine_tuning/jobs/ftjob-0/events": {"GET"},
    "/v1/fine_tuning/jobs/ftjob-0/checkpoints": {"GET"},
    "/v1/fine_tuning/jobs/ftjob-0/checkpoints/ftckpt-0/serve": {"POST"},
    "/v1/fine_tuning/jobs/ftjob-0/report": {"GET"},
    "/health": {"GET"},
    "/ready": {"GET"},
    "/metrics": {"GET"},
    "/version": {"GET"},
    "/admin/keys": {"GET", "POST"},
    "/admin/keys/key_0": {"DELETE"},
}
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]
CLOSED = [path for path in ROUTES if path not in OPEN]

BAD_CREDENTIALS: dict[str, dict[str, str]] = {
    "A1-none": {},
    "A2": {"authorization": "Bearer"},
    "A2-space": {"authorization": "Bearer   "},
    "A3": {"authorization": "Basic Z29vZDpnb29k"},
    "A5-bare": {"authorization": "good"},
    "A6-x-api-key": {"x-api-key": "good"},
    "A7-api-key": {"api-key": "good"},
    "A8-cookie": {"cookie": "api_key=good"},
    "A10": {"authorization": "Bearer ' OR 1=1--"},
    "A11-wrong": {"authorization": "Bearer goo"},
    "A11-longer": {"authorization": "Bearer good " + "x"},
}


async def call(stack: Stack, path: str, headers: dict[str, str], method: str = "GET") -> httpx2.Response:
    async with stack.client(None) as client:
        return await client.request(method, path, headers=headers, json=CHAT if method == "POST" else None)


@pytest.mark.parametrize("row", BAD_CREDENTIALS)
@pytest.mark.parametrize("path", CLOSED)
async def test_no_closed_route_answers_without_a_good_key(stack: Stack, path: str, row: str) -> None:
    response = await call(stack, path, BAD_CREDENTIALS[row], min(ROUTES[path]))
    assert_error(response, 401, "invalid_api_key")
    assert response.headers["www-authenticate"] == "Bearer"


async def test_a_key_in_the_query_is_no_key(stack: Stack) -> None:
    assert_error(await call(stack, "/v1/models?api_key=good", {}), 401, "invalid_api_key")


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/v1/models", {"x-api-key": "good"}),
        ("/v1/models", {"api-key": "other"}),
        ("/v1/models?api_key=good", {}),
        ("/v1/models?access_token=x", {}),
    ],
)
async def test_two_credentials_at_once_are_ambiguous(stack: Stack, path: str, headers: dict[str, str]) -> None:
    response = await call(stack, path, {"authorization": "Bearer good"} | headers)
    assert_error(response, 400, "ambiguous_credentials")


async def test_two_authorization_headers_are_ambiguous(stack: Stack) -> None:
    headers = [("authorization", "Bearer good"), ("authorization", "Bearer other")]
    async with stack.client(None) as client:
        assert_error(await client.get("/v1/models", headers=headers), 400, "ambiguous_credentials")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_a4_the_scheme_has_no_case(stack: Stack, scheme: str) -> None:
    assert (await call(stack, "/v1/models", {"authorization": f"{scheme} good"})).status_code == 200


ROLE_ROWS = [
    ("good", "POST", "/admin/keys", 403),
    ("good", "GET", "/admin/keys", 403),
    ("good", "DELETE", "/admin/keys/key_0", 403),
    ("good", "GET", "/metrics", 403),
    ("good", "GET", "/version", 403),
    ("good", "GET", "/v1/models", 200),
    ("good", "GET", "/v1/router/status", 403),
    ("good", "POST", "/v1/router/explain", 200),
    ("scraper", "POST", "/v1/router/explain", 403),
    ("scraper", "GET", "/v1/router/status", 200),
    ("root", "GET", "/v1/router/status", 200),
    ("scraper", "GET", "/metrics", 200),
    ("scraper", "GET", "/version", 200),
    ("scraper", "GET", "/v1/models", 403),
    ("scraper", "POST", "/v1/chat/completions", 403),
    ("scraper", "GET", "/admin/keys", 403),
    ("root", "GET", "/metrics", 200),
    ("root", "GET", "/v1/models", 200),
    ("root", "POST", "/v1/chat/completions", 200),
    ("root", "GET", "/admin/keys", 200),
]


@pytest.mark.parametrize(("key", "method", "path", "status"), ROLE_ROWS)
async def test_a13_a_role_opens_its_own_routes_and_no_others(
    stack: Stack, key: str, method: str, path: str, status: int
) -> None:
    response = await call(stack, path, {"authorization": f"Bearer {key}"}, method)
    assert response.status_code == status, response.text
    if status == 403:
        assert_error(response, 403, "insufficient_permissions")


@pytest.mark.parametrize(
    "path", ["/docs", "/redoc", "/openapi.json", "/tokenize", "/invocations", "/load", "/pause", "/"]
)
async def test_a16_side_doors_do_not_exist(stack: Stack, path: str) -> None:
    for method in ("GET", "POST"):
        assert_error(await call(stack, path, {"authorization": "Bearer root"}, method), 404, "unknown_url")


@pytest.mark.parametrize("path", ROUTES)
async def test_t2_a_method_that_is_not_listed_is_405(stack: Stack, path: str) -> None:
    allowed = ROUTES[path] | ({"HEAD"} if "GET" in ROUTES[path] else set())
    for method in [method for method in METHODS if method not in allowed]:
        response = await call(stack, path, {"authorization": "Bearer root"}, method)
        assert response.status_code == 405
        assert set(response.headers["allow"].split(", ")) == allowed


async def test_a_refused_call_leaves_one_row_that_says_why(stack: Stack) -> None:
    await call(stack, "/v1/chat/completions", {}, "POST")
    await call(stack, "/v1/chat/completions", {"authorization": "Bearer scraper"}, "POST")
    await call(stack, "/v1/models", {})
    rows: list[Any] = [(row.status, row.error_code, row.key_id) for row in stack.records.rows]
    assert rows == [(401, "invalid_api_key", None), (403, "insufficient_permissions", "key_scraper")]
