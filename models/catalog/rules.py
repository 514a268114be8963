"""The rule table: what cannot work, found before anything starts. A card is data, a rule is a function.

Each rule looks at one `Setup` and yields refusals that name the field. Pure: no vLLM, no GPU, no hub. Facts of
vLLM 0.29 stand here as numbers with their reason; `tests/models/catalog` holds them against the installed vLLM.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from models.catalog import memory
from models.catalog.arguments import FORBIDDEN_OVERRIDES, engine_arguments
from models.catalog.devices import Device
from models.catalog.schema import ModelCard
from models.errors import ConfigurationError

LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
CPU_HEAD_DIMS = (32, 64, 80, 96, 112, 128, 160, 192, 224, 256, 512)
CPU_QUANTIZATIONS = frozenset({"none", "awq", "gptq", "compressed-tensors"})
# Least CUDA compute capability, times ten. vLLM 0.29 has no bitsandbytes loader any more: no GPU runs it.
GPU_CAPABILITY = {"none": 0, "gptq": 60, "compressed-tensors": 70, "awq": 75, "fp8": 75}
BFLOAT16_CAPABILITY = 80  # vLLM's CUDA platform refuses the type below Ampere; `auto` falls back to float16 there
DEFAULT_MEMORY_SHARE = 0.92
WHOLE_NUMBERS = frozenset(
    {
        "max_model_len",
        "tensor_parallel_size",
        "pipeline_parallel_size",
        "max_lora_rank",
        "max_loras",
        "max_cpu_loras",
        "kv_cache_memory_bytes",
    }
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Something impossible: the card, the field to change, and why."""

    card: str
    field: str
    reason: str

    def __str__(self) -> str:
        return f"Card {self.card!r}: {self.field}: {self.reason}"


@dataclass(frozen=True)
class Setup:
    """One engine as it would start: a card, what the profile sets over it, and the device."""

    card: ModelCard
    device: Device
    overrides: Mapping[str, Any]

    @property
    def arguments(self) -> dict[str, Any]:
        """The engine arguments, overrides applied."""
        return engine_arguments(self.card, self.overrides)

    @property
    def shards(self) -> memory.Shards:
        """How one replica is cut."""
        arguments = self.arguments
        return memory.Shards(arguments.get("tensor_parallel_size", 1), arguments.get("pipeline_parallel_size", 1))

    def refuse(self, field: str, reason: str) -> Refusal:
        """A refusal of this card."""
        return Refusal(self.card.id, field, reason)


Rule = Callable[[Setup], Iterator[Refusal]]


def numbers_are_numbers(setup: Setup) -> Iterator[Refusal]:
    """The arguments that the other rules calculate with. Runs first, alone."""
    for name in WHOLE_NUMBERS & setup.arguments.keys():
        value = setup.arguments[name]
        if type(value) is not int or value < 1:
            yield setup.refuse(f"engine_args.{name}", f"{value!r} is not a whole number of 1 or more")
    share = setup.arguments.get("gpu_memory_utilization", DEFAULT_MEMORY_SHARE)
    if not isinstance(share, int | float) or not 0 < share <= 1:
        yield setup.refuse("engine_args.gpu_memory_utilization", f"{share!r} is not above 0 and at most 1")


def overrides_stay_in_bounds(setup: Setup) -> Iterator[Refusal]:
    """A profile tunes an engine; it changes neither what runs nor whether the checkpoint may bring code."""
    for name in sorted(FORBIDDEN_OVERRIDES & setup.overrides.keys()):
        yield setup.refuse(f"engine_args.{name}", "belongs to the card and may not be overridden by a profile")


def quantization_runs_on_device(setup: Setup) -> Iterator[Refusal]:
    """The device has kernels for the card's weights."""
    method = setup.card.quantization.method
    gpu = setup.device.gpu
    if gpu is None:
        if method not in CPU_QUANTIZATIONS:
            yield setup.refuse("quantization.method", f"vLLM's CPU build does not run {method!r}")
    elif method not in GPU_CAPABILITY:
        yield setup.refuse("quantization.method", f"vLLM has no loader for {method!r}; take awq, gptq or fp8 weights")
    elif gpu.capability < GPU_CAPABILITY[method]:
        yield setup.refuse("quantization.method", f"{method!r} needs a newer GPU than {gpu.name!r}")


def dtype_runs_on_device(setup: Setup) -> Iterator[Refusal]:
    """The device calculates in the type that is asked for."""
    gpu, dtype = setup.device.gpu, setup.arguments.get("dtype")
    if gpu is not None and dtype == "bfloat16" and gpu.capability < BFLOAT16_CAPABILITY:
        yield setup.refuse("engine_args.dtype", f"{gpu.name!r} has no bfloat16; take auto or float16")


def head_dim_runs_on_cpu(setup: Setup) -> Iterator[Refusal]:
    """vLLM's CPU attention knows a fixed list of head sizes, none below 32."""
    head_dim = setup.card.architecture.head_dim
    if setup.device.is_cpu and head_dim not in CPU_HEAD_DIMS:
        yield setup.refuse("architecture.head_dim", f"{head_dim} is not among the CPU's {CPU_HEAD_DIMS}")


def heads_divide_over_tensor_parallel(setup: Setup) -> Iterator[Refusal]:
    """Every worker holds the same number of heads; KV heads are divided, or each is copied the same number of times."""
    size, architecture = setup.shards.tensor, setup.card.architecture
    field = "engine_args.tensor_parallel_size"
    if architecture.num_heads % size:
        yield setup.refuse(field, f"{architecture.num_heads} heads do not divide by {size}")
    more, fewer = max(architecture.num_kv_heads, size), min(architecture.num_kv_heads, size)
    if more % fewer:
        yield setup.refuse(field, f"{architecture.num_kv_heads} KV heads and {size} workers do not divide evenly")


