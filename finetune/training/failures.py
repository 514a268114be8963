"""What ends a training, in words for the job's owner (edge: torch). Owns which exception is which failure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from finetune.order import TrainingFailed

CPU_MEMORY = "can't allocate memory"
"""Of torch's allocator for the CPU, which raises a plain `RuntimeError`."""


@contextmanager
def told_as_failures() -> Iterator[None]:
    """What is raised inside comes out as `TrainingFailed`; a mistake of ours stays what it is."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise _out_of_memory(error) from error
    except RuntimeError as error:
        if CPU_MEMORY in str(error):
            raise _out_of_memory(error) from error
        raise


def diverged(step: int, what: str) -> TrainingFailed:
    """The numbers are none any more; the weights are still those of the step before."""
    return TrainingFailed(
        "diverged", f"In step {step} the {what} is no finite number. Try a lower learning rate, or look at the data."
    )


def _out_of_memory(error: BaseException) -> TrainingFailed:
    return TrainingFailed(
        "out_of_memory",
        "The training does not fit into memory. Try a smaller max_length, the recipe 'qlora_sft', or a smaller model.",
        detail=str(error)[:500],
    )
