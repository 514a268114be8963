"""Adapters on two gateways and two replicas: released under traffic, changed at once, taken back, and never mixed up.

The adapters are trained here, with PEFT on the large demo tier: each says the same words to everybody, so that an
answer tells which weights gave it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
from openai import AsyncOpenAI, OpenAI

from tests.e2e.conftest import PROVE, Stack, listeners
from tests.e2e.processes import actors_of, replicas_of, wait_until
from tests.e2e.proof import proved
from tests.models.adapters.broken import broken_adapters

LARGE = "demo-large"
SAYS = {1: "I am the first.", 2: "I am the second."}
SLOW = "A long answer. A long answer. A long answer. A long answer. A long answer. A long answer."
CYCLES = 500 if PROVE else 20
BAD = 50
FLAT_BYTES = 48 * 2**20
HOUSE_S = 60


@dataclass
class Bot:
    """An adapter of two versions, under a name of its own."""

    stack: Stack
    name: str

    def run(self, *arguments: str, check: bool = True) -> Any:
        """`penstock adapters …` with `--json`."""
        verb, *more = arguments
        done = self.stack.run("adapters", verb, self.name, *more, "--json", check=check)
        return json.loads(done.stdout) if done.returncode == 0 else done.stderr

    def promote(self, version: int) -> Any:
        return self.run("promote", "--version", str(version))

    def states(self) -> dict[int, str]:
        return {one["version"]: one["state"] for one in self.run("show")["versions"]}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Two adapters as PEFT saves them: version → folder."""
    home = tmp_path_factory.mktemp("adapters")
    for version, words in {**SAYS, 3: SLOW}.items():
        command = [str(Path(sys.executable).with_name("penstock")), "demo", "adapter", str(home / str(version))]
        subprocess.run([*command, "--says", words], check=True, capture_output=True, timeout=300)
    return {version: home / str(version) for version in (*SAYS, 3)}


@pytest.fixture
def bot(wide: Stack, folders: dict[int, Path], request: pytest.FixtureRequest) -> Iterator[Bot]:
    """Three versions pushed, none released; gone again behind the test."""
    made = Bot(wide, f"bot-{abs(hash(request.node.name)) % 10**6}")
    for folder in folders.values():
        wide.run("adapters", "push", made.name, str(folder), "--base", LARGE)
    yield made
    made.run("retire", check=False)
    wait_until(lambda: set(made.states().values()) <= {"retired", "validated", "failed"}, limit_s=HOUSE_S)
    wide.run("adapters", "delete", made.name)


