"""A candidate is judged on a stack: loaded, asked beside the base and what is live, ruled on, and told."""

import json
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from finetune.gate.floor import GateFloor
from finetune.gate.golden import Golden, golden_of, load_golden
from finetune.gate.report import markdown
from models.artifacts.folder import FolderSettings
from models.artifacts.store import open_artifacts
from models.clock import SystemClock
from models.errors import InvalidRequest
from serving.adapters.registry import AdapterRegistry
from serving.store.jobs import JobRow
from serving.tuning.asking import NoAnswer, Question, Reply, Unaskable
from serving.tuning.golden_files import BOTH, GoldenSet, StoredGoldenFiles, inputs_of
from serving.tuning.judge import GoldenFiles, StackJudge, max_tokens_of, sampled
from tests.serving.adapters.stand import SMALL, Stand, opened_stand, third_gateway
from tests.serving.adapters.third import releases_of
from tests.serving.tuning.yard import publish_lines

COUNT = 60
NO_FLOOR = GateFloor()
JOB = JobRow(
    id="ftjob-1",
    org="acme",
    user="ada",
    created_by="key-1",
    created_at=0.0,
    status="running",
    phase="judging",
    state_at=0.0,
    base=SMALL,
    asked={},
    training_file="file-training",
    adapter="bot",
)


def line(at: int, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": str(at)}], "expected": f"answer {at % 7}", **more}


def goldens(count: int = COUNT, **more: Any) -> list[Golden]:
    return [golden_of(json.dumps(line(at, **more)).encode(), at + 1) for at in range(count)]


@dataclass
class Files:
    """Golden sets at hand."""

    questions: list[Golden] = field(default_factory=goldens)
    others: list[Golden] | None = None

    async def golden(self, job: JobRow) -> GoldenSet:
        return GoldenSet("file-golden", self.questions)

    async def regression(self, job: JobRow) -> GoldenSet | None:
        return None if self.others is None else GoldenSet("file-regression", self.others)


@dataclass
class Answering:
    """Models by name. `wrong`: how many of ten questions each gets wrong, all by default; `fault`: raised for all;
    `odd`: what becomes of a model's answer to a question.
    """

    wrong: dict[str, int] = field(default_factory=dict)
    fault: Exception | None = None
    verdict: str = "RIGHT"
    odd: dict[tuple[str, str], Reply | Exception] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)

    async def ask(self, model: str, question: Question, *, org: str) -> Reply:
        text = str(question.messages[0]["content"])
        self.asked.append((model, text))
        if self.fault is not None:
            raise self.fault
        if (odd := self.odd.get((model, text))) is not None:
            if isinstance(odd, Exception):
                raise odd
            return odd
        if not text.isdigit():
            return Reply("maybe" if "<given>\ngarbled" in text else self.verdict)
        if text == "13":
            raise Unaskable("It is too long.")
        return Reply("nothing" if int(text) % 10 < self.wrong.get(model, 10) else f"answer {int(text) % 7}")


@dataclass
class Bench:
    """A stand with two versions, and judges on it."""

    stand: Stand
    registry: AdapterRegistry
    releases: Any
    names: dict[int, str]

    def judge(self, ask: Answering, files: GoldenFiles | None = None, *, floor: GateFloor = NO_FLOOR) -> StackJudge:
        around: Any = {"registry": self.registry, "releases": self.releases, "warm_s": 60}
        return StackJudge(ask, files or Files(), floor=floor, **around)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    around = third_gateway(tmp_path, open_artifacts(FolderSettings(path=tmp_path / "artifacts"), home=tmp_path))
    async with opened_stand(tmp_path, gateways=1, replicas=1) as stand, releases_of(stand) as releases:
        names = {seed: (await stand.push(seed)).json()["model"] for seed in (1, 2)}
        yield Bench(stand, AdapterRegistry(stand.store.adapters, around, clock=SystemClock()), releases, names)


async def test_a_good_first_version_passes_and_is_loaded_but_not_live(bench: Bench) -> None:
    ask = Answering({bench.names[1]: 1})
    verdict = await bench.judge(ask).judge(JOB, 1)
    assert verdict.passed
    assert verdict.report["models"] == {"candidate": bench.names[1], "base": SMALL}
    assert verdict.report["golden"]["left_out"] == 1
    assert {model for model, _ in ask.asked} == {bench.names[1], SMALL}
    assert (await bench.stand.states())[1] == "draining"
    assert (await bench.stand.chat()).status_code == 404
    assert (await bench.stand.chat(bench.names[1])).status_code == 200
    assert json.loads(json.dumps(dict(verdict.report))) == verdict.report
    assert "The candidate **passed**" in markdown(verdict.report)


