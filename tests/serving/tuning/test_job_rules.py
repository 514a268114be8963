"""Which wish leads a job where, what its adapter is called, and who is next."""

from dataclasses import replace
from typing import Any

import pytest

from finetune.gate.floor import AT_LEAST, AT_MOST, GateFloor
from finetune.gate.rule import GateRule
from finetune.jobs import Status
from models.errors import InvalidRequest, NotFound
from serving.store.files import FileRow
from serving.store.jobs import JobRow
from serving.tuning import job_rules as rules

JOB = JobRow(
    id="ftjob-" + "ab" * 12,
    org="acme",
    user="ann",
    created_by="key",
    created_at=1.0,
    status="queued",
    phase="waiting",
    state_at=1.0,
    base="demo-small",
    asked={"model": "demo-small", "seed": 1},
    training_file="file-t",
    adapter="support",
)


def job(status: Status, **values: Any) -> JobRow:
    return replace(JOB, **{"status": status, **values})


@pytest.mark.parametrize("status", ["validating_files", "queued", "paused"])
def test_a_job_that_nobody_works_on_is_cancelled_at_once(status: Status) -> None:
    step = rules.cancelled(job(status), now=9.0)
    assert (step.row.status, step.row.phase, step.row.finished_at) == ("cancelled", "done", 9.0)
    assert step.message


def test_a_running_job_is_cancelled_when_its_worker_obeys() -> None:
    step = rules.cancelled(job("running", wanted="pause"), now=9.0)
    assert (step.row.status, step.row.wanted) == ("running", "cancel")
    again = rules.cancelled(step.row, now=10.0)
    assert (again.row, again.message) == (step.row, None)


def test_a_second_cancel_changes_nothing() -> None:
    row = job("cancelled", finished_at=2.0)
    assert rules.cancelled(row, now=9.0) == rules.Step(row)


@pytest.mark.parametrize("status", ["succeeded", "failed"])
def test_a_job_that_has_ended_is_neither_cancelled_nor_paused(status: Status) -> None:
    for wish in (rules.cancelled, rules.paused):
        with pytest.raises(InvalidRequest, match="has ended"):
            wish(job(status), now=9.0)


def test_a_pause_is_at_once_or_when_the_worker_or_the_check_is_done() -> None:
    assert rules.paused(job("queued"), now=9.0).row.status == "paused"
    for status in ("running", "validating_files"):
        step = rules.paused(job(status), now=9.0)
        assert (step.row.status, step.row.wanted) == (status, "pause")
        assert rules.paused(step.row, now=9.0).message is None
    assert rules.paused(job("paused"), now=9.0).message is None
    with pytest.raises(InvalidRequest, match="being cancelled"):
        rules.paused(job("running", wanted="cancel"), now=9.0)


def test_a_paused_job_and_a_failed_one_are_queued_again() -> None:
    assert rules.resumed(job("paused"), now=9.0).row.status == "queued"
    failed = job("failed", error={"code": "worker_lost"}, finished_at=2.0, attempt=3, step=7)
    step = rules.resumed(failed, now=9.0)
    assert (step.row.status, step.row.error, step.row.finished_at) == ("queued", None, None)
    assert (step.row.attempt, step.row.step) == (3, 7)


def test_a_job_whose_workers_were_lost_is_resumed_with_all_its_attempts() -> None:
    lost = job("failed", worker={"losses": 3, "checkpoint": 50}, error={"code": "worker_lost"}, finished_at=3.0)
    step = rules.resumed(lost, now=9.0)
    assert (step.row.status, step.row.worker, step.row.finished_at) == ("queued", None, None)


def test_what_runs_already_is_resumed_without_effect_and_what_is_over_not_at_all() -> None:
    for status in ("queued", "running", "validating_files"):
        assert rules.resumed(job(status), now=9.0).message is None
    assert rules.resumed(job("validating_files", wanted="pause"), now=9.0).row.wanted is None
    for row in (job("running", wanted="pause"), job("running", wanted="cancel"), job("succeeded"), job("cancelled")):
        with pytest.raises(InvalidRequest):
            rules.resumed(row, now=9.0)
    with pytest.raises(InvalidRequest, match="make a new job"):
        rules.resumed(job("failed", error={"code": "invalid_data"}), now=9.0)


