"""docs/api.md says what the gateway does: every table of the page against the application."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from serving.api.chat import chat_checks
from serving.api.completions import completion_checks
from serving.api.errors import CODES, MethodNotAllowed
from serving.commands.api_fields import INSIDE, WHAT, field_rows
from serving.commands.api_page import FEEDBACK, HEADERS, KEYS, MEANINGS, NOT_YET, PATHS, REFUSED, api_page
from serving.settings import HttpSettings
from tests.serving.api.fakes import PRINCIPALS, Stack, assert_error

SERVING = Path(__file__).parents[3] / "serving"
CHECKS = [chat_checks(HttpSettings()), completion_checks(HttpSettings())]
SECRETS = {principal.role: secret for secret, principal in PRINCIPALS.items() if secret in ("good", "scraper", "root")}


@pytest.fixture
def stack() -> Stack:
    return Stack()


def sources(paths: Iterable[Path]) -> str:
    return "\n".join(path.read_text() for path in paths)


def test_every_field_and_member_has_its_words_and_no_other_has() -> None:
    assert {row.path for checks in CHECKS for row in field_rows(checks) if row.is_supported} == set(WHAT)
    assert set(INSIDE) <= {name for checks in CHECKS for name in checks}
    assert len(WHAT) >= 50


def test_a_field_that_nothing_can_honour_is_named_apart_with_what_to_do_instead() -> None:
    page = api_page()
    assert "`functions` (Use 'tools')" in page
    assert "| `functions` |" not in page


def test_a_limit_on_the_page_is_the_one_that_is_set() -> None:
    assert "| `n` | an integer from 1 to 8 |" in api_page()
    assert "| `n` | an integer from 1 to 3 |" in api_page(HttpSettings(max_n=3))


def test_every_path_of_the_gateway_is_on_the_page() -> None:
    routes: Any = Stack().app()._app.routes
    served = {(method, route.path.replace(":path", "")) for route in routes for method in route.methods - {"HEAD"}}
    assert {(method, path) for method, path, _, _ in PATHS} == served


@pytest.mark.parametrize(("method", "path", "roles", "what"), PATHS)
async def test_a_path_is_open_to_the_roles_of_its_row_alone(
    stack: Stack, method: str, path: str, roles: frozenset[str], what: str
) -> None:
    statuses = {}
    for role, secret in {**SECRETS, "nobody": "wrong"}.items():
        async with stack.client(secret) as client:
            statuses[role] = (await client.request(method, re.sub(r"{\w+}", "auto", path))).status_code
    assert {role for role in SECRETS if statuses[role] != 403} == SECRETS.keys() & (roles or SECRETS.keys())
    assert (statuses["nobody"] == 401) is bool(roles)


GOOD = {"/v1/feedback": {"request_id": "r", "rating": "up"}, "/admin/keys": {"org": "acme", "user": "ann"}}


@pytest.mark.parametrize(
    ("path", "field", "takes", "what"),
    [("/v1/feedback", *row) for row in FEEDBACK] + [("/admin/keys", *row) for row in KEYS],
)
async def test_a_wrong_value_is_refused_in_the_words_of_the_page(
    stack: Stack, path: str, field: str, takes: str, what: str
) -> None:
    async with stack.client("root") as client:
        wrong = await client.post(path, json=GOOD[path] | {field: {}})
        absent = await client.post(path, json={name: value for name, value in GOOD[path].items() if name != field})
    assert_error(wrong, 400, "invalid_value", field)
    assert wrong.json()["error"]["message"] == f"Invalid value for '{field}': expected {takes}."
    assert ("missing_required_parameter" in absent.text) is what.startswith("**Required.**")


def test_the_codes_on_the_page_are_those_that_something_raises() -> None:
    tables = {SERVING / "api" / "errors.py", SERVING / "commands" / "api_page.py"}
    models = SERVING.parent / "models"
    text = sources({*SERVING.rglob("*.py"), models / "errors.py", models / "strict_json.py"} - tables)
    raised = {code for code in CODES if f'"{code}"' in text} | {MethodNotAllowed.default_code}
    assert set(MEANINGS) == raised


def test_the_headers_on_the_page_are_those_that_the_gateway_sends() -> None:
    sent = set(re.findall(r'"(x-penstock-[a-z-]+)"', (SERVING / "engines" / "attempts.py").read_text()))
    assert {name for name, _, _ in HEADERS if name.startswith("x-penstock-")} == sent


def test_what_is_never_the_clients_is_no_field() -> None:
    assert [name for name in REFUSED for checks in CHECKS if name in checks] == []


@pytest.mark.parametrize("path", NOT_YET)
async def test_what_is_not_there_yet_is_an_unknown_url(stack: Stack, path: str) -> None:
    async with stack.client("root") as client:
        assert_error(await client.post(path, json={}), 404, "unknown_url")
