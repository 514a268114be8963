"""A run against a server that speaks vLLM's protocol, with faults: what is measured, written and said."""

import asyncio
import gzip
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmarks.calls import Address
from benchmarks.result import read_calls
from benchmarks.runner import Run, Runner
from benchmarks.suite import Load
from serving.cli import build
from serving.testing import FakeEngine, Receive, Scope, Script, Send, serve
from tests.benchmarks.test_compare import EARLY_MS, pace_s

KEY = "sk-test"
SCRIPT = Script(ttft_s=0.02, tpot_s=0.005, tokens=8)


class Server:
    """The fake engine in a thread of its own, as `penstock bench` needs the main one."""

    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine
        self._loop = asyncio.new_event_loop()
        self._up, self._over, self._ending = threading.Event(), asyncio.Event(), threading.Lock()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve()))
        self._thread.start()
        assert self._up.wait(20)

    async def _serve(self) -> None:
        async with serve(self.engine) as self.url:
            self._up.set()
            await self._over.wait()

    def end_behind(self, calls: int) -> None:
        """When so many have come."""
        while len(self.engine.seen) < calls:
            time.sleep(0.01)
        self.end()

    def end(self) -> None:
        """Once: a test may end it in a thread while the fixture does."""
        with self._ending:
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._over.set)
                self._thread.join(20)
                self._loop.close()


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server(FakeEngine(SCRIPT, token=KEY))
    yield one
    one.end()


class HoldingEngine(FakeEngine):
    """Answers the probe, then nobody before so many calls wait: a closed loop of fewer clients would get no further."""

    HELD = 10

    def __init__(self) -> None:
        super().__init__(Script(tokens=2), token=KEY)
        self._came = 0
        self._enough = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            self._came += 1
            if self._came > self.HELD:
                self._enough.set()
            if self._came > 1:
                await self._enough.wait()
        await super().__call__(scope, receive, send)


def suite_file(folder: Path, **more: Any) -> Path:
    load = {
        "prompts": {"kind": "words", "words": [3, 5]},
        "workload": {"kind": "closed", "clients": 3},
        "answer_tokens": 8,
        "requests": 12,
        **more,
    }
    file = folder / "mine.yaml"
    file.write_text(json.dumps({"about": "A test.", "slos": [{"name": "ok", "ttft_ms": 5000}], "sizes": {"cpu": load}}))
    return file


def call(*arguments: str | Path, key: str = KEY) -> Any:
    command = ["bench", "run", *map(str, arguments), "--key", key, "--model", "fake"]
    return CliRunner().invoke(build(["bench"]), command)


