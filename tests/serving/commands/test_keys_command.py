"""`penstock keys` on a store of this machine, and over HTTP against the real routes."""

import asyncio
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from typer.testing import Result

from models.clock import SystemClock
from serving.api.deps import ApiDependencies
from serving.api.routes import build_api
from serving.settings import HttpSettings, TimerSettings
from serving.store.store import Store
from serving.tenancy.keys import KeyAdmin, KeyBook
from serving.testing import serve

Run = Callable[..., Result]
ACME = ("--org", "acme", "--user", "ann")


def url_of(tmp_path: Path) -> str:
    (tmp_path / "state").mkdir(exist_ok=True)
    return f"sqlite+aiosqlite:///{tmp_path}/state/penstock.db"


@pytest.fixture
def admin_key(tmp_path: Path) -> str:
    """The first key of a stack that has been started once."""

    async def first() -> str | None:
        async with Store.open(url_of(tmp_path)) as store:
            return await KeyAdmin(store.keys, clock=SystemClock()).create_first()

    return asyncio.run(first()) or ""


class Gateway:
    """The real key routes on a port, in a thread of their own, because the command line has an event loop itself."""

    def __init__(self, url: str) -> None:
        self._store_url = url
        self._stop = threading.Event()
        self.started = threading.Event()
        self.url = ""

    def run(self) -> None:
        asyncio.run(self._live())

    def stop(self) -> None:
        self._stop.set()

    async def _live(self) -> None:
        async with Store.open(self._store_url) as store:
            book, admin = KeyBook(store.keys, clock=SystemClock()), KeyAdmin(store.keys, clock=SystemClock())
            given = {"http": HttpSettings(), "timers": TimerSettings(), "clock": SystemClock(), "version": "0"}
            parts = dict.fromkeys(("limiter", "pipeline", "records", "models", "readiness", "metrics"))
            deps = SimpleNamespace(keys=book, key_admin=admin, **given, **parts)
            async with serve(build_api(cast(ApiDependencies, deps))) as self.url:
                self.started.set()
                await asyncio.to_thread(self._stop.wait)


@pytest.fixture
def far(admin_key: str, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment that names the stack behind HTTP, from a machine without its state folder."""
    gateway = Gateway(url_of(tmp_path))
    thread = threading.Thread(target=gateway.run)
    thread.start()
    assert gateway.started.wait(30)
    yield {"PENSTOCK_URL": gateway.url, "PENSTOCK_API_KEY": admin_key, "PENSTOCK_STATE_DIR": str(tmp_path / "none")}
    gateway.stop()
    thread.join(30)


def listed(penstock: Run, **environment: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(penstock("keys", "list", "--json", **environment).stdout)
    return found


def test_a_key_is_made_shown_once_listed_and_revoked(penstock: Run, admin_key: str) -> None:
    before = time.time()
    made = penstock("keys", "create", *ACME, "--model", "auto", "--model", "demo-small", "--expires", "30d")
    after = time.time()
    assert re.fullmatch(r"sk-penstock-[\w-]{43}\n", made.stdout)
    [row, first] = listed(penstock)
    assert (row["org"], row["models"], first["role"]) == ("acme", ["auto", "demo-small"], "admin")
    assert before + 30 * 86_400 <= row["expires_at"] <= after + 30 * 86_400
    assert made.stdout.strip() not in penstock("keys", "list").stdout
    assert penstock("keys", "revoke", row["id"]).exit_code == 0
    assert "revoked" in penstock("keys", "list").stdout


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (("create", "--org", "Acme", "--user", "ann"), "org must be"),
        (("create", *ACME, "--expires", "soon"), "--expires wants"),
        (("create", *ACME, "--role", "root"), "role must be"),
        (("revoke", "key_unknown"), "No such key"),
        (("keep-text", "nobody"), "No such org"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    penstock: Run, admin_key: str, command: tuple[str, ...], sentence: str
) -> None:
    result = penstock("keys", *command)
    assert (result.exit_code, result.stdout) == (1, "")
    assert sentence in result.stderr


def test_the_last_admin_key_stays(penstock: Run, admin_key: str) -> None:
    result = penstock("keys", "revoke", listed(penstock)[0]["id"])
    assert (result.exit_code, "last admin key" in result.stderr) == (1, True)


def test_a_stack_that_was_never_started_gets_no_key(penstock: Run, tmp_path: Path) -> None:
    result = penstock("keys", "create", *ACME)
    assert (result.exit_code, "No stack has been started" in result.stderr) == (1, True)
    assert not (tmp_path / "state").exists()


def test_an_org_is_switched_to_keep_texts_and_back(penstock: Run, admin_key: str, tmp_path: Path) -> None:
    async def kept() -> bool:
        async with Store.open(url_of(tmp_path)) as store:
            return (await store.keys.active())[0].keep_text

    for option, expected in (("--on", True), ("--off", False)):
        assert penstock("keys", "keep-text", "default", option).exit_code == 0
        assert asyncio.run(kept()) is expected


def test_the_same_commands_work_over_http(penstock: Run, far: dict[str, str]) -> None:
    made = json.loads(penstock("keys", "create", *ACME, "--concurrency", "2", "--json", **far).stdout)
    assert (made["key"][:12], made["concurrency"], made["models"]) == ("sk-penstock-", 2, None)
    assert listed(penstock, **far)[0]["id"] == made["id"]
    assert penstock("keys", "revoke", made["id"], **far).exit_code == 0
    assert [row["revoked_at"] is None for row in listed(penstock, **far)] == [False, True]


def test_a_refusal_over_http_is_the_stacks_own_sentence(penstock: Run, far: dict[str, str]) -> None:
    refused = penstock("keys", "list", **{**far, "PENSTOCK_API_KEY": "sk-penstock-wrong"})
    assert (refused.exit_code, "API key is not valid" in refused.stderr) == (1, True)
    gone = penstock("keys", "list", **{**far, "PENSTOCK_URL": "http://127.0.0.1:1"})
    assert (gone.exit_code, "does not answer" in gone.stderr) == (1, True)


def test_no_calls_at_once_is_refused_over_http_and_makes_no_key_without_a_limit(
    penstock: Run, far: dict[str, str]
) -> None:
    refused = penstock("keys", "create", *ACME, "--concurrency", "0", **far)
    assert (refused.exit_code, "concurrency" in refused.stderr) == (1, True)
    assert len(listed(penstock, **far)) == 1


def test_the_words_of_a_key_are_shown_as_they_were_given(penstock: Run, admin_key: str) -> None:
    penstock("keys", "create", *ACME, "--name", "[/dim] :smile: [red]", "--model", "[/x]")
    shown = penstock("keys", "list").stdout
    assert "[/dim] :smile: [red]" in shown
    assert "[/x]" in shown
    assert listed(penstock)[0]["name"] == "[/dim] :smile: [red]"
