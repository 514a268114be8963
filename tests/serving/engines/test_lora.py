"""What the shelf asks of vLLM, and what vLLM's worker tells, without an engine: ids, names, errors, counts."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from serving.engines.adapters import AdapterRefused, Slots
from serving.engines.fake_lora import made_ref
from serving.engines.lora_slots import EXTENSION, READ, LoraSlots

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # those of vLLM, at import
    import torch
    from vllm.lora.ops.torch_ops import lora_ops
    from vllm.lora.punica_wrapper import punica_cpu
    from vllm.utils.import_utils import resolve_obj_by_qualname

    from serving.engines.lora import VllmLora

A, FOLDER = made_ref("a"), Path("/cache/a")


class Client:
    """vLLM's engine client: keeps what it is told, fails as told."""

    def __init__(self, *, fails: str | None = None, added: bool = True) -> None:
        self._fails, self._added = fails, added
        self.loaded: list[Any] = []
        self.removed: list[int] = []
        self.generated: list[Any] = []

    async def add_lora(self, request: Any) -> bool:
        if self._fails is not None:
            raise Exception(self._fails)
        self.loaded.append(request)
        return self._added

    async def remove_lora(self, number: int) -> bool:
        self.removed.append(number)
        return True

    async def generate(self, prompt: str, sampling: Any, *, request_id: str, lora_request: Any) -> AsyncIterator[str]:
        self.generated.append((request_id, sampling.max_tokens, lora_request))
        yield "r"

    async def collective_rpc(self, method: str) -> list[Any]:
        assert method == READ
        return [None if self._fails else {"slots": [3, None], "host": [3], "capacity": 4, "activations": 1, "loads": 1}]


def registry() -> Any:
    numbers = itertools.count(1)
    return SimpleNamespace(lora_requests={}, lora_id_counter=SimpleNamespace(inc=lambda _: next(numbers)))


async def test_a_name_is_known_with_its_weights_and_an_id_is_used_once() -> None:
    client, models = Client(), registry()
    lora = VllmLora(client, models)
    first = await lora.add(A, FOLDER)
    known = models.lora_requests[A.engine_name]
    assert (known.lora_int_id, known.lora_path, known.load_inplace) == (first, str(FOLDER), False)
    await lora.remove(A, first)
    assert (models.lora_requests, client.removed) == ({}, [first])
    assert await lora.add(A, FOLDER) != first


async def test_a_warm_up_is_one_token_with_the_adapter() -> None:
    client, models = Client(), registry()
    lora = VllmLora(client, models)
    await lora.add(A, FOLDER)
    await lora.warm(A)
    await lora.warm(A)
    assert [(tokens, request.lora_name) for _, tokens, request in client.generated] == [(1, A.engine_name)] * 2
    assert len({request_id for request_id, _, _ in client.generated}) == 2


async def test_what_the_engine_refuses_is_said_in_its_words_without_paths_and_no_name_is_left() -> None:
    models = registry()
    said = "Call to add_lora method failed: No adapter found for /cache/fetched/adapter/a"
    with pytest.raises(AdapterRefused) as caught:
        await VllmLora(Client(fails=said), models).add(A, FOLDER)
    assert caught.value.public == "No adapter found for ..."
    assert caught.value.detail == said
    assert models.lora_requests == {}


async def test_an_id_that_the_engine_has_already_is_no_load() -> None:
    models = registry()
    with pytest.raises(AdapterRefused, match="already"):
        await VllmLora(Client(added=False), models).add(A, FOLDER)
    assert models.lora_requests == {}


async def test_the_first_workers_word_counts_and_one_without_lora_has_none() -> None:
    assert await VllmLora(Client(), registry()).slots() == Slots((3, None), (3,), 4, activations=1, loads=1)
    with pytest.raises(AdapterRefused, match="without LoRA"):
        await VllmLora(Client(fails="x"), registry()).slots()


class Manager:
    """vLLM's holder of weights, as far as the worker's extension looks at it."""

    capacity = 4

    def __init__(self) -> None:
        self.lora_index_to_id: list[int | None] = [None, None]

    def list_adapters(self) -> dict[int, str]:
        return {number: "weights" for number in self.lora_index_to_id if number is not None}

    def activate_adapter(self, number: int) -> bool:
        if number in self.lora_index_to_id:
            return False
        self.lora_index_to_id[self.lora_index_to_id.index(None)] = number
        return True


class Loader:
    """vLLM's reader of adapters."""

    def __init__(self) -> None:
        self._adapter_manager = Manager()

    def _load_adapter(self, number: int) -> str:
        if number < 0:
            raise ValueError("damaged")
        return "weights"


class Worker(LoraSlots):
    """A worker with the extension among its bases."""

    def __init__(self, loader: Loader | None) -> None:
        self.model_runner = SimpleNamespace(lora_manager=loader) if loader else SimpleNamespace()


def test_a_worker_counts_what_it_copied_and_read_from_the_first_look_on() -> None:
    loader = Loader()
    worker = Worker(loader)
    assert worker.penstock_lora_slots() == {
        **{"slots": [None, None], "host": [], "capacity": 4, "activations": 0, "loads": 0},
    }
    for number in (7, 7, 8):
        loader._load_adapter(number)
        loader._adapter_manager.activate_adapter(number)
    with pytest.raises(ValueError, match="damaged"):
        loader._load_adapter(-1)
    told = worker.penstock_lora_slots()
    assert told == {"slots": [7, 8], "host": [7, 8], "capacity": 4, "activations": 2, "loads": 3}


def test_a_worker_without_lora_tells_nothing() -> None:
    assert Worker(None).penstock_lora_slots() is None


def added(shrink: Any, row: int) -> float:
    """What a row of this adapter index gets from an adapter in the last of two slots; the first one is empty."""
    first = torch.stack([torch.zeros(2, 3), torch.ones(2, 3)]).unsqueeze(1)
    second = torch.stack([torch.zeros(3, 2), torch.ones(3, 2)]).unsqueeze(1)
    rows, held, out = torch.tensor([1, row]), torch.zeros(2, 2), torch.zeros(2, 3)
    shrink(torch.ones(2, 3), first, held, rows, 1.0)
    lora_ops.bgmv_expand(held, second, out, rows)
    assert out[0].tolist() == [6.0] * 3, "the row of the adapter itself"
    return float(out[1].sum())


def test_a_row_of_the_base_model_gets_nothing_from_the_last_slot_once_the_kernel_is_mended() -> None:
    kernels = [lora_ops.bgmv_shrink, punica_cpu.bgmv_shrink]
    original = getattr(kernels[0], "__wrapped__", kernels[0])
    assert added(original, -1) > 0, "vLLM has mended it: serving/engines/lora_worker.py can go"
    for _ in range(2):
        assert resolve_obj_by_qualname(EXTENSION) is LoraSlots
    assert lora_ops.bgmv_shrink is punica_cpu.bgmv_shrink
    assert lora_ops.bgmv_shrink.__wrapped__ is original
    assert (added(lora_ops.bgmv_shrink, -1), added(lora_ops.bgmv_shrink, 1)) == (0.0, 18.0)
