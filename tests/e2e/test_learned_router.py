"""The learned router on the real stack: it tells hard prompts from easy ones, changes without a restart, and no fault
of it costs a request.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from benchmarks.quality.questions import DemoDraw, demo_questions
from models.catalog.store import PACKAGE
from models.demo.families import FAMILIES, Difficulty, Split
from tests.e2e.conftest import PROVE, Stack
from tests.e2e.processes import actors_of, all_gone, wait_until

PROMPTS = 200 if PROVE else 60
LIVE_WITHIN_S = 5
REPLACED_WITHIN_S = 240
LATE_S = 5
READ_WITHIN = 10
EASY = "Please thank Anna Berger for the help."
HARD = "We had 84 green lamps. Then 23 lamps were sold and 12 lamps came back. How many lamps are there now?"
CLASSIFIER = "classifier"


def ask(stack: Stack, text: str, *more: dict[str, str], session: str | None = None) -> httpx2.Response:
    """One call of `auto`, as its answer came."""
    headers = {"Authorization": f"Bearer {stack.key}", **({"x-penstock-session": session} if session else {})}
    messages = [*more, {"role": "user", "content": text}]
    body = {"model": "auto", "messages": messages, "max_tokens": 8, "temperature": 0}
    answer = httpx2.post(f"{stack.url}/v1/chat/completions", json=body, headers=headers, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer


def decided(stack: Stack, text: str, *more: dict[str, str], session: str | None = None) -> httpx2.Response:
    """The same, asked again where the classifier had no turn in time on a busy machine: the answer of a policy."""
    for _ in range(READ_WITHIN):
        if route(answer := ask(stack, text, *more, session=session)) != "default":
            return answer
    raise AssertionError(f"{READ_WITHIN} calls in a row were left to the default tier: {dict(defaults(stack))}")


def route(answer: httpx2.Response) -> str:
    return str(answer.headers["x-penstock-route"])


def tier(answer: httpx2.Response) -> str:
    return str(answer.headers["x-penstock-tier"])


def record(stack: Stack, answer: httpx2.Response) -> dict[str, Any]:
    """The row of a call, behind the stack's back."""

    def rows() -> list[sqlite3.Row]:
        with sqlite3.connect(f"file:{stack.state_dir}/penstock.db?mode=ro", uri=True) as connection:
            connection.row_factory = sqlite3.Row
            wanted = (answer.headers["x-request-id"],)
            return connection.execute("SELECT * FROM records WHERE id = ?", wanted).fetchall()

    wait_until(lambda: bool(rows()), limit_s=10)
    return dict(rows()[0])


def status(stack: Stack) -> dict[str, Any]:
    return dict(json.loads(stack.run("router", "status", "--json").stdout))


def defaults(stack: Stack) -> Counter[str]:
    """How many calls were left to the default tier, by cause, as Prometheus is told."""
    text = httpx2.get(f"{stack.url}/metrics", headers={"Authorization": f"Bearer {stack.key}"}, timeout=60).text
    found = re.findall(r"^penstock_routes_total\{([^}]*)\} (\S+)$", text, flags=re.M)
    counts: Counter[str] = Counter()
    for labels, value in found:
        if 'policy="default"' in labels:
            counts[re.findall(r'cause="([^"]*)"', labels)[0]] += int(float(value))
    return counts


@pytest.fixture
def as_before(stack: Stack) -> Iterator[dict[str, Any]]:
    """What is live, and it is live again afterwards."""
    live = status(stack)["live"]
    yield live
    stack.run("router", "promote", live["version"], "--threshold", str(live["threshold"]))


def test_hard_prompts_go_to_the_large_tier_and_easy_ones_to_the_small_one(stack: Stack) -> None:
    questions = demo_questions(DemoDraw(PROMPTS, Split.HELD_OUT, 0.5, 4))
    right = Counter[bool]()
    for question in questions:
        hard = FAMILIES[question.about["family"]].difficulty is Difficulty.HARD
        right[(tier(ask(stack, question.prompt)) == "large") == hard] += 1
    assert right[True] >= 0.85 * len(questions), right


def test_the_record_keeps_what_was_decided_and_by_what(stack: Stack) -> None:
    answer = decided(stack, HARD)
    kept, live = record(stack, answer), status(stack)["live"]
    assert route(answer).startswith("learned:gain ")
    assert (kept["route_policy"], kept["route_version"]) == ("learned", live["version"])
    assert (kept["route_threshold"], kept["routed_tier"]) == (live["threshold"], tier(answer))
    assert (kept["route_score"] >= kept["route_threshold"]) == (tier(answer) == "large")
    assert kept["task"]
    assert 0 <= kept["retrieval"] <= 1
    assert json.loads(kept["stages_ms"])["classify"] > 0