def test_a_run_writes_calls_figures_table_and_last_its_origin(server: Server, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = call(suite_file(tmp_path), "--target", server.url, "--out", out, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found == json.loads((out / "summary.json").read_text())
    assert (found["completed"], found["errors"], found["stopped"]) == (12, {}, None)
    assert (found["output_tokens"], found["finish_reasons"]) == (96, {"stop": 12})
    assert found["goodput"][0]["good"] == 12
    calls = list(read_calls(out))
    assert sorted(call.number for call in calls) == list(range(12))
    firsts, paces = [call.chunks_s[0] - call.sent_s for call in calls], [pace_s(call.chunks_s) for call in calls]
    assert found["ttft_ms"]["p50"] == pytest.approx(1000 * median(firsts), rel=1e-3)
    assert found["tpot_ms"]["p50"] == pytest.approx(1000 * median(paces), rel=1e-3)
    due_ms = 1000 * (SCRIPT.ttft_s + (SCRIPT.tokens - 1) * SCRIPT.tpot_s)
    assert all(1000 * (call.chunks_s[-1] - call.sent_s) >= due_ms - EARLY_MS for call in calls)
    origin = json.loads((out / "origin.json").read_text())
    assert (origin["counts"], origin["config"]["model"]) == ({"requests": 12, "completed": 12}, "fake")
    assert KEY not in "".join(path.read_text() for path in out.glob("*.json"))
    assert KEY not in "".join(map(str, read_calls(out)))
    assert len({seen.connection for seen in server.engine.seen[1:]}) <= 3, "one connection for each client"
    again = call(suite_file(tmp_path), "--target", server.url, "--out", out)
    assert (again.exit_code, "holds a result already" in again.output) == (1, True)
    assert "12 of 12 requests completed" in (out / "table.md").read_text()
    assert len(server.engine.seen) == 13, "one probe, then the run"


def test_without_json_people_read_a_table(server: Server, tmp_path: Path) -> None:
    done = call(suite_file(tmp_path), "--target", server.url)
    assert "TTFT (ms)" in done.stdout
    assert "Goodput of ok: 100.0%" in done.stdout


def test_an_open_loop_sends_whatever_becomes_of_the_answers(tmp_path: Path) -> None:
    server = Server(HoldingEngine())
    file = suite_file(tmp_path, workload={"kind": "poisson", "rate": 40}, requests=None, duration_s=1)
    done = call(file, "--target", server.url, "--out", tmp_path / "out", "--json")
    server.end()
    sent = [one for one in read_calls(tmp_path / "out") if one.due_s is not None]
    assert json.loads(done.stdout)["completed"] == len(sent) > 20
    first_answer = min(one.chunks_s[0] for one in sent)
    assert sum(one.sent_s < first_answer for one in sent) >= HoldingEngine.HELD, "a closed loop would have waited"
    assert max(one.due_s or 0 for one in sent) < 1 < json.loads(done.stdout)["lag_ms"]["count"]


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (Script(fault="cut", after=2), "cut"),
        (Script(fault="no_finish", after=2), "cut"),
        (Script(fault="error_frame", after=2), "error frame"),
        (Script(fault="malformed", after=2), "cut"),
        (Script(fault="stall", after=2), "timeout"),
        (Script(fault="status", status=503), "status 503"),
    ],
)
async def test_every_way_to_fail_has_a_name(script: Script, error: str, tmp_path: Path) -> None:
    text = suite_file(tmp_path, requests=3, timeout_s=0.5 if error == "timeout" else 30).read_text()
    load = Load.model_validate(json.loads(text)["sizes"]["cpu"])
    async with serve(FakeEngine(script)) as url:
        run = await Runner(Address(url, "fake"), load, seed=1, heard=lambda _: None).go()
    assert [one.error for one in run.calls] == [error] * 3
    assert run.stopped is None


async def test_a_server_that_dies_ends_the_run_with_what_was_seen(tmp_path: Path) -> None:
    text = suite_file(tmp_path, requests=None, duration_s=60).read_text()
    load = Load.model_validate(json.loads(text)["sizes"]["cpu"])
    enough = asyncio.Event()
    runner = Runner(Address("", "fake"), load, seed=1, heard=lambda _: enough.set())
    async with serve(FakeEngine(SCRIPT)) as url:
        runner = Runner(Address(url, "fake"), load, seed=1, heard=lambda _: enough.set())
        going = asyncio.create_task(runner.go())
        await enough.wait()
    run: Run = await asyncio.wait_for(going, 30)
    assert run.stopped == "the target does not answer any more"
    assert any(one.error is None for one in run.calls)
    assert run.calls[-1].error == "unreachable"


def test_ctrl_c_keeps_what_was_seen_and_marks_it(server: Server, tmp_path: Path) -> None:
    out = tmp_path / "out"
    file = suite_file(tmp_path, requests=None, duration_s=60)

    def interrupt() -> None:
        while len(server.engine.seen) < 20:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    done = call(file, "--target", server.url, "--out", out, "--json")
    assert done.exit_code == 130
    assert (
        json.loads(done.stdout)["stopped"] == json.loads((out / "origin.json").read_text())["stopped"] == "interrupted"
    )
    assert json.loads(done.stdout)["completed"] > 5


def test_a_target_that_is_not_there_a_wrong_key_and_a_refused_suite_are_sentences(
    server: Server, tmp_path: Path
) -> None:
    file = suite_file(tmp_path)
    assert "Nothing answers at 'http://127.0.0.1:9'." in call(file, "--target", "http://127.0.0.1:9").output
    assert "is no address" in call(file, "--target", "http://host:port").output
    assert "The target refuses the key" in call(file, "--target", server.url, key="sk-wrong").output
    assert "holds no secret here" in call(file, "--target", "http://me:secret@host").output
    server.engine.script = Script(fault="status", status=400)
    refused = call(file, "--target", server.url, "--out", tmp_path / "out")
    assert (refused.exit_code, "The target refuses this suite: boom (status 400)" in refused.output) == (1, True)
    assert list((tmp_path / "out").iterdir()) == [], "nothing is written of a run that was none"