async def test_what_is_live_is_asked_by_its_own_name_and_both_scores_are_told_to_the_registry(bench: Bench) -> None:
    await bench.stand.promote(1)
    ask = Answering({bench.names[1]: 1, bench.names[2]: 5})
    verdict = await bench.judge(ask).judge(JOB, 2)
    assert not verdict.passed
    live = next(one for one in verdict.report["checks"] if one["name"] == "live")
    assert live["outcome"] == "failed"
    assert verdict.report["models"]["live"] == bench.names[1]
    shown = await bench.registry.show("acme", "bot")
    scores = {row.number: row.facts["scores"]["gate:file-golden"] for row in shown.versions}
    assert scores[1]["count"] == scores[2]["count"] == COUNT - 1
    assert scores[1]["passed"] > scores[2]["passed"]


async def test_forgetting_is_looked_at_where_there_is_a_regression_set(bench: Bench) -> None:
    ask = Answering({bench.names[1]: 5, SMALL: 0})
    files = Files(others=goldens(task="old"))
    files.questions = [replace(one, expected="nothing") for one in goldens(200) if int(one.messages[0]["content"]) > 13]
    verdict = await bench.judge(ask, files).judge(JOB, 1)
    forgetting = next(one for one in verdict.report["checks"] if one["name"] == "forgetting")
    assert (verdict.passed, forgetting["outcome"]) == (False, "failed")
    assert verdict.report["warnings"] == []


class Noted(str):
    """An expected answer that keeps the threads in which it is compared."""

    threads: ClassVar[set[int]] = set()

    def strip(self, chars: str | None = None) -> str:
        self.threads.add(threading.get_ident())
        return super().strip(chars)


async def test_scores_are_counted_beside_the_loop_that_answers_calls(bench: Bench) -> None:
    questions = [replace(one, expected=Noted(one.expected)) for one in goldens()]
    assert (await bench.judge(Answering({bench.names[1]: 1}), Files(questions)).judge(JOB, 1)).passed
    assert Noted.threads
    assert threading.get_ident() not in Noted.threads


@pytest.mark.parametrize("metric", ["exact", "similarity", "judge"])
async def test_what_the_candidate_alone_fails_at_is_wrong_and_not_left_out(bench: Bench, metric: str) -> None:
    """Else a candidate would do better the more of the hard questions it fails at."""
    odd: list[Reply | Exception] = [Unaskable("It is too long."), Reply(" "), Reply("answer", cut=True)]
    files = Files([one for one in goldens(COUNT, metric=metric) if one.messages[0]["content"] != "13"])
    ask = Answering({bench.names[1]: 0}, odd={(bench.names[1], str(20 + at)): one for at, one in enumerate(odd)})
    found = (await bench.judge(ask, files).judge(JOB, 1)).report["golden"]
    assert (found["examples"], found["left_out"], found["unjudged"]) == (COUNT - 1, 0, 0)
    assert found["scores"]["candidate"] == pytest.approx((COUNT - 4) / (COUNT - 1))
    assert found["failed"] == (2 if metric == "exact" else 3)  # a part is wrong there by itself


async def test_an_answer_of_the_candidate_that_the_judge_cannot_judge_is_wrong(bench: Bench) -> None:
    ask = Answering(odd={(bench.names[1], "20"): Reply("garbled"), (SMALL, "21"): Reply("garbled")})
    found = (await bench.judge(ask, Files(goldens(COUNT, metric="judge"))).judge(JOB, 1)).report["golden"]
    assert (found["examples"], found["left_out"], found["unjudged"], found["failed"]) == (COUNT - 2, 1, 1, 1)
    assert found["scores"] == {"candidate": (COUNT - 3) / (COUNT - 2), "base": 1.0}


async def test_a_cut_answer_counts_as_it_came_where_what_is_expected_had_no_room(bench: Bench) -> None:
    """Labels of one token are cut by their own limit, and texts that are longer than any room are nobody's failure."""
    long = " ".join(["word"] * 300)
    questions = [replace(one, metric="similarity", expected=long) for one in goldens(20)[:12]]
    label = replace(questions[0], metric="exact", expected="yes", max_tokens=1)
    odd = {(bench.names[1], str(at)): Reply(long, cut=True) for at in range(1, 12)}
    ask = Answering(odd={**odd, (bench.names[1], "0"): Reply("yes", cut=True)})
    found = (await bench.judge(ask, Files([label, *questions[1:]])).judge(JOB, 1)).report["golden"]
    assert (found["scores"]["candidate"], found["failed"]) == (1.0, 0)


