"""`adapter_config.json`: read strictly, refused where an engine would silently do something else, and written anew.

vLLM 0.29 reads `r`, `lora_alpha`, `use_rslora`, `bias`, `modules_to_save` and `use_dora` and ignores every other field
(`vllm/lora/peft_helper.py`); `tests/models/adapters/test_real_adapters.py` holds this file against it and against PEFT.
The fields of `READ`, `OF_BASE` and `TRAINING` may have values. Any other field, unserved or unknown, is dropped where
it is empty (null, false, 0, "", [] or {}), so that a new field of a newer PEFT does no harm, and refused where it is
not, because it would change what the adapter computes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from models.adapters.documents import parse_object
from models.adapters.foundation import BaseModel
from models.adapters.refusal import AdapterInvalid, shown

CONFIG_FILE = "adapter_config.json"
LONGEST_CONFIG = 64 * 2**10
MOST_ALPHA = 65_536
"""Far above any that was trained; a larger one makes infinite numbers of finite weights."""

INITS = (True, False, None, "gaussian", "eva", "orthogonal")
"""How A and B began. All others (pissa, olora, corda, loftq, lora_ga …) change the base as well, or the computation."""

TRAINING = frozenset({"inference_mode", "lora_dropout", "peft_version", "qalora_group_size"})
"""Of no effect when an adapter is served; dropped whatever they hold."""

UNSERVED = {
    "alora_invocation_tokens": "makes the adapter begin at certain tokens, which vLLM would ignore",
    "alpha_pattern": "gives single layers another alpha, which vLLM would ignore",
    "arrow_config": "mixes several adapters, which vLLM would ignore",
    "auto_mapping": "names classes to import; set 'task_type' to 'CAUSAL_LM' and remove it",
    "corda_config": "belongs to an initialisation that changes the base",
    "eva_config": "belongs to the training; remove it",
    "exclude_modules": "leaves modules out by name; list what is adapted in 'target_modules'",
    "fan_in_fan_out": "says that the weights are transposed, which vLLM would ignore",
    "layer_replication": "repeats layers of the base, which vLLM would ignore",
    "loftq_config": "belongs to an initialisation that changes the base",
    "lora_bias": "adds a bias, which vLLM does not serve",
    "lora_ga_config": "belongs to an initialisation that changes the base",
    "megatron_config": "names code of another library",
    "modules_to_save": "replaces whole modules of the base, which vLLM does not serve",
    "rank_pattern": "gives single layers another rank, whose scale vLLM would get wrong",
    "target_parameters": "names tensors of the base beside its projections, which are not served",
    "trainable_token_indices": "changes the embeddings of tokens, which vLLM would ignore",
    "use_bdlora": "is another method than LoRA, which vLLM does not serve",
    "use_dora": "is another method than LoRA, which vLLM does not serve",
    "use_qalora": "is another method than LoRA, which vLLM does not serve",
}


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    """What an adapter's configuration says; `layers` is None where it does not limit them."""

    rank: int
    alpha: int | float
    rslora: bool
    target_modules: tuple[str, ...]
    layers: frozenset[int] | None


def read_config(raw: bytes, base: BaseModel) -> AdapterConfig:
    """The configuration of an adapter of this base; `AdapterInvalid` names the first field that cannot be."""
    fields = parse_object(raw, name=CONFIG_FILE)
    for name, value in fields.items():
        if name not in READ and name not in OF_BASE and name not in TRAINING and value:
            _refuse(name, UNSERVED.get(name, f"is {shown(value)}, a field that is not known; remove it"))
    reads = READ | {name: partial(read, base=base) for name, read in OF_BASE.items()}
    for name, read in reads.items():
        if (problem := read(fields.get(name))) is not None:
            _refuse(name, problem)
    rank, alpha = fields["r"], fields["lora_alpha"]
    return AdapterConfig(
        rank=rank,
        alpha=int(alpha) if alpha == int(alpha) else alpha,
        rslora=bool(fields.get("use_rslora")),
        target_modules=tuple(sorted(set(fields["target_modules"]))),
        layers=_layers(fields.get("layers_to_transform")),
    )