def test_orgs_take_turns_and_what_an_org_has_running_counts() -> None:
    queued = [
        job("queued", id="a1", org="a", created_at=1.0),
        job("queued", id="a2", org="a", created_at=2.0),
        job("queued", id="b1", org="b", created_at=3.0),
        job("queued", id="c1", org="c", created_at=0.5),
    ]
    line = rules.in_line(reversed(queued), [job("running", org="c")])
    assert [row.id for row in line] == ["a1", "b1", "c1", "a2"]
    assert rules.place_of("b1", line) == 2
    assert rules.place_of("x", line) is None


def test_the_end_of_a_training_is_estimated_from_its_steps_so_far() -> None:
    row = job("running", step=10, steps=40, trained_s=20.0)
    assert rules.estimated_finish(row, now=100.0) == 160.0
    assert rules.estimated_finish(replace(row, trained_s=0.0, started_at=90.0, beat_at=100.0), now=100.0) == 130.0
    assert rules.estimated_finish(replace(row, step=0), now=100.0) is None
    assert rules.estimated_finish(replace(row, status="paused"), now=100.0) is None


def test_an_adapter_is_called_by_the_suffix_or_by_its_base_and_job() -> None:
    assert rules.adapter_name("support", base="demo-small", job=JOB.id) == "support"
    assert rules.adapter_name(None, base="demo-small", job=JOB.id) == "demo-small-ababab"
    assert len(rules.adapter_name(None, base="b" * 63, job=JOB.id)) == 63


