"""What may be done with fine-tuning jobs, on rows alone: what may be asked for, which step leads where, who is next.

Pure: every function takes rows and gives rows, or raises. Does not write (`jobs.py`), and moves no job that runs (the
coordinator does).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from pydantic import ValidationError

from finetune.gate.floor import GateFloor
from finetune.gate.rule import GateRule
from finetune.hyperparameters import Asked
from finetune.jobs import ENDED, Status, require_step
from finetune.order import Recipe
from finetune.release import system_alias
from models.adapters.foundation import BaseModel
from models.artifacts.artifact import is_name
from models.errors import InvalidRequest, NotFound
from serving.store.files import FileRow
from serving.store.jobs import JobRow

Method = Literal["supervised", "dpo"]

SUFFIX_MOST = 63
ID_TAIL = 6
FEW = 20
"""Questions below which a model that is right on nine of ten may not pass the gate: decision 0024 has the rates."""
TUNED = "ft:"
TRAINING = ("fine-tune",)
JUDGING = ("evals", "fine-tune")
FORMATS: Mapping[str, tuple[str, ...]] = {"supervised": ("chat", "completion"), "dpo": ("preference",)}
RECIPES: Mapping[str, tuple[Recipe, ...]] = {"supervised": ("lora_sft", "qlora_sft"), "dpo": ("dpo",)}


@dataclass(frozen=True, slots=True)
class Step:
    """A job after a wish of its owner, and what its log says of it; None where the wish changed nothing."""

    row: JobRow
    message: str | None = None


def require_job(row: JobRow | None) -> JobRow:
    """The job, or that there is none: another org's job answers the same."""
    if row is None:
        raise NotFound("There is no such fine-tuning job.", param="fine_tuning_job_id")
    return row


def require_base(model: str, *, bases: Collection[str], own: bool) -> str:
    """A card that adapters can be trained for. `own`: the name is an adapter of the caller's org."""
    if model in bases:
        return model
    ways = f"Choose one of {', '.join(sorted(bases))}." if bases else "No engine of this stack loads adapters."
    if model.startswith(TUNED) or own:
        raise InvalidRequest(
            f"{model[:64]!r} is a fine-tuned model, and training starts at a base: train that again with more data."
            f" {ways}",
            param="model",
        )
    raise InvalidRequest(f"{model[:64]!r} cannot be fine-tuned. {ways}", param="model")


def require_suffix(suffix: str | None) -> None:
    """Part of a model's name, and an adapter's: the grammar of all names here. OpenAI allows 64 characters."""
    if suffix is not None and not is_name(suffix):
        raise InvalidRequest(
            f"suffix must be 1 to {SUFFIX_MOST} characters of a-z, 0-9, '.', '_' and '-', start with a letter or a"
            " digit, and hold no '..'.",
            param="suffix",
        )


def adapter_name(suffix: str | None, *, base: str, job: str) -> str:
    """What the adapter is called that comes out: the suffix, or else a name of its own."""
    return suffix or f"{base[: SUFFIX_MOST - ID_TAIL - 1]}-{job[-ID_TAIL:]}"


def require_adapter(name: str, *, base: str, taken: Collection[str], others: Iterable[str]) -> None:
    """Refuse a name that models have, or that the org uses on another base. `others`: the bases of its adapter of this
    name, and of open jobs that will make one.
    """
    if name in taken:
        raise InvalidRequest(
            f"A model of this stack is called {name!r}: choose another suffix.", code="already_exists", param="suffix"
        )
    for other in others:
        if other != base:
            raise InvalidRequest(
                f"Your org's adapter {name!r} stands on {other!r}: choose another suffix or that model, or delete that"
                " adapter first.",
                code="already_exists",
                param="suffix",
            )


def method_of(asked: Mapping[str, Any]) -> Method:
    """The method that a request means; supervised unless it says so."""
    return cast(Method, (asked.get("method") or {}).get("type", "supervised"))


