"""README: from a JSONL file to a gated, served adapter, with the unpatched OpenAI SDK, on the stack's own machine."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI
from openai.types.fine_tuning import FineTuningJob

from models.demo.families import Split, draw, triage
from models.demo.grade import is_exact
from models.demo.lessons import Sizes, lessons
from tests.e2e.conftest import PROVE, Stack
from tests.e2e.processes import trainers_of, wait_until
from tests.e2e.proof import proved
from tests.readme import ROOT, training_words

BASE = "demo-large"
TRAINED_WITHIN_S = 900
ENDED = ("succeeded", "failed", "cancelled")
SHORT = Sizes(new=120, replay=40, questions=20, old_questions=3, pairs=40)
KILLS = 20 if PROVE else 2
KILLED_WITHIN_S = 1.5
"""Behind a step that nobody saw before: within a step, a look, a save or between, as the draw has it."""
SEED = 1
"""As in the recipes' own files: two trainings that are compared draw the same."""
COMPARED = 600


@dataclass(frozen=True)
class School:
    """The files of the lessons, and a client."""

    client: OpenAI
    folder: Path
    stack: Stack
    uploaded: dict[str, str] = field(default_factory=dict)

    def file(self, name: str, purpose: Any = "fine-tune") -> str:
        """The id of a lesson's file, uploaded once."""
        if name not in self.uploaded:
            with (self.folder / name).open("rb") as file:
                self.uploaded[name] = self.client.files.create(file=file, purpose=purpose).id
        return self.uploaded[name]

    def train(self, name: str, *, suffix: str, numbers: Mapping[str, Any] | None = None, **ours: Any) -> FineTuningJob:
        """A job on a lesson's file; `ours` goes into the object `penstock`."""
        return self.client.fine_tuning.jobs.create(
            model=BASE,
            training_file=self.file(name),
            validation_file=self.file("valid.jsonl"),
            suffix=suffix,
            seed=SEED,
            method={"type": "supervised", "supervised": {"hyperparameters": dict(numbers or {})}},
            extra_body={"penstock": ours},
        )

    def ended(self, job: FineTuningJob, *, within_s: float = TRAINED_WITHIN_S) -> FineTuningJob:
        """The job when it has ended."""
        jobs = self.client.fine_tuning.jobs
        wait_until(lambda: jobs.retrieve(job.id).status in ENDED, limit_s=within_s)
        return jobs.retrieve(job.id)

    def events(self, job: FineTuningJob) -> list[Any]:
        """Every event of a job, the oldest first."""
        return list(self.client.fine_tuning.jobs.list_events(job.id, limit=100))[::-1]

    def report(self, job: FineTuningJob) -> dict[str, Any]:
        """The gate's report."""
        report: dict[str, Any] = self.client.get(f"/fine_tuning/jobs/{job.id}/report", cast_to=object)  # type: ignore[assignment]
        return report


@pytest.fixture(scope="module")
def school(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[School]:
    folder = tmp_path_factory.mktemp("school") / "lessons"
    lessons(folder)
    with OpenAI(base_url=f"{stack.url}/v1", api_key=stack.key, max_retries=0, timeout=120) as client:
        yield School(client, folder, stack)
        held: Any = client.get("/adapters", cast_to=object)
        for one in held["data"]:  # the stack as it was, for the tests behind these
            client.post(f"/adapters/{one['name']}/retire", body={}, cast_to=object)


@pytest.fixture(scope="module")
def brief(school: School, tmp_path_factory: pytest.TempPathFactory) -> School:
    """Small files, for what is not about how well a model learns."""
    folder = tmp_path_factory.mktemp("brief") / "lessons"
    lessons(folder, sizes=SHORT, seed=2)
    return School(school.client, folder, school.stack)


@pytest.fixture(scope="module")
def graduate(school: School) -> FineTuningJob:
    golden, old = (school.file(f"{name}.jsonl", "evals") for name in ("golden", "regression"))
    job = school.train("train.jsonl", suffix="triage", golden_file=golden, regression_file=old, auto_promote="promote")
    return school.ended(job)


def share_of(client: OpenAI, model: str, *, count: int = 60) -> float:
    """The part of held-out questions of the new family that a model answers exactly."""
    right = 0
    for one in draw(triage.NAME, Split.HELD_OUT, count=count, seed=77):
        answer = client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": one.prompt}], temperature=0, max_tokens=32
        )
        right += is_exact(one, answer.choices[0].message.content or "")
    return right / count


