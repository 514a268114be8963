"""The accelerators that a profile can name, as data: memory and compute capability. Asks no driver anything."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from models.errors import ConfigurationError

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Gpu:
    """One model of GPU. `memory_bytes` is what the driver reports, `capability` is CUDA's, times ten."""

    name: str
    memory_bytes: int
    capability: int


@dataclass(frozen=True, slots=True)
class Device:
    """What an engine runs on: a CPU (`gpu` is None) or one or more GPUs of one model."""

    gpu: Gpu | None = None

    @property
    def is_cpu(self) -> bool:
        """Whether vLLM's CPU build serves."""
        return self.gpu is None


CPU = Device()

GPUS = MappingProxyType(
    {
        gpu.name: gpu
        for gpu in (
            Gpu("t4-16gb", 15360 * MIB, 75),
            Gpu("a10g-24gb", 23028 * MIB, 86),
            Gpu("rtx3090-24gb", 24576 * MIB, 86),
            Gpu("l4-24gb", 23034 * MIB, 89),
            Gpu("rtx4090-24gb", 24564 * MIB, 89),
            Gpu("l40s-48gb", 46068 * MIB, 89),
            Gpu("a100-40gb", 40960 * MIB, 80),
            Gpu("a100-80gb", 81920 * MIB, 80),
            Gpu("h100-80gb", 81559 * MIB, 90),
            Gpu("h200-141gb", 143771 * MIB, 90),
        )
    }
)


def device(gpu: str | None) -> Device:
    """The device a profile names; None is the CPU."""
    if gpu is None:
        return CPU
    try:
        return Device(GPUS[gpu])
    except KeyError:
        raise ConfigurationError(f"Unknown GPU {gpu!r}. Known: {', '.join(GPUS)}.", param="ray.gpu") from None