def hyperparameters_of(asked: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """What a request says of hyperparameters, and where: in `method`, or in the place that was theirs once."""
    method = method_of(asked)
    other = next((name for name in FORMATS if name != method and (asked.get("method") or {}).get(name)), None)
    if other is not None:
        raise InvalidRequest(f"'method.{other}' does not belong to the method {method!r}.", param=f"method.{other}")
    told = ((asked.get("method") or {}).get(method) or {}).get("hyperparameters")
    old = asked.get("hyperparameters")
    if told and old:
        raise InvalidRequest(
            f"Send the hyperparameters once: in 'method.{method}.hyperparameters'.", param="hyperparameters"
        )
    if old:
        return old, "hyperparameters"
    return told or {}, f"method.{method}.hyperparameters"


def recipe_of(asked: Mapping[str, Any]) -> Recipe:
    """The recipe that a request means: the one that it names, or else its method's; with NF4 the quantized one."""
    method = method_of(asked)
    named = (asked.get("penstock") or {}).get("recipe")
    if named is None:
        quantized = hyperparameters_of(asked)[0].get("quantization") == "nf4"
        return "qlora_sft" if quantized and method == "supervised" else RECIPES[method][0]
    if named not in RECIPES[method]:
        raise InvalidRequest(
            f"The recipe {named!r} does not train by the method {method!r}: choose {' or '.join(RECIPES[method])}.",
            param="penstock.recipe",
        )
    return cast(Recipe, named)


def require_served(told: Asked, *, base: BaseModel, place: str) -> None:
    """Refuse now what the base's engine would refuse after the training. `place`: of the hyperparameters."""
    if told.lora_rank != "auto" and told.lora_rank > base.max_rank:
        raise InvalidRequest(
            f"Invalid value for '{place}.lora_rank': engines of {base.id!r} take adapters up to rank {base.max_rank}.",
            param=f"{place}.lora_rank",
        )
    for name in () if told.target_modules == "auto" else told.target_modules:
        if name not in base.modules:
            raise InvalidRequest(
                f"Invalid value for '{place}.target_modules': engines of {base.id!r} adapt {', '.join(base.modules)}.",
                param=f"{place}.target_modules",
            )


def rule_of(asked: Mapping[str, Any], floor: GateFloor) -> GateRule:
    """The gate's rule for a job: its own thresholds, no laxer than the floor, which may have been raised since.

    Raises `InvalidRequest` for a threshold that there is not, or cannot be.
    """
    return floor.under(_own_rule(asked))


def require_rule(asked: Mapping[str, Any], floor: GateFloor) -> None:
    """Refuse a threshold that a job names and that is laxer than the floor; what it leaves open is held to it."""
    own, held = _own_rule(asked), rule_of(asked, floor)
    for name in own.model_fields_set:
        least = getattr(held, name)
        if getattr(own, name) != least:
            wrong = "not the judge of this stack" if name == "judge" else "laxer than this stack admits"
            bound = json.dumps(least) if name == "judge" else f"{json.dumps(least)}, or stricter"
            raise InvalidRequest(f"'penstock.gate.{name}' is {wrong}: {bound}.", param=f"penstock.gate.{name}")


def require_release(ours: Mapping[str, Any]) -> None:
    """A canary has a weight, and nothing else has one."""
    if ours.get("canary_weight") is not None and ours.get("auto_promote") != "canary":
        raise InvalidRequest(
            "'penstock.canary_weight' belongs to 'penstock.auto_promote': 'canary'.", param="penstock.canary_weight"
        )


def require_file(row: FileRow | None, *, param: str, now: float, purposes: Sequence[str] = TRAINING) -> FileRow:
    """A file of the org that is there, and was checked for such a purpose."""
    if row is None or (row.expires_at is not None and row.expires_at <= now):
        raise NotFound("There is no such file.", param=param)
    if row.purpose not in purposes:
        raise InvalidRequest(
            f"The file {row.id!r} is for {row.purpose!r}: upload it with the purpose {purposes[0]!r}.", param=param
        )
    return row


def require_format(row: FileRow, *, method: Method, param: str) -> None:
    """A file with the examples that a method learns from."""
    found, wanted = row.facts.get("format"), FORMATS[method]
    if found not in wanted:
        raise InvalidRequest(
            f"The file {row.id!r} holds examples of the format {found!r}; the method {method!r} takes"
            f" {' or '.join(wanted)}.",
            param=param,
        )


def require_room(count: int, *, most: int) -> None:
    """One more job that has not ended."""
    if count >= most:
        raise InvalidRequest(f"Your org has {count} jobs that have not ended, which is the most: wait, or cancel one.")


def cancelled(row: JobRow, *, now: float) -> Step:
    """The job after its owner cancels it: at once, or, where a worker has it, as soon as that one obeys.

    A second wish changes nothing. Raises `InvalidRequest` for a job that has ended otherwise.
    """
    if row.status == "cancelled" or (row.status == "running" and row.wanted == "cancel"):
        return Step(row)
    _require_open(row, "cancel")
    if row.status == "running":
        return Step(replace(row, wanted="cancel"), "Its owner cancels the job: its worker ends after the current step.")
    return Step(_stepped(row, "cancelled", now=now, phase="done", finished_at=now), "The job is cancelled.")


def paused(row: JobRow, *, now: float) -> Step:
    """The job after its owner pauses it: at once, or when its worker has written a checkpoint, or its files are
    checked.
    """
    if row.status == "paused" or (row.status in ("running", "validating_files") and row.wanted == "pause"):
        return Step(row)
    _require_open(row, "pause")
    if row.wanted == "cancel":
        raise InvalidRequest(f"The job {row.id!r} is being cancelled, and cannot be paused any more.")
    match row.status:
        case "running":
            return Step(replace(row, wanted="pause"), "Its owner pauses the job: its worker ends at a checkpoint.")
        case "validating_files":
            return Step(replace(row, wanted="pause"), "Its owner pauses the job: it waits once its files are checked.")
    return Step(_stepped(row, "paused", now=now, phase="waiting"), "The job is paused.")


def resumed(row: JobRow, *, now: float) -> Step:
    """The job after its owner resumes it: queued, to go on at its last checkpoint, or behind its training."""
    if row.status in ("cancelled", "succeeded"):
        _require_open(row, "resume")
    if row.wanted is not None and row.status != "validating_files":
        word = "paused" if row.wanted == "pause" else "cancelled"
        raise InvalidRequest(f"The job {row.id!r} is being {word} just now: look at its status, then resume it.")
    if row.status == "validating_files" and row.wanted == "pause":
        return Step(replace(row, wanted=None), "Its owner resumes the job.")
    if row.status not in ("paused", "failed"):
        return Step(row)
    if row.order is None and (row.error or {}).get("code") == "invalid_data":
        raise InvalidRequest(
            f"The files of the job {row.id!r} cannot be used, and would not be now: make a new job with others."
        )
    before = "failed" if row.status == "failed" else "was paused"
    return Step(
        _stepped(row, "queued", now=now, phase="waiting", finished_at=None, error=None, worker=None),
        f"The job {before}; its owner resumes it at its last checkpoint.",
    )


def in_line(queued: Iterable[JobRow], running: Iterable[JobRow]) -> list[JobRow]:
    """Queued jobs in the order in which they get a trainer: an org's first before any org's second, and what an org has
    running counts; of equals, the older one.
    """
    taken = Counter(row.org for row in running)
    turns: list[tuple[int, float, str, JobRow]] = []
    for row in sorted(queued, key=lambda row: (row.created_at, row.id)):
        turns.append((taken[row.org], row.created_at, row.id, row))
        taken[row.org] += 1
    return [row for *_, row in sorted(turns, key=lambda turn: turn[:3])]


def place_of(job: str, line: Sequence[JobRow]) -> int | None:
    """Where a job stands in the queue, from 1; None where it does not wait there."""
    return next((at for at, row in enumerate(line, 1) if row.id == job), None)


def estimated_finish(row: JobRow, *, now: float) -> float | None:
    """When a training will end if its next steps take as long as those so far, in epoch seconds; None while nobody can
    know: before its first step, and where nothing runs.
    """
    if row.status != "running" or not row.steps or row.step <= 0:
        return None
    elapsed = row.trained_s or ((row.beat_at or now) - (row.started_at or now))
    return now + elapsed / row.step * max(0, row.steps - row.step)


def few_questions(count: int) -> str:
    """What the owner of a job is told whose gate has so few questions."""
    return (
        f"The gate has {count} questions: with fewer than {FEW} a good model can hardly be told from luck, and may not"
        " pass. Name a `golden_file` with more."
    )


def checkpoint_name(row: JobRow, step: int) -> str:
    """What the model of a checkpoint is called."""
    return f"{public_name(row)}:ckpt-step-{step}"


def public_name(row: JobRow) -> str:
    """What the model of a job is called, or will be."""
    return row.fine_tuned_model or system_alias(row.base, row.org, suffix=row.asked.get("suffix"), job=row.id)


def cost_usd(row: JobRow, *, usd_per_million_tokens: float) -> float:
    """What the trained tokens cost so far, in USD."""
    return round((row.trained_tokens or 0) / 1e6 * usd_per_million_tokens, 6)


def _own_rule(asked: Mapping[str, Any]) -> GateRule:
    try:
        return GateRule.model_validate(dict((asked.get("penstock") or {}).get("gate") or {}))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = f"penstock.gate.{str(first['loc'][0])[:32]}"
        if first["type"] == "extra_forbidden":
            known = ", ".join(GateRule.model_fields)
            raise InvalidRequest(
                f"Unknown parameter: '{name}'. There are {known}.", code="unknown_parameter", param=name
            ) from error
        raise InvalidRequest(f"Invalid value for '{name}': {first['msg']}.", param=name) from error


def _require_open(row: JobRow, wish: str) -> None:
    if row.status in ENDED:
        raise InvalidRequest(f"The job {row.id!r} has ended as {row.status!r}: there is nothing to {wish}.")


def _stepped(row: JobRow, status: Status, *, now: float, **values: Any) -> JobRow:
    require_step(row.status, status)
    return replace(row, **{"status": status, "state_at": now, "wanted": None, **values})
