"""Checkpoints: a flat folder that holds all there is to go on, bit by bit (edge: torch, peft, safetensors).

Numbers lie in safetensors, all else in JSON: nothing here can be code when it is read. A folder is written under a
name that nobody reads and renamed when it is whole. Owns the files; not when one is written (`course.py`).
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor

from finetune.order import TrainingFailed

ADAPTER = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
BEST = "best_model.safetensors"
OPTIMIZER = "optimizer.safetensors"
RANDOM = "random.safetensors"
STATE = "state.json"
TRAINER = "trainer_state.json"
"""As transformers' Trainer names it, which counts the steps by it."""

DRAFT = ".draft-"


def adapter_weights(model: Any) -> dict[str, Tensor]:
    """A copy of the adapter's tensors, on the CPU, under PEFT's names."""
    found = get_peft_model_state_dict(model)
    return {name: value.detach().to("cpu", copy=True).contiguous() for name, value in found.items()}


def write_adapter(model: Any, folder: Path, *, base: Path) -> None:
    """PEFT's two files: the weights, and a configuration of known fields in JSON."""
    config = model.peft_config["default"]
    save_file(adapter_weights(model), folder / ADAPTER, metadata={"format": "pt"})
    known = {
        "base_model_name_or_path": str(base),
        "bias": "none",
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": config.lora_alpha,
        "lora_dropout": config.lora_dropout,
        "peft_type": "LORA",
        "r": config.r,
        "target_modules": sorted(config.target_modules),
        "task_type": "CAUSAL_LM",
        "use_dora": config.use_dora,
        "use_rslora": config.use_rslora,
    }
    (folder / CONFIG).write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")


def load_weights(model: Any, weights: Mapping[str, Tensor]) -> None:
    """Put them in the adapter's place."""
    set_peft_model_state_dict(model, dict(weights))


def save(
    trainer: Any, folder: Path, *, base: Path, best: Mapping[str, Tensor] | None, course: Mapping[str, Any]
) -> Path:
    """A checkpoint of this moment as `folder`/step-…, an adapter of `base` as well; `course` are the figures of
    whoever leads the training.
    """
    step = trainer.state.global_step
    place = folder / f"step-{step:07}"
    draft = folder / f"{DRAFT}{place.name}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    write_adapter(trainer.model, draft, base=base)
    if best is not None:
        save_file(dict(best), draft / BEST)
    optimizer = trainer.optimizer.state_dict()
    tensors = {f"{index}.{name}": value for index, one in optimizer["state"].items() for name, value in one.items()}
    save_file({name: value.detach().to("cpu").contiguous() for name, value in tensors.items()}, draft / OPTIMIZER)
    save_file(_random_tensors(), draft / RANDOM)
    state = {
        "course": dict(course),
        "groups": optimizer["param_groups"],
        "schedule": trainer.lr_scheduler.state_dict(),
        "python_random": random.getstate(),
    }
    (draft / STATE).write_text(json.dumps(state))
    trainer.state.save_to_json(str(draft / TRAINER))
    _flush(draft)
    shutil.rmtree(place, ignore_errors=True)
    draft.rename(place)
    return place


def clear(folder: Path, *, but: Path | None = None) -> None:
    """Remove drafts, and the checkpoints that nobody took away, all but one."""
    for one in folder.glob("step-*") if but is not None else ():
        if one != but:
            shutil.rmtree(one, ignore_errors=True)
    for one in folder.glob(f"{DRAFT}*"):
        shutil.rmtree(one, ignore_errors=True)


def course_of(folder: Path) -> dict[str, Any]:
    """What `save` was given as `course`. `TrainingFailed` when the folder is no whole checkpoint."""
    try:
        found: dict[str, Any] = json.loads((folder / STATE).read_text())["course"]
        for name in (ADAPTER, OPTIMIZER, RANDOM, TRAINER):
            (folder / name).stat()
    except (OSError, ValueError, KeyError) as error:
        raise TrainingFailed("internal_error", "The checkpoint is not complete.", detail=str(error)) from error
    return found


def step_of(folder: Path) -> int:
    """The step behind which it was written."""
    return int(json.loads((folder / TRAINER).read_text())["global_step"])


def best_of(folder: Path) -> dict[str, Tensor] | None:
    """The weights of the best look so far, if there was one."""
    return dict(load_file(folder / BEST)) if (folder / BEST).exists() else None


def load_adapter(model: Any, folder: Path) -> None:
    """The adapter's weights."""
    load_weights(model, load_file(folder / ADAPTER))


def load_optimizer(optimizer: Any, schedule: Any, *, folder: Path) -> None:
    """Moments, groups and the schedule's place."""
    written = json.loads((folder / STATE).read_text())
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in load_file(folder / OPTIMIZER).items():
        index, _, field = name.partition(".")
        moments.setdefault(int(index), {})[field] = value
    optimizer.load_state_dict({"state": moments, "param_groups": written["groups"]})
    schedule.load_state_dict(written["schedule"])


def load_random(folder: Path) -> None:
    """Every generator where it was."""
    version, inner, gauss = json.loads((folder / STATE).read_text())["python_random"]
    random.setstate((version, tuple(inner), gauss))
    found = load_file(folder / RANDOM)
    torch.random.set_rng_state(found["cpu"])
    place, has_gauss = found["numpy_place"].tolist()
    keys = found["numpy"].numpy().astype(np.uint32)
    np.random.set_state(("MT19937", keys, place, has_gauss, float(found["numpy_gauss"])))
    if torch.cuda.is_available() and "cuda" in found:
        torch.cuda.random.set_rng_state(found["cuda"])


def _random_tensors() -> dict[str, Tensor]:
    _, keys, place, has_gauss, gauss = np.random.get_state()
    found = {
        "cpu": torch.random.get_rng_state(),
        "numpy": torch.from_numpy(np.asarray(keys).astype(np.int64)),
        "numpy_place": torch.tensor([place, has_gauss]),
        "numpy_gauss": torch.tensor(gauss, dtype=torch.float64),
    }
    if torch.cuda.is_available():
        found["cuda"] = torch.cuda.random.get_rng_state()
    return found


def _flush(folder: Path) -> None:
    """Onto the disk before the name says that it is whole."""
    for path in (*folder.iterdir(), folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
