"""Bytes per worker: weights, KV cache and adapter slots of a card, from its architecture alone.

Estimates for refusing the impossible before a start, not a replacement of the engine's own profiling run. Sizes are
those of the worker that holds most: layers that do not divide evenly over the pipeline are rounded up.
"""

from __future__ import annotations

from dataclasses import dataclass

from models.catalog.schema import Architecture, ModelCard

GIB = 2**30

# CUDA context, graphs and the activation peak of one prefill step; vLLM counts them inside its memory share.
OVERHEAD_BYTES = GIB

ATTENTION_MODULES = ("q_proj", "k_proj", "v_proj", "o_proj")
MLP_MODULES = ("gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True, slots=True)
class Shards:
    """How one replica is cut: each layer over `tensor` workers, the stack of layers into `pipeline` stages."""

    tensor: int = 1
    pipeline: int = 1

    @property
    def workers(self) -> int:
        """GPUs of one replica."""
        return self.tensor * self.pipeline

    def layers(self, architecture: Architecture) -> int:
        """Layers of the longest stage."""
        return -(-architecture.num_layers // self.pipeline)


def weight_bytes(card: ModelCard, shards: Shards) -> int:
    """Weights that one worker holds."""
    layers = card.architecture.num_layers
    return -(-card.weight_bytes * shards.layers(card.architecture) // (layers * shards.tensor))


def kv_bytes_per_token(architecture: Architecture, shards: Shards, *, value_bytes: int | None = None) -> int:
    """KV cache of one token in one worker: a key and a value per layer and KV head. KV heads are never split."""
    heads = max(1, architecture.num_kv_heads // shards.tensor)
    value = value_bytes or architecture.dtype_bytes
    return 2 * shards.layers(architecture) * heads * architecture.head_dim * value


def lora_bytes(
    card: ModelCard, shards: Shards, *, slots: int, rank: int, modules: tuple[str, ...] | None = None
) -> int:
    """Adapter slots of one worker: vLLM reserves rank × (in + out) values per module, layer and slot at the start."""
    widths = _module_widths(card.architecture)
    chosen = widths if modules is None else {name: widths[name] for name in modules if name in widths}
    return slots * rank * sum(chosen.values()) * shards.layers(card.architecture) * card.architecture.dtype_bytes


def module_shapes(architecture: Architecture) -> dict[str, tuple[int, int]]:
    """The projections of one layer: name → (values in, values out); those of the MLP once per expert."""
    hidden, mlp = architecture.hidden_size, architecture.intermediate_size
    query = architecture.num_heads * architecture.head_dim
    key = architecture.num_kv_heads * architecture.head_dim
    attention = {"q_proj": (hidden, query), "k_proj": (hidden, key), "v_proj": (hidden, key), "o_proj": (query, hidden)}
    return attention | {"gate_proj": (hidden, mlp), "up_proj": (hidden, mlp), "down_proj": (mlp, hidden)}


def _module_widths(architecture: Architecture) -> dict[str, int]:
    times = dict.fromkeys(MLP_MODULES, architecture.num_experts)
    return {name: sum(shape) * times.get(name, 1) for name, shape in module_shapes(architecture).items()}