async def test_a_cut_answer_is_no_failure_where_the_base_was_cut_as_well_or_the_limit_leaves_no_room(
    bench: Bench,
) -> None:
    first, second = goldens(20)[:2]
    limited = replace(second, metric="similarity", expected="answer 1 and then some", max_tokens=8)
    questions = [replace(first, metric="similarity"), limited, *goldens(20)[2:12]]
    odd: dict[tuple[str, str], Reply | Exception] = {
        (bench.names[1], "0"): Reply("answer 0", cut=True),
        (SMALL, "0"): Reply("answer 0", cut=True),
        (bench.names[1], "1"): Reply("answer 1 and then some", cut=True),
    }
    ask = Answering({bench.names[1]: 0, SMALL: 0}, odd=odd)
    found = (await bench.judge(ask, Files(questions)).judge(JOB, 1)).report["golden"]
    assert (found["scores"]["candidate"], found["failed"]) == (1.0, 0)


async def test_an_engine_that_does_not_answer_is_no_verdict(bench: Bench) -> None:
    with pytest.raises(NoAnswer):
        await bench.judge(Answering(fault=NoAnswer("gone"))).judge(JOB, 1)


async def test_a_golden_file_that_models_refuse_is_told_to_its_owner(bench: Bench) -> None:
    with pytest.raises(InvalidRequest, match="60 of 60 examples could not be asked"):
        await bench.judge(Answering(fault=Unaskable("too long"))).judge(JOB, 1)


async def test_thresholds_of_the_job_count_and_unknown_ones_are_refused(bench: Bench) -> None:
    ask = Answering({bench.names[1]: 1})
    strict = replace(JOB, asked={"penstock": {"gate": {"regression_required": True}}})
    assert not (await bench.judge(ask).judge(strict, 1)).passed
    with pytest.raises(InvalidRequest, match="gate"):
        await bench.judge(ask).judge(replace(JOB, asked={"penstock": {"gate": {"luck": 1}}}), 1)


async def test_a_floor_that_was_raised_after_a_job_began_holds_for_it(bench: Bench) -> None:
    lax = replace(JOB, asked={"penstock": {"gate": {"margin": 0.3, "confidence": 0.99}}})
    floor = GateFloor(margin=0.01, confidence=0.9, regression_required=True)
    verdict = await bench.judge(Answering({bench.names[1]: 1}), floor=floor).judge(lax, 1)
    rule = verdict.report["rule"]
    assert (rule["margin"], rule["confidence"], rule["regression_required"]) == (0.01, 0.99, True)
    assert not verdict.passed


async def test_a_model_judges_where_the_metric_is_judge_and_its_silence_is_nobodys_score(bench: Bench) -> None:
    ask, files = Answering({bench.names[1]: 0}), Files(goldens(12, metric="judge"))
    verdict = await bench.judge(ask, files).judge(JOB, 1)
    permuted = next(one for one in verdict.report["checks"] if one["name"] == "permuted")
    assert permuted["outcome"] != "passed"  # a judge that finds everything right proves nothing
    assert not verdict.passed
    with pytest.raises(InvalidRequest, match="no usable word"):
        await bench.judge(replace(ask, verdict="maybe"), files).judge(JOB, 1)


async def test_a_job_without_a_golden_file_is_judged_by_its_validation_file_or_what_was_held_out(
    tmp_path: Path,
) -> None:
    store = open_artifacts(FolderSettings(path=tmp_path / "artifacts"), home=tmp_path)
    for name, count in (("file-training", 80), ("file-validation", 5), ("file-golden", 3)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "data.jsonl").write_text("".join(json.dumps(line(at)) + "\n" for at in range(count)))
        store.publish(folder, kind="file", name=name, about={})
    files = StoredGoldenFiles(store, work=tmp_path / "drafts")
    named = replace(JOB, asked={"penstock": {"golden_file": "file-golden", "regression_file": "file-validation"}})
    found = [await files.golden(job) for job in (named, replace(JOB, validation_file="file-validation"))]
    assert [len(one.examples) for one in found] == [3, 5]
    held = await files.golden(JOB)
    assert (held.file, len(held.examples)) == ("held out of file-training", 20)
    assert held.warning == "No golden file: judged by held out of file-training."
    regression = await files.regression(named)
    assert regression is not None
    assert (regression.file, len(regression.examples), regression.warning) == ("file-validation", 5, None)
    assert await files.regression(JOB) is None
    with pytest.raises(InvalidRequest, match="not there any more"):
        await files.golden(replace(JOB, validation_file="file-gone"))


async def test_what_asks_nothing_is_passed_over_and_nothing_of_a_file_stays_on_the_machine(tmp_path: Path) -> None:
    """Such lines are good to learn from; nobody's training is thrown away for them."""
    store = open_artifacts(FolderSettings(path=tmp_path / "artifacts"), home=tmp_path)
    greeting = {"messages": [{"role": "assistant", "content": "Hello"}]}
    publish_lines(store, tmp_path, "file-validation", [greeting, *(line(at) for at in range(5)), greeting])
    publish_lines(store, tmp_path, "file-training", [greeting, *(line(at) for at in range(11))])
    publish_lines(store, tmp_path, "file-greetings", [{**greeting, "tools": []}])
    work = tmp_path / "drafts"
    files = StoredGoldenFiles(store, work=work)
    assert len((await files.golden(replace(JOB, validation_file="file-validation"))).examples) == 5
    assert len((await files.golden(JOB)).examples) in (2, 3)
    with pytest.raises(InvalidRequest, match="No line of the file is a question"):
        await files.golden(replace(JOB, validation_file="file-greetings"))
    assert list(work.iterdir()) == []


