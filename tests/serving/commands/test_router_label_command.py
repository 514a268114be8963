"""`penstock router label`: which prompts, which tiers, what is printed and what stays when it ends early."""

import asyncio
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from models.demo.families import FAMILIES
from serving.state import StackInfo, StateDir
from serving.store.feedback import FeedbackRow
from serving.store.store import Store
from serving.telemetry.record import CallRecord
from tests.benchmarks.quality.stack import KEY, TableStack
from tests.serving.thread import in_thread

Run = Callable[..., Result]


@pytest.fixture
def table() -> Iterator[TableStack]:
    """A stack in a thread whose large card always says red, its small one always blue; `url` is where."""
    made = TableStack(lambda card, _: "red" if card == "l" else "blue")
    with in_thread(made) as made.url:
        yield made


@pytest.fixture
def there(table: TableStack) -> dict[str, str]:
    return {"PENSTOCK_URL": table.url, "PENSTOCK_API_KEY": KEY}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    file = tmp_path / "questions.jsonl"
    answers = ("Red!", "blue", "green", "a red or blue one")
    file.write_text("".join(json.dumps({"prompt": f"q{n}", "answer": one}) + "\n" for n, one in enumerate(answers)))
    return file


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_file_of_questions_is_labelled_by_both_tiers_and_the_summary_says_how_often_each_was_right(
    penstock: Run, there: Any, data: Path, tmp_path: Path
) -> None:
    to = tmp_path / "labels.jsonl"
    done = penstock("router", "label", "--data", data, "--out", to, "--json", **there)
    assert done.exit_code == 0, done.stderr
    found = {line["prompt"]: (line["weak_correct"], line["strong_correct"]) for line in lines(to)}
    assert found == {"q0": (0, 1), "q1": (1, 0), "q2": (0, 0), "q3": (0, 0)}
    said = json.loads(done.stdout)
    assert said["kinds"] == {"questions.jsonl": {"prompts": 4, "small": 0.25, "large": 0.25}}
    assert said["models"] == {"small": "s", "large": "l"}
    assert (said["labelled"], said["failed"], said["stopped"]) == (4, {}, None)


def test_another_grade_gives_part_of_the_answer_its_part(penstock: Run, there: Any, data: Path, tmp_path: Path) -> None:
    to = tmp_path / "labels.jsonl"
    assert penstock("router", "label", "--data", data, "--out", to, "--grade", "f1", **there).exit_code == 0
    assert {line["prompt"]: line["strong_correct"] for line in lines(to)}["q3"] == pytest.approx(0.4)


def test_the_demo_families_are_drawn_and_a_person_sees_a_table(penstock: Run, there: Any, tmp_path: Path) -> None:
    to = tmp_path / "labels.jsonl"
    done = penstock("router", "label", "--demo", "16", "--out", to, **there)
    assert done.exit_code == 0
    assert {line["family"] for line in lines(to)} == set(FAMILIES)
    assert "s right" in done.stdout
    assert "arithmetic" in done.stdout
    assert "16 prompts are labelled" in done.stderr
    only = penstock("router", "label", "--demo", "4", "--family", "chat", "--split", "held_out", "--out", to, **there)
    assert "4 prompts are labelled" in only.stderr
    assert [line["split"] for line in lines(to)] == ["train"] * 16 + ["held_out"] * 4


def test_failures_are_told_and_a_second_call_asks_only_for_them(
    penstock: Run, there: Any, table: TableStack, data: Path, tmp_path: Path
) -> None:
    asked = ("router", "label", "--data", data, "--out", tmp_path / "labels.jsonl", "--concurrency", "1")
    table.failing = [503]
    first = penstock(*asked, **there)
    assert first.exit_code == 0
    assert "1 got no answer and no label (1 × status 503). The same command asks them again." in first.stderr
    table.asked.clear()
    assert "1 prompts are labelled" in penstock(*asked, **there).stderr
    assert sorted(model for model, _ in table.asked) == ["l", "s"]


def test_an_interruption_keeps_what_is_labelled_and_the_next_call_goes_on(
    penstock: Run, there: Any, table: TableStack, tmp_path: Path
) -> None:
    to = tmp_path / "labels.jsonl"
    asked = ("router", "label", "--demo", "3000", "--out", to, "--concurrency", "1")

    def strike() -> None:
        while len(table.asked) < 20:
            time.sleep(0.005)
        os.kill(os.getpid(), signal.SIGTERM)

    striking = threading.Thread(target=strike)
    striking.start()
    done = penstock(*asked, **there)
    striking.join()
    assert done.exit_code == 130
    assert "Not complete: interrupted." in done.stderr
    kept = len(lines(to))
    assert 0 < kept < 3000
    table.failing = [401] * 1000
    again = penstock(*asked, **there)
    assert (again.exit_code, len(lines(to))) == (1, kept)