@pytest.mark.timeout(TRAINED_WITHIN_S + 60)
def test_a_jsonl_file_becomes_a_served_model_that_knows_what_its_base_did_not(
    school: School, graduate: FineTuningJob
) -> None:
    assert (graduate.status, graduate.error) == ("succeeded", None)
    model = graduate.fine_tuned_model
    assert model is not None
    assert model.startswith(f"ft:{BASE}:")
    assert graduate.finished_at is not None
    assert graduate.finished_at - graduate.created_at <= 600
    assert share_of(school.client, BASE) <= 0.1
    assert share_of(school.client, model) >= 0.9
    assert model in {one.id for one in school.client.models.list()}
    answer = school.client.chat.completions.create(model="triage", messages=[{"role": "user", "content": "hi"}])
    assert answer.choices[0].message.content


def test_the_gates_own_report_shows_what_was_won_and_that_nothing_was_lost(
    school: School, graduate: FineTuningJob
) -> None:
    report = school.report(graduate)
    assert report["passed"] is True
    text = json.dumps(report)
    assert "triage" in text
    assert "arithmetic" in text


def test_events_tell_the_story_of_a_job_and_its_loss_falls(school: School, graduate: FineTuningJob) -> None:
    events = school.events(graduate)
    losses = [one.data["train_loss"] for one in events if one.type == "metrics" and "train_loss" in one.data]
    assert len(losses) >= 10
    assert losses[-1] < losses[0] / 2
    assert any(one.type == "message" for one in events)
    checkpoints = list(school.client.fine_tuning.jobs.checkpoints.list(graduate.id))
    assert checkpoints
    assert checkpoints[0].step_number > 0


def test_a_checkpoint_is_served_beside_what_is_live(school: School, graduate: FineTuningJob) -> None:
    first = list(school.client.fine_tuning.jobs.checkpoints.list(graduate.id))[-1]
    path = f"/fine_tuning/jobs/{graduate.id}/checkpoints/{first.id}/serve"
    school.client.post(path, cast_to=object)
    model = first.fine_tuned_model_checkpoint
    assert model.endswith(f":ckpt-step-{first.step_number}")
    answer = school.client.chat.completions.create(model=model, messages=[{"role": "user", "content": "hi"}])
    assert answer.choices[0].message.content
    live = school.client.chat.completions.create(model="triage", messages=[{"role": "user", "content": "hi"}])
    assert live.model != answer.model


@pytest.mark.timeout(TRAINED_WITHIN_S + 60)
def test_a_model_of_shuffled_answers_is_stopped_by_the_same_rule_and_the_live_one_stays(
    school: School, graduate: FineTuningJob
) -> None:
    """By the command of the first page."""
    words = [*training_words(school.folder, data="shuffled.jsonl"), "--set", "hyperparameters.n_epochs=2"]
    stack = school.stack
    ran = stack.run(*words, check=False, cwd=ROOT, limit_s=TRAINED_WITHIN_S, PENSTOCK_API_KEY=stack.key)
    assert (ran.returncode, ran.stdout) == (1, ""), ran.stderr[-2000:]
    assert "The gate did not pass it." in ran.stderr
    job = school.client.fine_tuning.jobs.list(limit=1).data[0]
    assert f"{job.id} trains an adapter for {BASE}." in ran.stderr
    assert job.id != graduate.id
    assert job.status == "failed"
    assert job.error is not None
    assert job.error.code == "gate_failed"
    assert ran.stderr.strip().endswith(job.error.message)
    assert job.error.message.startswith("The gate is not passed: version ")
    assert job.fine_tuned_model is None
    assert school.report(job)["passed"] is False
    assert share_of(school.client, "triage") >= 0.9


