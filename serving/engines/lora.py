"""The shelf's `LoraEngine` on vLLM: its engine client for the weights, its model registry for the names.

Never loads in place and never uses an id twice: vLLM tells weights apart by id and prefix-cache blocks by name alone.
Edge file: imports vLLM.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, TypeVar

from vllm import SamplingParams
from vllm.lora.request import LoRARequest

from models.adapters.names import AdapterRef
from serving.engines.adapters import AdapterRefused, Slots
from serving.engines.failures import cleaned
from serving.engines.lora_slots import READ

T = TypeVar("T")

WARM_UP = SamplingParams(max_tokens=1, temperature=0.0)
CALL = "method failed: "  # what vLLM puts before a worker's own words


class VllmLora:
    """One engine. `models` is the `openai_serving_models` of its HTTP application's state."""

    def __init__(self, client: Any, models: Any) -> None:
        self._client = client
        self._models = models

    async def add(self, ref: AdapterRef, folder: Path) -> int:
        """Load into host memory and a slot; the files are read once. A bad adapter does not hurt the engine."""
        number: int = self._models.lora_id_counter.inc(1)
        request = LoRARequest(lora_name=ref.engine_name, lora_int_id=number, lora_path=str(folder))
        if not await _told(self._client.add_lora(request)):
            raise AdapterRefused("the engine has one of this id already")
        self._models.lora_requests[ref.engine_name] = request
        return number

    async def warm(self, ref: AdapterRef) -> None:
        """One token, past the door and its slots."""
        await _told(self._generate(self._models.lora_requests[ref.engine_name]))

    async def remove(self, ref: AdapterRef, number: int) -> None:
        """The name first, so that no request can begin."""
        self._models.lora_requests.pop(ref.engine_name, None)
        await _told(self._client.remove_lora(number))

    async def slots(self) -> Slots:
        """The first worker's word: all of them hold the same adapters."""
        told, *_ = await _told(self._client.collective_rpc(READ))
        if told is None:
            raise AdapterRefused("the engine runs without LoRA")
        return Slots(
            slots=tuple(told["slots"]),
            host=tuple(told["host"]),
            capacity=told["capacity"],
            activations=told["activations"],
            loads=told["loads"],
        )

    async def _generate(self, request: LoRARequest) -> None:
        name = f"warm-up-{uuid.uuid4().hex}"
        async for _ in self._client.generate("ready", WARM_UP, request_id=name, lora_request=request):
            pass


async def _told(work: Awaitable[T]) -> T:
    """vLLM passes a worker's error on as a bare `Exception` with its text."""
    try:
        return await work
    except Exception as error:
        why = cleaned(str(error).rpartition(CALL)[2]) or type(error).__name__
        raise AdapterRefused(why, detail=str(error)) from error
