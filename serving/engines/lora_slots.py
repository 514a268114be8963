"""What a vLLM worker says of its adapters: which lie in slots, which in host memory, how often either was filled.

vLLM counts none of this. The class below becomes a base of the worker's class (engine argument `worker_extension_cls`),
in the engine core's process on a CPU and in the worker's process elsewhere, and is asked by `collective_rpc`. It must
import where vLLM runs and needs nothing of it; names begin with `penstock_`, so that none of the worker's is hidden.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

EXTENSION = "serving.engines.lora_worker.Extension"
READ = "penstock_lora_slots"


class LoraSlots:
    """A base of vLLM's worker class. Never made by itself."""

    def penstock_lora_slots(self) -> dict[str, Any] | None:
        """`slots` (adapter id or None for each slot), `host` (ids in host memory) and its `capacity`, and since the
        first call `activations` (weights copied into a slot) and `loads` (adapters read from disk).

        None where the engine has no LoRA. The first call, before any adapter is there, starts the counts.
        """
        loader = getattr(getattr(self, "model_runner", None), "lora_manager", None)
        if loader is None:
            return None
        manager = loader._adapter_manager
        counts = loader.__dict__.get("penstock_counts")
        if counts is None:
            counts = loader.penstock_counts = {"activations": 0, "loads": 0}
            loader._load_adapter = _counted(loader._load_adapter, counts, name="loads")
            manager.activate_adapter = _counted(manager.activate_adapter, counts, name="activations")
        host = list(manager.list_adapters())
        return {"slots": list(manager.lora_index_to_id), "host": host, "capacity": manager.capacity, **counts}


def _counted(method: Callable[..., Any], counts: dict[str, int], *, name: str) -> Callable[..., Any]:
    """The method, counting the calls that did something: False is vLLM's word for one that did not."""

    def called(*values: Any, **named: Any) -> Any:
        result = method(*values, **named)
        counts[name] += result is not False
        return result

    return called
