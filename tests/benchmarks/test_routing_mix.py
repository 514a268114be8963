"""The mix, on a stack whose large card knows every answer and whose small one knows the easy ones."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from typer.testing import CliRunner

from benchmarks.calls import Address
from benchmarks.quality.labels import Pair
from benchmarks.quality.mix_report import MixReport
from benchmarks.quality.mix_run import SEED, MixOrder, calls, measure
from benchmarks.quality.questions import DemoDraw, demo_questions
from benchmarks.routing_mix import app, pair_of
from models.catalog.schema import Price
from models.demo.families import FAMILIES, Difficulty, Split
from models.errors import ConfigurationError, InvalidKey, Unavailable
from router.training.data import Columns, read_labelled
from tests.benchmarks.quality.stack import KEY, TableStack
from tests.serving.thread import in_thread

PROMPTS = 60
PRICES: Any = {
    "small": Price(input_micro_usd=1, output_micro_usd=1),
    "large": Price(input_micro_usd=9, output_micro_usd=9),
}
QUESTIONS = demo_questions(DemoDraw(PROMPTS, Split.HELD_OUT, 0.8, SEED))
KEYS = {one.prompt: one.grade.args[0].answer for one in QUESTIONS}  # type: ignore[attr-defined]
HARD_FAMILIES = {name for name, family in FAMILIES.items() if family.difficulty is Difficulty.HARD}
HARD = [one.prompt for one in QUESTIONS if one.about["family"] in HARD_FAMILIES]


def says(card: str, prompt: str) -> str:
    return "no idea" if card.endswith("small") and prompt in HARD else KEYS.get(prompt, "")


class Named(TableStack):
    """The same, with the tiers' real card names, so that the catalog knows their prices."""

    cards: ClassVar[Mapping[str, str]] = {"demo-small": "small", "demo-large": "large"}


@pytest.fixture
def table() -> Iterator[Named]:
    """A stack in a thread; `auto` goes to the large card where the prompt is hard, and for one easy prompt in two."""
    made = Named(says, lambda prompt: "demo-large" if prompt in HARD or len(prompt) % 2 else "demo-small")
    with in_thread(made) as made.url:
        yield made