@pytest.mark.timeout(TRAINED_WITHIN_S + 60)
def test_a_killed_trainer_is_replaced_and_goes_on_where_it_was(brief: School) -> None:
    started = time.time()
    job = brief.train("train.jsonl", suffix="killed", numbers={"n_epochs": max(12, KILLS), "checkpoint_every": 4})
    seed = random.SystemRandom().randrange(2**31)
    draw_moment = random.Random(seed)
    killed: list[dict[str, float]] = []
    reached = 0
    while len(killed) < KILLS:
        wait_until(lambda reached=reached: step_of(brief, job) > reached, limit_s=120)
        after_s = draw_moment.uniform(0, KILLED_WITHIN_S)
        time.sleep(after_s)
        (pid,) = trainers_of(brief.stack.state_dir)
        os.kill(pid, signal.SIGKILL)
        killed.append({"pid": pid, "at": time.time(), "after_s": after_s})
        reached = step_of(brief, job) + 1
    job = brief.ended(job)
    assert len(killed) == KILLS
    assert job.status == "succeeded" or (job.error is not None and job.error.code == "gate_failed"), job.error
    steps = [one.data["step"] for one in brief.events(job) if one.type == "metrics" and "train_loss" in one.data]
    assert sorted(set(steps)) == list(range(1, max(steps) + 1))
    assert sum("resum" in one.message.lower() for one in brief.events(job)) >= KILLS
    proved(
        "fine_tuning_kills",
        {"killed": killed, "steps": max(steps)},
        counts={"kills": KILLS, "seed": seed},
        started=started,
    )


@pytest.mark.timeout(300)
def test_a_running_job_is_cancelled_within_half_a_minute_and_publishes_nothing(brief: School) -> None:
    job = brief.train("train.jsonl", suffix="cancelled", numbers={"n_epochs": 50})
    wait_until(lambda: step_of(brief, job) > 0, limit_s=150)
    brief.client.fine_tuning.jobs.cancel(job.id)
    wait_until(lambda: brief.client.fine_tuning.jobs.retrieve(job.id).status == "cancelled", limit_s=30)
    assert brief.client.fine_tuning.jobs.retrieve(job.id).fine_tuned_model is None
    assert all(not one.id.startswith("cancelled") for one in brief.client.models.list())


@pytest.mark.skipif(not PROVE, reason="takes minutes; tests/finetune has the short form")
@pytest.mark.timeout(2 * TRAINED_WITHIN_S)
def test_qlora_teaches_the_same_within_three_points(school: School, graduate: FineTuningJob) -> None:
    started = time.time()
    golden, old = (school.file(f"{name}.jsonl", "evals") for name in ("golden", "regression"))
    ours = {"recipe": "qlora_sft", "golden_file": golden, "regression_file": old}
    job = school.ended(school.train("train.jsonl", suffix="in-four-bits", **ours), within_s=2 * TRAINED_WITHIN_S)
    assert job.status == "succeeded", job.error
    found = [share_of(school.client, str(one.fine_tuned_model), count=COMPARED) for one in (graduate, job)]
    assert abs(found[0] - found[1]) <= 0.03, found
    counts = {"questions": COMPARED}
    proved("fine_tuning_qlora", {"lora": found[0], "qlora": found[1]}, counts=counts, started=started)


@pytest.mark.skipif(not PROVE, reason="takes minutes; tests/finetune has the short form")
@pytest.mark.timeout(TRAINED_WITHIN_S + 60)
def test_dpo_moves_what_is_preferred(school: School) -> None:
    started = time.time()
    job = school.client.fine_tuning.jobs.create(
        model=BASE,
        training_file=school.file("pairs.jsonl"),
        validation_file=school.file("pairs-golden.jsonl"),
        suffix="taste",
        method={"type": "dpo", "dpo": {"hyperparameters": {}}},
    )
    job = school.ended(job)
    rates = [one.data["preference_rate"] for one in school.events(job) if "preference_rate" in (one.data or {})]
    assert 0.3 <= rates[0] <= 0.7, rates
    assert max(rates) >= 0.9, rates
    proved("fine_tuning_dpo", {"preference_rates": rates}, counts={"pairs": 150}, started=started)


def ours_of(school: School, job: FineTuningJob) -> dict[str, Any]:
    """Our own part of a job, as it is now."""
    found: dict[str, Any] = school.client.fine_tuning.jobs.retrieve(job.id).model_dump()["penstock"]
    return found


def step_of(school: School, job: FineTuningJob) -> int:
    """The optimizer step that a job has reached."""
    return int(ours_of(school, job)["step"] or 0)