async def test_the_looks_use_one_half_of_a_validation_file_and_the_gate_the_other(tmp_path: Path) -> None:
    store = open_artifacts(FolderSettings(path=tmp_path / "artifacts"), home=tmp_path)
    publish_lines(store, tmp_path, "file-validation", [line(at) for at in range(120)])
    job = replace(JOB, validation_file="file-validation")
    files = StoredGoldenFiles(store, work=tmp_path / "drafts")
    judged = await files.golden(job)
    assert (judged.file, len(judged.examples)) == ("held out of file-validation", 60)
    path = tmp_path / "uploads" / "file-validation" / "data.jsonl"
    inputs = inputs_of(job, training=path, validation=path, to=tmp_path / "attempt")
    assert inputs.validation is not None
    looked = {golden.line: golden.digest for golden in load_golden(inputs.validation)}
    assert inputs.training == inputs.whole == path
    assert inputs.told == ("60 lines of the validation file are kept for the gate: no look at the training uses them.",)
    assert looked | {one.line: one.digest for one in judged.examples} == {
        one.line: one.digest for one in load_golden(path)
    }
    named = replace(job, asked={"penstock": {"golden_file": "file-golden"}})
    assert inputs_of(named, training=path, validation=path, to=tmp_path / "attempt").validation == path


async def test_a_validation_file_that_is_too_small_to_part_does_both_and_the_report_says_so(
    bench: Bench, tmp_path: Path
) -> None:
    store = open_artifacts(FolderSettings(path=tmp_path / "files"), home=tmp_path)
    publish_lines(store, tmp_path, "file-validation", [line(at) for at in range(COUNT)])
    job = replace(JOB, validation_file="file-validation")
    path = tmp_path / "uploads" / "file-validation" / "data.jsonl"
    inputs = inputs_of(job, training=path, validation=path, to=tmp_path / "attempt")
    assert (inputs.validation, inputs.told) == (path, (BOTH,))
    files = StoredGoldenFiles(store, work=tmp_path / "drafts")
    report = (await bench.judge(Answering({bench.names[1]: 1}), files).judge(job, 1)).report
    assert BOTH in report["warnings"]
    assert (report["golden"]["file"], report["golden"]["examples"]) == ("file-validation", COUNT - 1)


@pytest.mark.parametrize("source", ["golden", "validation", "training"])
async def test_lines_that_got_worse_are_told_by_their_numbers_in_the_file(
    bench: Bench, tmp_path: Path, source: str
) -> None:
    store, folder = open_artifacts(FolderSettings(path=tmp_path / "files"), home=tmp_path), tmp_path / "upload"
    folder.mkdir()
    greeting = json.dumps({"messages": [{"role": "assistant", "content": "Hello"}]})
    told = [json.dumps(line(at)) for at in range(20, 140)]
    lines = ["", greeting, *told[:60], "", *told[60:]]
    (folder / "data.jsonl").write_text("\n".join(lines))
    store.publish(folder, kind="file", name=f"file-{source}", about={})
    ours = {"penstock": {"golden_file": "file-golden"}} if source == "golden" else {}
    job = replace(JOB, asked=ours, validation_file="file-validation" if source == "validation" else None)
    ask = Answering({bench.names[1]: 2, SMALL: 0})
    found = (await bench.judge(ask, StoredGoldenFiles(store, work=tmp_path / "drafts")).judge(job, 1)).report["golden"]
    worse = [number for number, text in enumerate(lines, 1) if text in told and (told.index(text) + 20) % 10 < 2]
    assert found["lost"]
    assert set(found["lost"]) <= set(worse)
    assert found["lost"] == sorted(found["lost"])
    if source == "golden":
        assert found["lost"] == worse[:20]


def test_the_same_examples_are_asked_every_time_and_tokens_fit_what_is_expected() -> None:
    asked = goldens(50)
    chosen = sampled(asked, 10)
    again = sampled(list(reversed(asked)), 10)
    assert {asked[place].digest for place in chosen} == {asked[49 - place].digest for place in again}
    assert sampled(asked, 100) == list(range(50))
    tokens = [max_tokens_of(replace(asked[0], expected="a" * count)) for count in (1, 500, 5_000)]
    assert tokens == [64, 500, 1_024]
    assert max_tokens_of(replace(asked[0], max_tokens=7)) == 7