@pytest.mark.parametrize("suffix", ["", "../../x", "a..b", "Support", "a" * 64, "-a", "a b", "é", "a\x00"])
def test_a_suffix_outside_the_grammar_is_refused(suffix: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        rules.require_suffix(suffix)
    assert refused.value.param == "suffix"


def test_a_suffix_within_the_grammar_is_taken() -> None:
    for suffix in (None, "a", "a" * 63, "support-2.1_b"):
        rules.require_suffix(suffix)


def test_an_adapter_of_another_base_or_a_models_name_is_taken() -> None:
    rules.require_adapter("support", base="demo-small", taken={"auto"}, others=["demo-small"])
    for others, taken in ((["demo-large"], set()), ([], {"support"})):
        with pytest.raises(InvalidRequest) as refused:
            rules.require_adapter("support", base="demo-small", taken=taken, others=others)
        assert refused.value.code == "already_exists"


@pytest.mark.parametrize("model", ["auto", "small", "nope", "x" * 1000])
def test_what_cannot_be_tuned_is_refused_with_what_can(model: str) -> None:
    with pytest.raises(InvalidRequest, match="demo-large, demo-small") as refused:
        rules.require_base(model, bases=["demo-small", "demo-large"], own=False)
    assert len(refused.value.public) < 200


def test_a_tuned_model_is_no_base() -> None:
    for model, own in (("ft:demo-small:acme:x:1", False), ("support", True)):
        with pytest.raises(InvalidRequest, match="is a fine-tuned model"):
            rules.require_base(model, bases=["demo-small"], own=own)


def test_the_recipe_follows_from_the_method_the_name_and_the_quantization() -> None:
    nf4 = {"hyperparameters": {"quantization": "nf4"}}
    assert rules.recipe_of({}) == "lora_sft"
    assert rules.recipe_of(nf4) == "qlora_sft"
    assert rules.recipe_of({"method": {"type": "dpo", "dpo": nf4}}) == "dpo"
    assert rules.recipe_of({"penstock": {"recipe": "qlora_sft"}}) == "qlora_sft"
    with pytest.raises(InvalidRequest, match="choose dpo"):
        rules.recipe_of({"method": {"type": "dpo"}, "penstock": {"recipe": "lora_sft"}})


def test_hyperparameters_are_sent_once_and_with_their_own_method() -> None:
    told = {"n_epochs": 2}
    assert rules.hyperparameters_of({"hyperparameters": told}) == (told, "hyperparameters")
    within = {"method": {"type": "dpo", "dpo": {"hyperparameters": told}}}
    assert rules.hyperparameters_of(within) == (told, "method.dpo.hyperparameters")
    for wrong in ({**within, "hyperparameters": told}, {"method": {"type": "supervised", "dpo": {"x": 1}}}):
        with pytest.raises(InvalidRequest):
            rules.hyperparameters_of(wrong)


def test_a_file_must_be_there_for_fine_tuning_and_of_a_format_that_the_method_learns_from() -> None:
    file = FileRow("file-1", "acme", "a.jsonl", "fine-tune", 10, "d" * 64, "key", 1.0, {"format": "chat"})
    assert rules.require_file(file, param="training_file", now=5.0) == file
    for gone in (None, replace(file, expires_at=5.0)):
        with pytest.raises(NotFound):
            rules.require_file(gone, param="training_file", now=5.0)
    with pytest.raises(InvalidRequest, match="is for 'batch'"):
        rules.require_file(replace(file, purpose="batch"), param="training_file", now=5.0)
    rules.require_format(file, method="supervised", param="training_file")
    with pytest.raises(InvalidRequest, match="takes preference"):
        rules.require_format(file, method="dpo", param="training_file")


FLOOR = GateFloor(
    confidence=0.97,
    control_confidence=0.99,
    ceiling=0.9,
    margin=0.01,
    resolution=0.1,
    live_resolution=0.05,
    max_examples=200,
)


def gated(**gate: Any) -> dict[str, Any]:
    return {"penstock": {"gate": gate}}


@pytest.mark.parametrize(
    ("name", "laxer", "stricter"),
    [
        ("confidence", 0.96, 0.98),
        ("control_confidence", 0.95, 0.995),
        ("ceiling", 0.85, 1.0),
        ("margin", 0.02, 0.0),
        ("resolution", 0.2, 0.05),
        ("live_resolution", 0.1, 0.05),
        ("max_examples", 100, 400),
    ],
)
def test_a_jobs_own_gate_may_be_stricter_than_the_floor_and_never_laxer(
    name: str, laxer: float, stricter: float
) -> None:
    with pytest.raises(InvalidRequest, match=f"'penstock.gate.{name}' is laxer") as refused:
        rules.require_rule(gated(**{name: laxer}), FLOOR)
    assert (refused.value.param, str(getattr(FLOOR, name)) in refused.value.public) == (f"penstock.gate.{name}", True)
    rules.require_rule(gated(**{name: stricter}), FLOOR)
    assert getattr(rules.rule_of(gated(**{name: stricter}), FLOOR), name) == stricter
    rules.require_rule(gated(**{name: laxer}), GateFloor())


def test_what_a_job_leaves_open_is_as_strict_as_the_floor_and_without_one_as_ever() -> None:
    rules.require_rule({}, FLOOR)
    assert rules.rule_of({}, FLOOR) == GateRule(confidence=0.97, margin=0.01, live_resolution=0.05)
    assert rules.rule_of({}, GateFloor()) == GateRule()
    with pytest.raises(InvalidRequest, match=r"regression_required' is laxer than this stack admits: true"):
        rules.require_rule(gated(regression_required=False), GateFloor(regression_required=True))


def test_every_threshold_has_a_floor() -> None:
    assert {*AT_LEAST, *AT_MOST, "judge"} == set(GateFloor.model_fields) == set(GateRule.model_fields)


def test_the_operators_judge_grades_every_job_and_none_names_another() -> None:
    floor = GateFloor(judge="large")
    assert rules.rule_of({}, floor).judge == rules.rule_of(gated(judge="small"), floor).judge == "large"
    rules.require_rule(gated(judge="large"), floor)
    with pytest.raises(InvalidRequest, match=r"is not the judge of this stack: \"large\"\."):
        rules.require_rule(gated(judge="small"), floor)
    assert rules.rule_of(gated(judge="small"), GateFloor()).judge == "small"