@pytest.fixture
def order(table: Named) -> MixOrder:
    return MixOrder(Address(table.url, "auto", KEY), Pair("demo-small", "demo-large"), PRICES, prompts=PROMPTS)


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Labels of other prompts: hard ones ask for the large card."""
    file = tmp_path / "labels.jsonl"
    lines = [
        {"prompt": one.prompt, "weak_correct": one.about["family"] not in HARD_FAMILIES, "strong_correct": True}
        for one in demo_questions(DemoDraw(80))
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def asked(order: MixOrder) -> MixReport:
    return measure(order, lambda: None)[0]


def test_every_way_to_route_is_counted_on_the_same_answers(order: MixOrder, labels: Path) -> None:
    report = asked(replace(order, labels=read_labelled([labels], Columns())))
    rows = {row.name: row for row in report.rows}
    small, large, auto, oracle = list(rows.values())[:4]
    assert (report.prompts, len(HARD)) == (PROMPTS, 12)
    assert (small.right, large.right, auto.right, oracle.right) == (48, 60, 60, 60)
    assert (small.share.value, large.share.value, oracle.share.value) == (0, 1, 0.2)
    assert 0.2 < auto.share.value < 1
    assert small.cost.value < oracle.cost.value < auto.cost.value < large.cost.value == 1
    same = [rows[f"{name}, same share"] for name in ("random", "prompt length", "n-gram ridge")]
    assert [row.share.value for row in same] == pytest.approx([auto.share.value] * 3)
    random, _, ngram = same
    assert random.right == pytest.approx(48 + 12 * auto.share.value)
    assert ngram.right > random.right


def test_what_the_prices_and_tokens_say_is_what_it_costs(order: MixOrder) -> None:
    report, outcomes = measure(order, lambda: None)
    used = {
        card: sum(sum(one["answers"][card][f"{kind}_tokens"] for kind in ("prompt", "completion")) for one in outcomes)
        for card in order.pair
    }
    small = report.rows[0]
    assert small.cost.value == pytest.approx(used["demo-small"] / (9 * used["demo-large"]))


def test_each_call_is_heard_and_failed_ones_leave_their_prompts_out(order: MixOrder, table: Named) -> None:
    heard: list[None] = []
    table.failing = [503, 500, 503]
    report, outcomes = measure(order, lambda: heard.append(None))
    assert len(heard) == len(table.asked) == calls(order) == 3 * PROMPTS
    assert PROMPTS - 3 <= report.prompts == len(outcomes) < PROMPTS
    assert dict(report.failed) == {"status 503": 2, "status 500": 1}
    assert "prompts with a failed call count nowhere (" in report.markdown()


def test_a_moved_share_is_held_against_the_one_that_was_asked_for(order: MixOrder, table: Named, labels: Path) -> None:
    async def set_share(share: float) -> None:
        table.reason = f"learned: gain 0.1 >= {share}"
        table.route = lambda prompt: "demo-large" if prompt in HARD else "demo-small"

    moving = replace(order, labels=read_labelled([labels], Columns()), shares=(0.25,), set_share=set_share)
    report = asked(moving)
    (moved,) = report.moved
    assert (moved.seen, moved.auto.share.value, moved.off) == (True, 0.2, pytest.approx(-0.05))
    assert moved.ngram is not None
    assert moved.ngram.share.value == pytest.approx(0.2)
    assert "| 25% | 20.0% (" in report.markdown()
    assert "-5.0 points" in report.markdown()
    assert report.as_json()["moved"][0]["off_points"] == pytest.approx(-5)


def test_prompts_of_the_mix_are_not_allowed_among_the_labels(order: MixOrder, labels: Path) -> None:
    line = {"prompt": QUESTIONS[0].prompt, "weak_correct": 1, "strong_correct": 1}
    labels.write_text(labels.read_text() + json.dumps(line) + "\n")
    with pytest.raises(ConfigurationError, match="1 prompts of the mix are in --labels"):
        asked(replace(order, labels=read_labelled([labels], Columns())))


def test_a_stack_that_answers_too_little_or_never_right_makes_no_table(order: MixOrder, table: Named) -> None:
    table.failing = [503] * 170
    with pytest.raises(Unavailable, match=r"of 60 prompts got all their answers \(170 × status 503\)"):
        asked(order)
    table.failing, table.says = [], lambda *_: "no idea"
    with pytest.raises(ConfigurationError, match="large tier answers none of these prompts"):
        asked(order)


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(one) for one in arguments])


def test_the_command_writes_table_figures_outcomes_and_origin(table: Named, labels: Path, tmp_path: Path) -> None:
    out = tmp_path / "result"
    done = run("--target", f"{table.url}/v1", "--key", KEY, "--out", out, "--prompts", PROMPTS, "--labels", labels)
    assert done.exit_code == 0, done.stderr
    assert "| `auto`, live | 60: 100.0% |" in (out / "table.md").read_text()
    assert "policy threshold" in (out / "table.md").read_text()
    summary = json.loads((out / "summary.json").read_text())
    assert [row["name"] for row in summary["rows"]][:3] == ["always-small", "always-large", "`auto`, live"]
    origin = json.loads((out / "origin.json").read_text())
    assert (origin["counts"], origin["seeds"]) == ({"prompts": 60, "asked": 60, "labels": 80}, [SEED])
    assert origin["config"]["prices"]["large"] == {"input_micro_usd": 100000, "output_micro_usd": 200000}
    with gzip.open(out / "prompts.jsonl.gz", "rt") as file:
        assert len(list(file)) == 60
    assert KEY not in "".join(path.read_text() for path in out.glob("*.json"))
    assert "holds a result already" in run("--target", table.url, "--key", KEY, "--out", out).stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--shares", "0.2"), "Shares are set on the stack of a state folder"),
        (("--shares", "20%"), "numbers between 0 and 1"),
        (("--labels", "none.jsonl"), "cannot be read"),
    ],
)
def test_a_mistake_is_one_sentence(table: Named, tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    done = run("--target", table.url, "--key", KEY, "--out", tmp_path / "result", *options)
    assert done.exit_code == 1
    assert said in done.stderr.replace("\n", " ")
    assert table.asked == []


def test_the_pair_is_the_stacks_own_and_a_wrong_key_is_told(table: Named) -> None:
    assert pair_of(Address(table.url, "", KEY)) == ("demo-small", "demo-large")
    with pytest.raises(InvalidKey):
        pair_of(Address(table.url, "", "other"))
