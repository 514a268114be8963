"""From a chat and its correction to a training file: the whole gateway around the shipped engine, and the command."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import structlog
from typer.testing import CliRunner, Result

from finetune.data.check import Limits, check_file
from models.catalog import Catalog
from models.clock import SystemClock
from serving.app import GatewayParts, open_gateway
from serving.cli import build
from serving.settings import load_settings
from serving.store.store import Store
from serving.tenancy.keys import KeyAdmin, KeySpec
from serving.testing import FakeEngine, Script, StaticDirectory, serve

TOKEN = "engine-token"
CARD = "demo-small"
PROFILE = f"tiers: {{small: {CARD}, large: {CARD}}}\nengines: [{{card: {CARD}}}]\nrouter: {{kind: threshold}}\n"


@dataclass
class Stack:
    """A running gateway over the store of a state folder."""

    state: Path
    url: str = ""
    keys: dict[str, str] = field(default_factory=dict)

    async def post(self, path: str, body: Any, *, key: str) -> tuple[str, Any]:
        headers = {"Authorization": f"Bearer {self.keys[key]}"}
        async with aiohttp.ClientSession(headers=headers) as session:  # noqa: SIM117
            async with session.post(f"{self.url}{path}", json=body) as answer:
                assert answer.status == 200, await answer.text()
                return answer.headers["x-request-id"], await answer.json()

    async def rated(self, key: str, *texts: str, more: Any = None, **opinion: Any) -> None:
        """A chat, and what its user says of the answer."""
        roles = ("system", "user", "assistant", "user")
        messages = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]
        asked = {"model": CARD, "messages": messages, **(more or {})}
        number, _ = await self.post("/v1/chat/completions", asked, key=key)
        await self.post("/v1/feedback", {"request_id": number, **opinion}, key=key)

    async def command(self, *options: str) -> Result:
        """`penstock data from-records`, in a thread: it has a loop of its own."""
        environment = {"PENSTOCK_STATE_DIR": str(self.state), "PENSTOCK_URL": "", "COLUMNS": "400"}
        run: Callable[[], Result] = lambda: CliRunner().invoke(  # noqa: E731
            build(), ["data", "from-records", *options], env=environment
        )
        return await asyncio.to_thread(run)


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    stack = Stack(tmp_path / "state")
    stack.state.mkdir()
    url = f"sqlite+aiosqlite:///{stack.state}/penstock.db"
    async with Store.open(url) as store:
        admin = KeyAdmin(store.keys, clock=SystemClock())
        for org, keep in (("kept", True), ("other", False)):
            _, stack.keys[org] = await admin.create(KeySpec(org=org, user="ann", keep_text=keep))
    (tmp_path / "rules.yaml").write_text(PROFILE)
    async with serve(FakeEngine(Script(tokens=3), token=TOKEN)) as engine:
        parts = GatewayParts(
            load_settings(str(tmp_path / "rules.yaml")),
            {CARD: Catalog.load(None).card(CARD)},
            StaticDirectory({CARD: [engine]}),
            engine_token=TOKEN,
            salt_key="salt",
            store_url=url,
            spool=str(tmp_path / "spool"),
            replica="g1",
        )
        async with open_gateway(parts) as app, serve(app) as stack.url:
            yield stack
    structlog.reset_defaults()


async def test_a_correction_is_what_a_training_file_teaches_without_what_is_private(
    stack: Stack, tmp_path: Path
) -> None:
    secret = "sk-penstock-" + "a1B2c3D4" * 5 + "xyz"
    asked = ("Be brief.", f"I am jo@example.com, my key is {secret}")
    await stack.rated("kept", *asked, rating="down", corrected="Hello jo@example.com.")
    await stack.rated("other", "Be kind.", "nobody may read this", rating="up")
    done = await stack.command("--out", str(tmp_path / "train.jsonl"))
    assert done.exit_code == 0, done.stderr
    assert json.loads((tmp_path / "train.jsonl").read_text()) == {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "I am <EMAIL_1>, my key is <API_KEY_1>"},
            {"role": "assistant", "content": "Hello <EMAIL_1>."},
        ]
    }
    assert "1 chat examples" in done.stderr
    assert "1 of them with a correction" in done.stderr
    assert "1 × its org does not keep texts" in done.stderr
    assert "2 × EMAIL" in done.stderr
    assert check_file(tmp_path / "train.jsonl", limits=Limits(least=1)).format == "chat"


async def test_both_formats_count_the_same_answers_and_the_counts_are_json(stack: Stack, tmp_path: Path) -> None:
    await stack.rated("kept", "s", "one", rating="up")
    await stack.rated("kept", "s", "two", rating="down", corrected="2")
    await stack.rated("kept", "s", "three", rating="down")
    await stack.rated("kept", "s", "four", rating="up", more={"penstock": {"feature": "gate"}})
    pairs = await stack.command("--format", "preference", "--json", "--out", str(tmp_path / "pairs.jsonl"))
    assert pairs.exit_code == 0, pairs.stderr
    assert json.loads(pairs.stdout) == {
        "file": str(tmp_path / "pairs.jsonl"),
        "format": "preference",
        "examples": 1,
        "corrected": 1,
        "redacted": {},
        "left_out": {
            "asked by a gate": 1,
            "rated down and not corrected": 1,
            "no correction that differs from the answer": 1,
        },
    }
    chats = await stack.command()
    assert [json.loads(line)["messages"][-1]["content"] for line in chats.stdout.splitlines()] == ["word " * 3, "2"]


async def test_an_org_that_opted_out_meanwhile_gives_nothing(stack: Stack, tmp_path: Path) -> None:
    await stack.rated("kept", "s", "one", rating="up")
    assert (await stack.command()).exit_code == 0
    async with Store.open(f"sqlite+aiosqlite:///{stack.state}/penstock.db") as store:
        await KeyAdmin(store.keys, clock=SystemClock()).keep_text("kept", False)
    done = await stack.command("--out", str(tmp_path / "train.jsonl"))
    assert (done.exit_code, done.stdout) == (1, "")
    assert "1 × its org does not keep texts" in done.stderr
    assert not (tmp_path / "train.jsonl").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--no-redact",), "say --i-know as well"),
        (("--json",), "say with --out where the lines go"),
        (("--since", "1d", "--until", "2d"), "--since must lie before --until"),
        (("--since", "soon"), "--since wants a number"),
        ((), "No rated answer of this span makes an example."),
    ],
)
async def test_a_mistake_is_a_sentence(stack: Stack, options: tuple[str, ...], said: str) -> None:
    done = await stack.command(*options)
    assert (done.exit_code, done.stdout) == (1, "")
    assert said in done.stderr


async def test_what_is_private_stays_only_where_somebody_says_so_twice(stack: Stack) -> None:
    await stack.rated("kept", "s", "I am jo@example.com", rating="up")
    done = await stack.command("--no-redact", "--i-know")
    assert "I am jo@example.com" in done.stdout


async def test_a_file_that_is_there_is_not_written_over(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "there.jsonl").write_text("mine")
    done = await stack.command("--out", str(tmp_path / "there.jsonl"))
    assert "is there already" in done.stderr
    assert (tmp_path / "there.jsonl").read_text() == "mine"