def search(server: Server, folder: Path, *options: str) -> Any:
    file, out = suite_file(folder), folder / "out"
    place = ("--target", server.url, "--key", KEY, "--model", "fake", "--out", str(out), "--json")
    return CliRunner().invoke(build(["bench"]), ["bench", "slo", str(file), *place, "--trial", "1s", *options])


def test_a_server_that_keeps_up_is_searched_to_the_highest_rate(server: Server, tmp_path: Path) -> None:
    done = search(server, tmp_path, "--ttft", "2s", "--start", "50", "--most", "50")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["rate"], found["fails_at"], found["stopped"]) == (50, None, None)
    with gzip.open(tmp_path / "out" / "calls.jsonl.gz", "rt", encoding="utf-8") as raw:
        calls = [json.loads(line) for line in raw]
    first, again = ([call["due_s"] for call in calls if call["trial"] == trial] for trial in (0, 1))
    assert not set(first) & set(again), "other times"
    assert all(trial["good"] >= 0.99 * trial["due"] > 20 for trial in found["trials"])
    assert json.loads((tmp_path / "out" / "origin.json").read_text())["config"]["objective"]["ttft_ms"] == 2000


def test_a_trial_that_cannot_pass_any_more_is_given_up(server: Server, tmp_path: Path) -> None:
    server.engine.script = Script(ttft_s=3.0)
    begun = time.monotonic()
    done = search(server, tmp_path, "--ttft", "50ms", "--start", "80", "--least", "20")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert found["rate"] is None
    assert {trial["why"] for trial in found["trials"]} == {"saturated"}
    assert [trial["rate"] for trial in found["trials"]] == [80, 80, 40, 40, 20, 20]
    assert time.monotonic() - begun < 3 + 6 * 2.5, "nothing in flight was waited for"


def test_a_search_without_an_objective_is_a_sentence(server: Server, tmp_path: Path) -> None:
    assert "Set an objective above zero" in search(server, tmp_path).output
    assert "Set an objective above zero" in search(server, tmp_path, "--ttft", "0").output
    assert "is no duration" in search(server, tmp_path, "--ttft", "soon").output


def test_another_run_asks_other_questions_unless_the_seed_is_given(server: Server, tmp_path: Path) -> None:
    for options in ((), (), ("--seed", "5"), ("--seed", "5")):
        assert call(suite_file(tmp_path, requests=3), "--target", server.url, *options).exit_code == 0
    asked = [seen.body["messages"][0]["content"] for seen in server.engine.seen if seen.body["stream"]]
    first, second, third, fourth = (set(asked[n : n + 3]) for n in (0, 3, 6, 9))
    assert third == fourth
    assert not first & second


def test_a_server_that_dies_in_a_search_is_no_verdict(server: Server, tmp_path: Path) -> None:
    threading.Thread(target=server.end_behind, args=(5,)).start()
    done = search(server, tmp_path, "--ttft", "2s", "--start", "20", "--trial", "30s")
    found = json.loads(done.stdout)
    assert (done.exit_code, found["rate"], found["trials"]) == (1, None, [])
    assert found["stopped"] == "the target does not answer any more"
    assert json.loads((tmp_path / "out" / "origin.json").read_text())["stopped"] == found["stopped"]


def test_a_trace_that_breaks_off_ends_the_run_with_what_was_seen(server: Server, tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    trace.write_text('{"timestamp": 0, "input_length": 5, "output_length": 3}\n{"timestamp": 9}\n')
    replay = {"kind": "replay", "file": str(trace)}
    done = call(suite_file(tmp_path, workload=replay, requests=None), "--target", server.url, "--json")
    found = json.loads(done.stdout)
    assert (done.exit_code, found["completed"]) == (1, 1)
    assert "what follows request 1 is none" in found["stopped"]


@pytest.mark.parametrize("event", ["null", "1", '"ping"', "[]", '{"choices": [null]}', '{"usage": 1}'])
async def test_an_event_in_another_shape_is_a_broken_answer_and_no_broken_run(event: str, tmp_path: Path) -> None:
    async def odd(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": f"data: {event}\n\n".encode()})

    load = Load.model_validate(json.loads(suite_file(tmp_path, requests=2).read_text())["sizes"]["cpu"])
    async with serve(odd) as url:
        run = await Runner(Address(url, "fake"), load, seed=1, heard=lambda _: None).go()
    assert [one.error for one in run.calls] == ["cut", "cut"]