def shards_keep_quantization_blocks(setup: Setup) -> Iterator[Refusal]:
    """A worker's slice of the MLP holds whole blocks of one scale. With expert parallelism experts stay whole."""
    size, block = setup.shards.tensor, setup.card.quantization.block
    width = setup.card.architecture.intermediate_size
    if setup.card.architecture.num_experts > 1 and setup.arguments.get("enable_expert_parallel"):
        return
    if width % (size * block):
        reason = f"a slice of {width}/{size} cuts through blocks of {block} weights that share one scale"
        yield setup.refuse("engine_args.tensor_parallel_size", reason)


def layers_fill_the_pipeline(setup: Setup) -> Iterator[Refusal]:
    """Every pipeline stage holds at least one layer."""
    stages, layers = setup.shards.pipeline, setup.card.architecture.num_layers
    if stages > layers:
        yield setup.refuse("engine_args.pipeline_parallel_size", f"{stages} stages for {layers} layers")


def context_is_within_positions(setup: Setup) -> Iterator[Refusal]:
    """The checkpoint knows that many positions."""
    context, positions = setup.arguments["max_model_len"], setup.card.architecture.max_position
    if context > positions:
        field = "engine_args.max_model_len" if "max_model_len" in setup.overrides else "context"
        yield setup.refuse(field, f"{context} tokens, the checkpoint knows {positions} positions")


def lora_rank_is_known(setup: Setup) -> Iterator[Refusal]:
    """vLLM has kernels for these ranks only."""
    rank = setup.arguments.get("max_lora_rank", LORA_RANKS[0])
    if rank not in LORA_RANKS:
        field = "engine_args.max_lora_rank" if "max_lora_rank" in setup.overrides else "lora.max_rank"
        yield setup.refuse(field, f"{rank} is not among {LORA_RANKS}")


def host_memory_holds_the_slots(setup: Setup) -> Iterator[Refusal]:
    """vLLM keeps every adapter of a slot in host memory too."""
    slots, held = setup.arguments.get("max_loras", 1), setup.arguments.get("max_cpu_loras")
    if held is not None and held < slots:
        yield setup.refuse("engine_args.max_cpu_loras", f"{held} are fewer than the {slots} of max_loras")


def kv_cache_holds_one_sequence(setup: Setup) -> Iterator[Refusal]:
    """A KV cache of a fixed size takes at least one request of the full context."""
    size = setup.arguments.get("kv_cache_memory_bytes")
    needed = kv_cache_bytes(setup)
    if size is not None and size < needed:
        yield setup.refuse("engine_args.kv_cache_memory_bytes", f"{size:,} bytes, one full context needs {needed:,}")


def fits_the_gpu(setup: Setup) -> Iterator[Refusal]:
    """Weights, adapter slots, the KV cache and the overhead fit the engine's share of each GPU."""
    gpu = setup.device.gpu
    if gpu is None:
        return
    share = setup.arguments.get("gpu_memory_utilization", DEFAULT_MEMORY_SHARE)
    budget, needed = int(gpu.memory_bytes * share), worker_bytes(setup)
    if needed > budget:
        reason = f"needs {needed / memory.GIB:.1f} GiB per GPU, {share:g} of {gpu.name!r} is {budget / memory.GIB:.1f}"
        yield setup.refuse("engine_args.gpu_memory_utilization", reason)


RULES: tuple[Rule, ...] = (
    overrides_stay_in_bounds,
    quantization_runs_on_device,
    dtype_runs_on_device,
    head_dim_runs_on_cpu,
    heads_divide_over_tensor_parallel,
    shards_keep_quantization_blocks,
    layers_fill_the_pipeline,
    context_is_within_positions,
    lora_rank_is_known,
    host_memory_holds_the_slots,
    kv_cache_holds_one_sequence,
    fits_the_gpu,
)


def kv_cache_bytes(setup: Setup) -> int:
    """KV cache of one request of the full context, in one worker."""
    narrow = 1 if str(setup.arguments.get("kv_cache_dtype", "auto")).startswith("fp8") else None
    per_token = memory.kv_bytes_per_token(setup.card.architecture, setup.shards, value_bytes=narrow)
    return per_token * int(setup.arguments["max_model_len"])


def worker_bytes(setup: Setup) -> int:
    """What one worker must hold before it takes its first request. A KV cache of a fixed size is taken whole."""
    arguments, slots = setup.arguments, 0
    if arguments.get("enable_lora"):
        targets = arguments.get("lora_target_modules")
        slots = memory.lora_bytes(
            setup.card,
            setup.shards,
            slots=arguments.get("max_loras", 1),
            rank=arguments.get("max_lora_rank", 16),
            modules=None if targets is None else tuple(targets),
        )
    weights = memory.weight_bytes(setup.card, setup.shards)
    cache = int(arguments.get("kv_cache_memory_bytes") or kv_cache_bytes(setup))
    return weights + slots + cache + memory.OVERHEAD_BYTES


def check(card: ModelCard, device: Device, *, overrides: Mapping[str, Any] | None = None) -> list[Refusal]:
    """Every refusal of every rule; empty when the engine may start."""
    setup = Setup(card, device, overrides or {})
    if nonsense := list(numbers_are_numbers(setup)):
        return nonsense
    return [refusal for rule in RULES for refusal in rule(setup)]


def require(refusals: list[Refusal]) -> None:
    """Refuse at load, with every reason."""
    if refusals:
        sentences = "; ".join(str(refusal) for refusal in refusals)
        raise ConfigurationError(f"{sentences}.", param=refusals[0].field)
