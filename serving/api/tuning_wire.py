"""Fine-tuning jobs, events and checkpoints as JSON, and the shape of a request for one. Owns the shapes alone.

What OpenAI's SDK reads is spelled as it expects; `penstock` holds what is ours. No path of the server is in them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from serving.api.checks import Check, integer, invalid, members, number, one_of, string
from serving.api.parameters import check_metadata, check_model
from serving.store.jobs import CheckpointRow, EventRow, JobRow
from serving.tuning import job_rules
from serving.tuning.finish import shown
from serving.tuning.jobs import Seen

OPENAI_HYPERPARAMETERS = ("n_epochs", "batch_size", "learning_rate_multiplier")
MOST_HOURS = 24 * 366
MOST_USD = 10**9

_FILE = string(64, shortest=1)


def _object(value: Any, param: str) -> None:
    if type(value) is not dict:
        raise invalid(param, "an object")


def _way(value: Any, param: str) -> None:
    members(value, param, checks={"hyperparameters": _object})


def _method(value: Any, param: str) -> None:
    members(value, param, checks=_METHOD, required=("type",))


def _integrations(value: Any, param: str) -> None:
    """None: the gateway calls no address that a client names."""
    if value != []:
        raise invalid(param, "no integration: this stack calls nobody. Read the job's events instead")


def _ours(value: Any, param: str) -> None:
    members(value, param, checks=_PENSTOCK)


_METHOD: Mapping[str, Check] = MappingProxyType({"type": one_of("supervised", "dpo"), "supervised": _way, "dpo": _way})
_PENSTOCK: Mapping[str, Check] = MappingProxyType(
    {
        "recipe": one_of("lora_sft", "qlora_sft", "dpo"),
        "golden_file": _FILE,
        "regression_file": _FILE,
        "gate": _object,
        "auto_promote": one_of("none", "canary", "promote"),
        "canary_weight": number(0, 99, above_low=True),
        "max_cost_usd": number(0, MOST_USD, above_low=True),
        "max_hours": number(0, MOST_HOURS, above_low=True),
    }
)
CREATE: Mapping[str, Check] = MappingProxyType(
    {
        "model": check_model,
        "training_file": _FILE,
        "validation_file": _FILE,
        "method": _method,
        "hyperparameters": _object,
        "seed": integer(0, 2**31 - 1),
        "suffix": string(256),  # its grammar has a sentence of its own, in `job_rules`
        "metadata": check_metadata,
        "integrations": _integrations,
        "penstock": _ours,
    }
)
"""The fields of a new job: of hyperparameters and of the gate's bounds, what is inside is checked by their owners."""


def checked(body: dict[str, Any]) -> dict[str, Any]:
    """The body of a new job, its shape as it must be."""
    members(body, "", checks=CREATE, required=("model", "training_file"))
    return body


def shown_job(seen: Seen) -> dict[str, Any]:
    """A job."""
    row, method = seen.row, job_rules.method_of(seen.row.asked)
    hyperparameters = _hyperparameters(row)
    return {
        "object": "fine_tuning.job",
        "id": row.id,
        "created_at": int(row.created_at),
        "finished_at": _whole(row.finished_at),
        "estimated_finish": _whole(seen.finish),
        "status": row.status,
        "model": row.base,
        "fine_tuned_model": row.fine_tuned_model,
        "organization_id": row.org,
        "training_file": row.training_file,
        "validation_file": row.validation_file,
        "result_files": list(row.result_files),
        "trained_tokens": row.trained_tokens if row.finished_at is not None else None,
        "hyperparameters": {name: hyperparameters.get(name, "auto") for name in OPENAI_HYPERPARAMETERS},
        "method": {"type": method, method: {"hyperparameters": hyperparameters}},
        "seed": row.asked["seed"],
        "suffix": row.asked.get("suffix"),
        "metadata": row.asked.get("metadata"),
        "integrations": [],
        "error": _error(row.error),
        "penstock": _shown_ours(seen),
    }


def shown_event(row: EventRow) -> dict[str, Any]:
    """What happened to a job. `created_at` is in whole seconds, as OpenAI's; `penstock.at` is when it was, exactly."""
    return {
        "object": "fine_tuning.job.event",
        "id": f"ftevent-{row.id}",
        "created_at": int(row.at),
        "level": row.level,
        "type": row.type,
        "message": row.message,
        "data": row.data,
        "penstock": {"at": row.at},
    }


def shown_checkpoint(job: JobRow, row: CheckpointRow) -> dict[str, Any]:
    """A checkpoint. Its model is served where `penstock.adapter_version` names a version of the adapter."""
    return {
        "object": "fine_tuning.job.checkpoint",
        "id": checkpoint_id(job.id, row.step),
        "created_at": int(row.at),
        "fine_tuning_job_id": job.id,
        "fine_tuned_model_checkpoint": job_rules.checkpoint_name(job, row.step),
        "step_number": row.step,
        "metrics": {**shown(row.metrics), "step": row.step},
        "penstock": {"adapter": job.adapter, "adapter_version": row.adapter_version, "digest": row.digest},
    }


def checkpoint_id(job: str, step: int) -> str:
    """What a checkpoint is called in lists."""
    return f"ftckpt-{job.removeprefix('ftjob-')}-{step}"


def _hyperparameters(row: JobRow) -> dict[str, Any]:
    """What was asked for, over it what was chosen."""
    asked = dict.fromkeys(OPENAI_HYPERPARAMETERS, "auto")
    chosen = (row.order or {}).get("hyperparameters", row.order or {})
    told, _ = job_rules.hyperparameters_of(row.asked)
    return {**asked, **{name: value for name, value in told.items() if value is not None}, **chosen}


def _shown_ours(seen: Seen) -> dict[str, Any]:
    row = seen.row
    return {
        **(row.asked.get("penstock") or {}),
        "recipe": job_rules.recipe_of(row.asked),
        "phase": row.phase,
        "wanted": row.wanted,
        "queue_position": seen.place,
        "attempt": row.attempt,
        "step": row.step,
        "steps": row.steps,
        "trained_tokens": row.trained_tokens,
        "trained_s": row.trained_s,
        "cost_usd": seen.cost_usd,
        "adapter": row.adapter,
        "adapter_version": row.adapter_version,
        "report": None if row.report is None else _words(row.report),
    }


def _words(report: Mapping[str, Any]) -> dict[str, Any]:
    """What of a report fits on a line; all of it is at `…/report`."""
    return {name: value for name, value in report.items() if not isinstance(value, (list, dict))}


def _error(error: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if error is None:
        return None
    return {"code": error.get("code"), "message": error.get("message"), "param": error.get("param")}


def _whole(at: float | None) -> int | None:
    return None if at is None else int(at)