def rebuilt(config: AdapterConfig, base: BaseModel) -> dict[str, Any]:
    """The configuration that is published: nothing of the sender's but numbers and names that are known."""
    return {
        "base_model_name_or_path": base.id,
        "bias": "none",
        "inference_mode": True,
        "lora_alpha": config.alpha,
        "peft_type": "LORA",
        "r": config.rank,
        "revision": base.revision,
        "target_modules": sorted(config.target_modules),
        "task_type": "CAUSAL_LM",
        "use_rslora": config.rslora,
    }


def _refuse(field: str, problem: str) -> None:
    raise AdapterInvalid(f"{CONFIG_FILE}: {shown(field)} {problem}.", param=field)


def _peft_type(value: Any) -> str | None:
    return None if value == "LORA" else f"is {shown(value)}; only 'LORA' is served"


def _base_name(value: Any, *, base: BaseModel) -> str | None:
    if isinstance(value, str) and value in base.names:
        return None
    return f"is {shown(value)}, which is not the base {base.id!r}; train on that base, or say {base.id!r} if it was"


def _revision(value: Any, *, base: BaseModel) -> str | None:
    if value in (None, base.revision):
        return None
    return f"is {shown(value)}; {base.id!r} is served at {base.revision!r}"


def _rank(value: Any, *, base: BaseModel) -> str | None:
    if type(value) is not int or value < 1:
        return f"is {shown(value)}, not a whole number of 1 or more"
    return None if value <= base.max_rank else f"is {value}; {base.id!r} is served with ranks up to {base.max_rank}"


def _alpha(value: Any) -> str | None:
    if type(value) in (int, float) and 0 < value <= MOST_ALPHA and math.isfinite(value):
        return None
    return f"is {shown(value)}, not a number above 0 and at most {MOST_ALPHA:,}"


def _targets(value: Any) -> str | None:
    if isinstance(value, list) and value and all(isinstance(name, str) for name in value):
        return None
    return f"is {shown(value)}; list the names of the modules, as PEFT does when it saves"


def _flag(value: Any) -> str | None:
    return None if value in (None, True, False) else f"is {shown(value)}, neither true nor false"


def _bias(value: Any) -> str | None:
    return None if value in (None, "none") else f"is {shown(value)}; vLLM serves no bias"


def _task(value: Any) -> str | None:
    return None if value in (None, "CAUSAL_LM") else f"is {shown(value)}; only 'CAUSAL_LM' is served"


def _init(value: Any) -> str | None:
    if any(value is known or (isinstance(known, str) and value == known) for known in INITS):
        return None
    return f"is {shown(value)}, which changes the base; save the adapter converted to plain LoRA"


def _layer_numbers(value: Any) -> str | None:
    numbers = [value] if type(value) is int else value
    if value is None or (isinstance(numbers, list) and all(type(number) is int for number in numbers)):
        return None
    return f"is {shown(value)}, not a list of layers"


def _layer_pattern(value: Any) -> str | None:
    return None if not value or value in ("layers", ["layers"]) else f"is {shown(value)}; it can only be 'layers'"


def _megatron(value: Any) -> str | None:
    return None if value in (None, "", "megatron.core") else f"is {shown(value)}, the name of other code"


def _layers(value: int | list[int] | None) -> frozenset[int] | None:
    numbers = [value] if isinstance(value, int) else value
    return frozenset(numbers) if numbers else None


READ: dict[str, Callable[[Any], str | None]] = {
    "peft_type": _peft_type,
    "lora_alpha": _alpha,
    "target_modules": _targets,
    "use_rslora": _flag,
    "bias": _bias,
    "task_type": _task,
    "init_lora_weights": _init,
    "layers_to_transform": _layer_numbers,
    "layers_pattern": _layer_pattern,
    "megatron_core": _megatron,
}
"""Field → what is wrong with a value of it, or None; the value of a field that is missing is None."""

OF_BASE = {"base_model_name_or_path": _base_name, "revision": _revision, "r": _rank}
"""The same for fields that are held against the base."""
