"""Tensors of a micro batch (edge: torch). Owns how rows of examples become ids, labels and positions.

TRL's own padding-free collator lays a whole batch into one row and hands out lengths for flash attention; on a CPU,
and wherever attention is sdpa, one long row costs the square of its width, so rows are bounded here. There is no
attention mask on purpose: positions that begin anew are what makes transformers build a block-diagonal mask
(`find_packed_sequence_indices` in `transformers.masking_utils`). With a mask, or with a cache, it would not.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from finetune.training.corpus import Corpus
from finetune.training.packing import Row
from finetune.training.plan import Plan, Step

IGNORED = -100

Micro = dict[str, Tensor]
Batch = dict[str, object]
"""`micro`: a list of micro batches; `weight`: what they count together; `tokens`: theirs, padding aside."""


def packed_rows(corpus: Corpus, rows: Sequence[Row], *, pad: int) -> Micro:
    """`input_ids`, `labels` and `position_ids`, each [rows, tokens of the widest].

    A row's padding goes on with the positions of its last example, behind it, where no token looks.
    """
    width = max(sum(int(corpus.lengths[one]) for one in row) for row in rows)
    ids = np.full((len(rows), width), pad, dtype=np.int64)
    labels = np.full((len(rows), width), IGNORED, dtype=np.int64)
    positions = np.zeros((len(rows), width), dtype=np.int64)
    for number, row in enumerate(rows):
        at = 0
        for one in row:
            begin, end = corpus.starts[one], corpus.starts[one + 1]
            own = slice(at, at + int(end - begin))
            ids[number, own] = corpus.ids[begin:end]
            labels[number, own] = np.where(corpus.learned[begin:end], corpus.ids[begin:end], IGNORED)
            positions[number, at:] = np.arange(width - at)
            at = own.stop
    return {
        "input_ids": torch.from_numpy(ids),
        "labels": torch.from_numpy(labels),
        "position_ids": torch.from_numpy(positions),
    }


def pair_rows(corpus: Corpus, pairs: Sequence[int], *, pad: int) -> Micro:
    """What `DPOTrainer` reads: [2 x pairs, tokens of the longest], preferred answers before rejected ones."""
    rows = packed_rows(corpus, [*((2 * pair,) for pair in pairs), *((2 * pair + 1,) for pair in pairs)], pad=pad)
    lengths = [int(corpus.lengths[2 * pair + side]) for side in (0, 1) for pair in pairs]
    real = torch.arange(rows["input_ids"].shape[1])[None] < torch.tensor(lengths)[:, None]
    return {
        "input_ids": rows["input_ids"],
        "attention_mask": real.long(),
        "completion_mask": (rows["labels"] != IGNORED).long(),
    }


class ExampleSteps(Dataset):  # type: ignore[misc]
    """The plan's steps over single examples; a step weighs its learned tokens."""

    def __init__(self, corpus: Corpus, plan: Plan | Sequence[Step], *, pad: int) -> None:
        self._corpus, self._plan, self._pad = corpus, plan, pad

    def __len__(self) -> int:
        return len(self._plan)

    def __getitem__(self, number: int) -> Batch:
        step = self._plan[number]
        return {
            "micro": [packed_rows(self._corpus, rows, pad=self._pad) for rows in step.micro],
            "weight": self._corpus.learned_of(step.examples),
            "tokens": int(self._corpus.lengths[step.examples].sum()),
        }


class PairSteps(Dataset):  # type: ignore[misc]
    """The plan's steps over pairs; a step weighs its pairs."""

    def __init__(self, corpus: Corpus, plan: Plan | Sequence[Step], *, pad: int) -> None:
        self._corpus, self._plan, self._pad = corpus, plan, pad

    def __len__(self) -> int:
        return len(self._plan)

    def __getitem__(self, number: int) -> Batch:
        step = self._plan[number]
        pairs = step.examples
        return {
            "micro": [
                pair_rows(self._corpus, [one for row in rows for one in row], pad=self._pad) for rows in step.micro
            ],
            "weight": len(pairs),
            "tokens": sum(int(self._corpus.lengths[2 * one] + self._corpus.lengths[2 * one + 1]) for one in pairs),
        }


def pair_lengths(corpus: Corpus) -> list[int]:
    """Tokens of both sides of each pair: what a plan over pairs counts."""
    return (corpus.lengths[0::2] + corpus.lengths[1::2]).tolist()  # type: ignore[no-any-return]
