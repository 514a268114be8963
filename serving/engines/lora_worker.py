"""What vLLM's worker is told to take as its extension: `LoraSlots`, given out once vLLM's kernels for CPUs are mended.

There, a row of the base model has the adapter index -1, which PyTorch reads as the last one: as soon as every slot is
taken, callers of the base model get the last slot's adapter, silently, whenever a call with an adapter shares their
batch (vllm-project/vllm#48421, open). GPUs have kernels of their own, which skip such rows. vLLM asks for `Extension`
before it loads, and perhaps compiles, the model. Edge file: imports vLLM.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from importlib import import_module
from typing import Any

from vllm.lora.ops.torch_ops import lora_ops
from vllm.platforms import current_platform

from serving.engines.lora_slots import LoraSlots

Shrink = Callable[..., None]

USERS = ("vllm.lora.ops.torch_ops", "vllm.lora.punica_wrapper.punica_cpu")  # they hold the kernel by its name


def __getattr__(name: str) -> Any:
    if name != "Extension":
        raise AttributeError(name)
    if current_platform.is_cpu():
        mend_kernels()
    return LoraSlots


def mend_kernels() -> None:
    """Replace the kernel wherever vLLM looks it up; a second time changes nothing."""
    if hasattr(lora_ops.bgmv_shrink, "__wrapped__"):
        return
    mended = skipping(lora_ops.bgmv_shrink)
    for module in (lora_ops, *map(import_module, USERS)):
        module.bgmv_shrink = mended


def skipping(shrink: Shrink) -> Shrink:
    """The first half of an adapter's product, nothing for rows without one: the second half then adds nothing."""

    @wraps(shrink)
    def bgmv_shrink(*values: Any) -> None:
        shrink(*values)
        _inputs, _weights, output, rows, *_scaling = values
        output.masked_fill_((rows < 0).unsqueeze(1), 0)

    return bgmv_shrink