def test_an_explanation_tells_scores_threshold_and_labelled_prompts_nearby(stack: Stack) -> None:
    found = json.loads(stack.run("router", "explain", HARD, "--json").stdout)
    assert found["reading"]["gain"] == pytest.approx(found["reading"]["large"] - found["reading"]["small"], abs=1e-3)
    assert found["reading"]["version"] == status(stack)["live"]["version"]
    assert len(found["nearest"]) == 5
    assert found["attempts"][0]["tier"] == (
        "large" if found["reading"]["gain"] >= found["reading"]["threshold"] else "small"
    )
    headers = {"Authorization": f"Bearer {stack.new_key('--org', 'o', '--user', 'u')}"}
    body = {"messages": [{"role": "user", "content": HARD}]}
    answer = httpx2.post(f"{stack.url}/v1/router/explain", json=body, headers=headers, timeout=60)
    assert answer.json()["nearest"] == []
    assert answer.json()["reading"]["gain"] == found["reading"]["gain"]


def test_a_threshold_and_a_version_are_live_without_a_restart_and_rolled_back(
    stack: Stack, as_before: dict[str, Any], tmp_path: Path
) -> None:
    before = actors_of(stack.state_dir, CLASSIFIER, "gateway")
    stack.run("router", "set-threshold", "--large-share", "1")
    wait_until(lambda: tier(ask(stack, EASY)) == "large", limit_s=LIVE_WITHIN_S)
    stack.run("router", "set-threshold", "--large-share", "0")
    wait_until(lambda: tier(ask(stack, HARD)) == "small", limit_s=LIVE_WITHIN_S)
    other = another_version(stack, tmp_path)
    stack.run("router", "promote", other, "--large-share", "1")
    wait_until(lambda: record(stack, ask(stack, EASY))["route_version"] == other, limit_s=LIVE_WITHIN_S)
    stack.run("router", "rollback")
    wait_until(lambda: record(stack, ask(stack, EASY))["route_version"] == as_before["version"], limit_s=LIVE_WITHIN_S)
    assert actors_of(stack.state_dir, CLASSIFIER, "gateway") == before


def test_a_shadow_reads_along_decides_nothing_and_is_on_record(
    stack: Stack, as_before: dict[str, Any], tmp_path: Path
) -> None:
    other = another_version(stack, tmp_path)
    stack.run("router", "shadow", other)

    def shadowed() -> bool:
        kept = record(stack, ask(stack, HARD))
        shadow = json.loads(kept["shadow"] or "null")
        return shadow is not None and shadow["version"] == other and kept["route_version"] == as_before["version"]

    wait_until(shadowed, limit_s=LIVE_WITHIN_S)
    assert status(stack)["shadow"]["count"] >= 1
    stack.run("router", "shadow", "--off")
    wait_until(lambda: record(stack, ask(stack, HARD))["shadow"] is None, limit_s=LIVE_WITHIN_S)


def test_a_conversation_rises_to_the_large_tier_and_stays_there(stack: Stack, as_before: dict[str, Any]) -> None:
    stack.run("router", "set-threshold", "--threshold", str(as_before["threshold"]))
    opened = decided(stack, HARD, session="talk-1")
    assert tier(opened) == "large"
    followed = decided(stack, EASY, session="talk-1")
    assert (tier(followed), "the conversation is on large" in route(followed)) == ("large", True)
    assert tier(decided(stack, EASY, session="talk-2")) == "small"
    history = ({"role": "user", "content": HARD}, {"role": "assistant", "content": "73."})
    assert tier(decided(stack, HARD)) == "large"
    assert tier(decided(stack, EASY, *history)) == "large"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.timeout(480)
def test_a_classifier_that_dies_or_hangs_costs_no_request_and_each_is_counted(
    stack: Stack, number: signal.Signals
) -> None:
    before = defaults(stack)
    (victim,) = actors_of(stack.state_dir, CLASSIFIER)
    os.kill(victim, number)
    struck, slowest, asked = time.monotonic(), 0.0, 0
    while defaults(stack) == before or time.monotonic() - struck < LATE_S:
        begun = time.monotonic()
        answer = ask(stack, EASY)
        slowest = max(slowest, time.monotonic() - begun)
        asked += route(answer) == "default"
        assert time.monotonic() - struck < 60, "nothing was left to the default tier"
        if route(answer) == "default":
            kept = record(stack, answer)
            assert (kept["route_policy"], tier(answer)) == ("default", "large")
            assert kept["route_cause"] in ("down", "late")
    counted = defaults(stack)
    assert sum(counted.values()) - sum(before.values()) == asked > 0
    assert slowest < LATE_S
    wait_until(lambda: route(ask(stack, EASY)).startswith("learned"), limit_s=REPLACED_WITHIN_S)
    if psutil.pid_exists(victim):
        wait_until(lambda: all_gone({victim}), limit_s=30)


def another_version(stack: Stack, folder: Path) -> str:
    """The live model under another digest: its manifest names another seed."""
    for name in ("manifest.json", "weights.safetensors"):
        (folder / name).write_bytes((PACKAGE / "demo" / "router" / name).read_bytes())
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "seed": manifest["seed"] + 1}))
    return stack.run("router", "publish", str(folder)).stdout.strip()