@dataclass
class Traffic:
    """Calls of one name, one after the other on each gateway: what each answered, and with which version."""

    answers: list[tuple[str, str, str]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def wrong(self) -> list[tuple[str, str, str]]:
        """Answers that are not those of the version that they name."""
        return [one for one in self.answers if one[2] != SAYS[int(one[1])]]


@asynccontextmanager
async def traffic(bot: Bot, key: str, *, workers: int = 2) -> AsyncIterator[Traffic]:
    """Steady calls on both gateways while the block is open, without retries."""
    found, ending = Traffic(), asyncio.Event()

    async def call(url: str) -> None:
        async with AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client:
            while not ending.is_set():
                try:
                    raw = await client.chat.completions.with_raw_response.create(
                        model=bot.name, messages=[{"role": "user", "content": "Hello?"}], max_tokens=16, temperature=0
                    )
                    text = raw.parse().choices[0].message.content or ""
                    found.answers.append((url, raw.headers["x-penstock-adapter-version"], text.strip()))
                except Exception as error:  # noqa: BLE001 - whatever it was, it is a failed call
                    found.failures.append(repr(error))
                await asyncio.sleep(0.01)

    async with asyncio.TaskGroup() as group:
        for url in listeners(bot.stack):
            for _ in range(workers):
                group.create_task(call(url))
        try:
            yield found
        finally:
            ending.set()


def ask(stack: Stack, model: str, content: str = "Hello?", **more: Any) -> tuple[str, str | None]:
    """The greedy answer and the version that gave it."""
    with OpenAI(base_url=f"{stack.url}/v1", api_key=stack.key, max_retries=0) as client:
        raw = client.chat.completions.with_raw_response.create(
            model=model, messages=[{"role": "user", "content": content}], **{"max_tokens": 16, "temperature": 0, **more}
        )
        return (raw.parse().choices[0].message.content or "").strip(), raw.headers.get("x-penstock-adapter-version")


@pytest.fixture(scope="module")
def engineer(wide: Stack) -> str:
    """A key of the command line's org, whose adapters these are."""
    return wide.new_key("--org", "default", "--user", "tester", "--role", "engineer")


@pytest.fixture
def there(wide: Stack, engineer: str) -> Stack:
    """The stack as that org sees it."""
    return Stack(wide.url, engineer, wide.state_dir)


@pytest.mark.timeout(600)
async def test_a_version_is_released_beside_traffic_and_answers_at_once_on_both_gateways(
    bot: Bot, there: Stack
) -> None:
    base = ask(there, LARGE)[0]
    assert base not in SAYS.values()
    bot.promote(1)
    assert ask(there, bot.name) == (SAYS[1], "1")
    async with traffic(bot, there.key) as seen:
        await asyncio.sleep(1)
        released = await asyncio.to_thread(bot.promote, 2)
        behind = len(seen.answers)
        for url in listeners(there):  # the same prompt as before: nothing of the old weights' prefix cache
            assert ask(Stack(url, there.key, there.state_dir), bot.name) == (SAYS[2], "2")
        in_flight = 2 * len(listeners(there))  # calls that had begun when promote returned
        await asyncio.to_thread(wait_until, lambda: len(seen.answers) >= behind + in_flight + 8, limit_s=60)
    assert len(released["replicas"]) == 2
    assert released["waiting"] == []
    assert seen.failures == []
    assert seen.wrong() == []
    assert len({url for url, _, _ in seen.answers}) == 2
    assert {version for _, version, _ in seen.answers[behind + in_flight :]} == {"2"}
    assert ask(there, LARGE)[0] == base


@pytest.mark.timeout(600)
async def test_a_stream_ends_on_the_version_that_it_began_with(bot: Bot, there: Stack) -> None:
    bot.promote(1)
    options: dict[str, Any] = {"logit_bias": {"1": -100}, "max_tokens": 2000, "temperature": 0, "stream": True}
    async with AsyncOpenAI(base_url=f"{there.url}/v1", api_key=there.key, max_retries=0) as client:
        stream = await client.chat.completions.create(
            model=bot.name, messages=[{"role": "user", "content": "Hello?"}], **options
        )
        models, reason, outlived = set(), None, False
        promoted = asyncio.create_task(asyncio.to_thread(bot.promote, 2))
        async for chunk in stream:
            models.add(chunk.model)
            outlived |= promoted.done()
            reason = chunk.choices[0].finish_reason or reason if chunk.choices else reason
        await promoted
    first = next(one["model"] for one in bot.run("show")["versions"] if one["version"] == 1)
    assert models == {first}
    assert (reason, outlived) == ("length", True)
    assert ask(there, bot.name) == (SAYS[2], "2")


@pytest.mark.timeout(3600)
async def test_cycles_of_load_promote_rollback_and_unload_lose_no_call_and_no_memory(bot: Bot, there: Stack) -> None:
    bot.promote(1)
    wait, sizes, started = asyncio.to_thread, [], time.time()
    async with (
        traffic(bot, there.key, workers=1) as seen,
        httpx2.AsyncClient(base_url=there.url, headers={"Authorization": f"Bearer {there.key}"}, timeout=120) as client,
    ):

        async def post(verb: str, **body: Any) -> None:
            answer = await client.post(f"/v1/adapters/{bot.name}/{verb}", json=body)
            assert answer.status_code == 200, answer.text

        for cycle in range(CYCLES):
            await post("promote", version=2)
            await post("rollback")
            if cycle % 10 == 9:
                await wait(wait_until, lambda: bot.states()[2] == "retired", limit_s=HOUSE_S)  # and loads it again
            if cycle in (CYCLES // 2, CYCLES - 1):
                sizes.append(await wait(memory, there))
    assert seen.failures == []
    assert seen.wrong() == []
    assert Counter(version for _, version, _ in seen.answers).keys() == {"1", "2"}
    assert len(seen.answers) >= CYCLES
    for process, before in sizes[0].items():
        assert sizes[1].get(process, 0) - before <= FLAT_BYTES, (process, before, sizes[1])
    grown = {process: sizes[1][process] - before for process, before in sizes[0].items()}
    facts = {"failed": len(seen.failures), "wrong": len(seen.wrong()), "grown_bytes_in_the_second_half": grown}
    proved("adapter_cycles", facts, counts={"cycles": CYCLES, "answers": len(seen.answers)}, started=started)


def memory(stack: Stack) -> dict[str, int]:
    """Resident bytes of each engine of the large tier, and of each gateway."""
    engines = [(f"engine {replica.core.pid}", replica.core.pid) for replica in replicas_of(stack.state_dir, LARGE)]
    gateways = [(f"gateway {pid}", pid) for pid in actors_of(stack.state_dir, "gateway")]
    assert (len(engines), len(gateways)) == (2, 2)
    return {name: psutil.Process(pid).memory_info().rss for name, pid in (*engines, *gateways)}


@pytest.mark.timeout(600)
async def test_bad_adapters_are_refused_with_their_reason_and_harm_no_good_call(
    bot: Bot, there: Stack, folders: dict[int, Path]
) -> None:
    bot.promote(1)
    bad = list(broken_adapters(folders[1], count=BAD))
    headers = {"Authorization": f"Bearer {there.key}", "content-type": "application/zip"}
    async with traffic(bot, there.key) as seen, httpx2.AsyncClient(base_url=there.url, timeout=60) as client:
        for name, content in bad:
            path = "/v1/adapters/bad/versions"
            answer = await client.post(path, content=content, headers=headers, params={"base": LARGE})
            error = answer.json()["error"]
            assert (answer.status_code, error["code"]) == (400, "adapter_invalid"), (name, answer.text)
            assert error["message"]
            assert error["param"], name
    assert len(bad) == BAD
    assert seen.failures == []
    assert seen.wrong() == []
    assert len(seen.answers) >= 20
    there.run("adapters", "delete", "bad")


@pytest.mark.timeout(900)
async def test_a_killed_replica_comes_back_with_the_live_version_before_it_takes_calls(bot: Bot, there: Stack) -> None:
    bot.promote(2)
    killed = replicas_of(there.state_dir, LARGE)[0]
    async with traffic(bot, there.key, workers=1) as seen:
        os.kill(killed.core.pid, signal.SIGKILL)
        died = time.time()
        await asyncio.to_thread(wait_until, lambda: bot.stack.serving(LARGE) < 2, limit_s=60)
        await asyncio.to_thread(wait_until, lambda: bot.stack.serving(LARGE) == 2, limit_s=300)
        await asyncio.sleep(1)
    assert not killed.core.is_running()
    held = bot.run("status")["replicas"]
    model = next(one["model"] for one in bot.run("show")["versions"] if one["version"] == 2)
    assert [[one["engine_name"] for one in replica["adapters"]] for replica in held] == [[model], [model]]
    assert any(one["loaded_at"] > died for replica in held for one in replica["adapters"])
    assert seen.wrong() == []
    lost = len(seen.failures)
    assert lost <= 2, seen.failures  # what the killed engine was saying; the rest went to the other one
    assert ask(there, bot.name) == (SAYS[2], "2")


@pytest.mark.timeout(900)
def test_a_replica_killed_in_the_middle_of_a_promote_leaves_everything_as_it_was_or_done(
    bot: Bot, there: Stack
) -> None:
    bot.promote(1)
    killed = replicas_of(there.state_dir, LARGE)[0]
    os.kill(killed.core.pid, signal.SIGSTOP)  # it takes the load and never answers
    command = [str(Path(sys.executable).with_name("penstock")), "adapters", "promote", bot.name, "--version", "2"]
    environment = {**os.environ, "PENSTOCK_STATE_DIR": str(there.state_dir)}
    promoting = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: bot.states()[2] == "loading", limit_s=60)
    os.kill(killed.actor.pid, signal.SIGKILL)
    _, told = promoting.communicate(timeout=200)
    assert promoting.returncode == 1
    assert "Nothing was changed" in told
    assert bot.states() == {1: "ready", 2: "validated", 3: "validated"}
    assert ask(there, bot.name) == (SAYS[1], "1")
    wait_until(lambda: bot.stack.serving(LARGE) == 2, limit_s=300)
    bot.promote(2)
    assert ask(there, bot.name) == (SAYS[2], "2")


@pytest.mark.timeout(900)
def test_a_canary_that_is_worse_on_a_golden_file_goes_back_by_itself(bot: Bot, there: Stack, tmp_path: Path) -> None:
    bot.promote(1)
    golden = tmp_path / "golden.jsonl"
    golden.write_text("".join(json.dumps({"prompt": f"Question {at}?", "answer": SAYS[1]}) + "\n" for at in range(40)))
    tried = bot.run("canary", "--version", "2", "--weight", "10", "--golden", str(golden))
    assert tried["scores"]["1"]["passed"] > tried["scores"]["2"]["passed"]
    wait_until(lambda: len(bot.run("show")["aliases"][0]["targets"]) == 1, limit_s=30)
    (audit,) = [row for row in bot.run("status")["last"] if row["action"] == "rollback"]
    assert audit["actor"] == "penstock"
    assert audit["detail"]["evidence"]["quantity"] == "score of golden.jsonl"
    assert ask(there, bot.name) == (SAYS[1], "1")


@pytest.mark.timeout(900)
def test_a_canary_that_is_slower_goes_back_by_itself_within_a_minute_of_its_calls(bot: Bot, there: Stack) -> None:
    bot.promote(1)
    bot.run("canary", "--version", "3", "--weight", "50")
    started, asked = time.monotonic(), 0
    while len(bot.run("show")["aliases"][0]["targets"]) == 2:
        assert time.monotonic() - started < 120, asked
        for at in range(asked, asked + 20):
            ask(there, bot.name, max_tokens=64, extra_headers={"x-penstock-session": f"slow{at}"})
        asked += 20
    (audit,) = [row for row in bot.run("status")["last"] if row["action"] == "rollback"]
    evidence = audit["detail"]["evidence"]
    assert evidence["quantity"] == "latency_ms"
    assert evidence["at_least"] > evidence["bound"] == 1.5
    assert ask(there, bot.name) == (SAYS[1], "1")


@pytest.mark.timeout(900)
def test_a_good_canary_has_its_share_of_sessions_and_is_promoted_by_command(bot: Bot, there: Stack) -> None:
    bot.promote(1)
    bot.run("canary", "--version", "2", "--weight", "30")
    found = {
        session: ask(there, bot.name, extra_headers={"x-penstock-session": session})
        for session in (f"s{at}" for at in range(60))
    }
    versions = Counter(version for _, version in found.values())
    assert 6 <= versions["2"] <= 32
    assert all(text == SAYS[int(version or 0)] for text, version in found.values())
    again = {
        session: ask(there, bot.name, extra_headers={"x-penstock-session": session}) for session in list(found)[:20]
    }
    assert again == {session: found[session] for session in again}
    bot.promote(2)
    assert {ask(there, bot.name, extra_headers={"x-penstock-session": session}) for session in list(found)[:10]} == {
        (SAYS[2], "2")
    }


def test_the_command_line_and_the_list_of_models_show_an_adapter_at_a_glance(bot: Bot, there: Stack) -> None:
    bot.promote(1)
    listed = there.run("adapters", "list").stdout
    assert bot.name in listed
    assert LARGE in listed
    with OpenAI(base_url=f"{there.url}/v1", api_key=there.key, max_retries=0) as client:
        model = next(model for model in client.models.list() if model.id == bot.name)
    assert model.model_extra is not None
    assert (model.model_extra["parent"], model.model_extra["tier"]) == (LARGE, "large")
    card = next(one for one in json.loads(there.run("models", "list", "--json").stdout) if one["id"] == LARGE)
    assert (card["tier"], Path(card["path"]).is_dir()) == ("large", True)