def test_a_stack_that_goes_away_ends_the_run_with_what_is_labelled(
    penstock: Run, there: Any, table: TableStack, tmp_path: Path
) -> None:
    to = tmp_path / "labels.jsonl"

    def says(*_: str) -> str:
        table.failing = [503] * 200 if len(table.asked) > 20 else []
        return "red"

    table.says = says
    done = penstock("router", "label", "--demo", "300", "--out", to, "--concurrency", "1", **there)
    assert done.exit_code == 1
    assert 5 < len(lines(to)) < 20
    assert "Not complete: 50 questions in a row got no answer; the last one: status 503." in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "Name one source of prompts"),
        (("--demo", "3", "--records"), "Name one source of prompts"),
        (("--data", "none.jsonl"), "cannot be read"),
        (("--demo", "3", "--family", "poems"), "no demo family 'poems'"),
        (("--records",), "without PENSTOCK_URL"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_no_file(
    penstock: Run, there: Any, table: TableStack, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    done = penstock("router", "label", *options, "--out", tmp_path / "labels.jsonl", **there)
    assert (done.exit_code, done.stdout, table.asked) == (1, "", [])
    assert said in done.stderr
    assert not (tmp_path / "labels.jsonl").exists()


def test_a_key_that_is_refused_leaves_no_file(penstock: Run, there: Any, tmp_path: Path) -> None:
    wrong = {**there, "PENSTOCK_API_KEY": "other"}
    to = tmp_path / "labels.jsonl"
    done = penstock("router", "label", "--demo", "3", "--small", "s", "--large", "l", "--out", to, **wrong)
    assert done.exit_code == 1
    assert "refuses the key: no such key" in done.stderr
    assert not to.exists()


@pytest.fixture
def local(table: TableStack, tmp_path: Path) -> dict[str, str]:
    """The stack as the one of the state folder, with two rated answers in its store."""
    state = StateDir(tmp_path / "state")
    state.create()
    state.write_stack(StackInfo(url=table.url, profile="cpu-demo", address="a", version="0", started=0))

    async def keep() -> None:
        async with Store.open(f"sqlite+aiosqlite:///{state.database}") as store:
            whole: dict[str, Any] = {"kind": "chat", "org": "acme", "status": 200, "finish_reason": "stop"}
            for name, rating in (("liked", "up"), ("refused", "down")):
                texts = {"prompt_text": f"{name}?", "answer_text": "red", "served_model": "s"}
                await store.records.add([CallRecord(id=name, started_at=time.time() - 60, **whole, **texts)])
                await store.feedback.put(FeedbackRow(name, "acme", "ann", rating, None, None, time.time()))

    asyncio.run(keep())
    return {"PENSTOCK_API_KEY": KEY}


def test_rated_answers_of_the_stack_are_labels_and_the_others_are_told(
    penstock: Run, local: Any, table: TableStack, tmp_path: Path
) -> None:
    to = tmp_path / "labels.jsonl"
    done = penstock("router", "label", "--records", "--small", "s", "--large", "l", "--out", to, **local)
    assert done.exit_code == 0, done.stderr
    assert "1 rated answers make no label: 1 × rated down and not corrected." in done.stderr
    assert table.asked == [("l", "liked?")]
    (line,) = lines(to)
    assert (line["prompt"], line["weak_correct"], line["strong_correct"]) == ("liked?", 1.0, 1.0)
    assert (line["source"], line["grade"]) == ("records", "f1")


def test_the_tiers_of_a_local_stack_are_those_of_its_profile(
    penstock: Run, local: Any, table: TableStack, tmp_path: Path
) -> None:
    table.failing = [404]
    done = penstock("router", "label", "--demo", "1", "--out", tmp_path / "labels.jsonl", **local)
    assert "Asking demo-small and demo-large" in done.stderr
    assert done.exit_code == 1
    assert "cannot serve this: told 404" in done.stderr


def test_a_store_without_a_rated_answer_is_a_sentence(penstock: Run, local: Any, tmp_path: Path) -> None:
    asked = ("router", "label", "--records", "--out", tmp_path / "labels.jsonl")
    assert "No rated answer with its texts makes a label." in penstock(*asked, "--org", "nobody", **local).stderr
    assert "--since wants a number" in penstock(*asked, "--since", "soon", **local).stderr
