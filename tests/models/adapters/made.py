"""Small adapters, good and bad, written by hand: no library between a test and the bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from models.adapters.foundation import BaseModel
from models.catalog.memory import ATTENTION_MODULES, module_shapes
from models.catalog.schema import Architecture

ARCHITECTURE = Architecture(
    num_layers=2,
    hidden_size=8,
    num_heads=2,
    num_kv_heads=1,
    head_dim=6,
    intermediate_size=20,
    vocab_size=32,
    max_position=64,
)
BASE = BaseModel(
    id="tiny",
    revision="a" * 40,
    names=frozenset({"tiny", "maker/tiny"}),
    architecture=ARCHITECTURE,
    max_rank=8,
    modules=tuple(module_shapes(ARCHITECTURE)),
    enabled=True,
)
EXPERTS = BaseModel(
    id="many",
    revision="b" * 40,
    names=frozenset({"many"}),
    architecture=ARCHITECTURE.model_copy(update={"num_experts": 4}),
    max_rank=8,
    modules=ATTENTION_MODULES,
    enabled=True,
)
SIZES = {"F32": 4, "F16": 2, "BF16": 2, "F64": 8, "U8": 1, "I64": 8, "F8_E4M3": 1, "BOOL": 1}

Tensors = dict[str, tuple[str, tuple[int, ...], bytes]]

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"


def tensor_name(module: str = "q_proj", *, layer: int = 0, side: str = "A") -> str:
    """A tensor as PEFT names it."""
    block = "self_attn" if module in ATTENTION_MODULES else "mlp"
    return f"base_model.model.model.layers.{layer}.{block}.{module}.lora_{side}.weight"


def numbers(shape: tuple[int, ...], dtype: str = "F32", *, seed: int = 0) -> tuple[str, tuple[int, ...], bytes]:
    """A tensor of small random numbers."""
    values = np.random.default_rng(seed).normal(0, 0.02, prod(shape)).astype("<f4")
    kinds = {"F32": values, "F16": values.astype("<f2"), "BF16": (values.view("<u4") >> 16).astype("<u2")}
    return dtype, shape, kinds[dtype].tobytes() if dtype in kinds else bytes(SIZES[dtype] * prod(shape))


def tensors(
    modules: tuple[str, ...] = ("q_proj", "down_proj"),
    *,
    base: BaseModel = BASE,
    rank: int = 4,
    layers: tuple[int, ...] = (0, 1),
    dtype: str = "F32",
) -> Tensors:
    """The tensors of an adapter on these modules of these layers."""
    found: Tensors = {}
    for layer in layers:
        for module in modules:
            width_in, width_out = module_shapes(base.architecture)[module]
            found[tensor_name(module, layer=layer, side="A")] = numbers((rank, width_in), dtype, seed=len(found))
            found[tensor_name(module, layer=layer, side="B")] = numbers((width_out, rank), dtype, seed=len(found))
    return found


def header_of(content: Tensors) -> dict[str, Any]:
    """The header of these tensors, one after the other."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    place = 0
    for name, (dtype, shape, data) in content.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [place, place + len(data)]}
        place += len(data)
    return header


def framed(header: bytes, data: bytes = b"", *, length: int | None = None) -> bytes:
    """A header behind its length, true or not, and the data."""
    return (len(header) if length is None else length).to_bytes(8, "little") + header + data


def safetensors(content: Tensors, header: Mapping[str, Any] | None = None) -> bytes:
    """A whole file; with another header than its own, if one is given."""
    text = json.dumps(header_of(content) if header is None else header)
    return framed(text.encode(), b"".join(data for _, _, data in content.values()))


def config(**changes: Any) -> dict[str, Any]:
    """What PEFT 0.21 writes for an adapter of `tensors()`."""
    return {
        "alora_invocation_tokens": None,
        "alpha_pattern": {},
        "arrow_config": None,
        "auto_mapping": None,
        "base_model_name_or_path": "maker/tiny",
        "bias": "none",
        "corda_config": None,
        "ensure_weight_tying": False,
        "eva_config": None,
        "exclude_modules": None,
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "layer_replication": None,
        "layers_pattern": None,
        "layers_to_transform": None,
        "loftq_config": {},
        "lora_alpha": 8,
        "lora_bias": False,
        "lora_dropout": 0.05,
        "megatron_config": None,
        "megatron_core": "megatron.core",
        "modules_to_save": None,
        "peft_type": "LORA",
        "peft_version": "0.21.2",
        "qalora_group_size": 16,
        "r": 4,
        "rank_pattern": {},
        "revision": None,
        "target_modules": ["q_proj", "down_proj"],
        "target_parameters": None,
        "task_type": "CAUSAL_LM",
        "trainable_token_indices": None,
        "use_dora": False,
        "use_qalora": False,
        "use_rslora": False,
        **changes,
    }


def adapter(
    folder: Path,
    *,
    settings: Mapping[str, Any] | bytes | None = None,
    weights: Tensors | bytes | None = None,
    files: Mapping[str, bytes] | None = None,
) -> Path:
    """A folder with an adapter, good unless told otherwise."""
    folder.mkdir(exist_ok=True)
    raw = settings if isinstance(settings, bytes) else json.dumps(config() if settings is None else settings).encode()
    (folder / CONFIG_FILE).write_bytes(raw)
    content = tensors() if weights is None else weights
    (folder / WEIGHTS_FILE).write_bytes(content if isinstance(content, bytes) else safetensors(content))
    for name, body in (files or {}).items():
        (folder / name).write_bytes(body)
    return folder
