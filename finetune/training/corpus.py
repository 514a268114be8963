"""The examples of a file as arrays: token ids, and which of them are learned. No torch.

Owns reading and cutting. Does not parse a line (`finetune.data.examples`) or know a template (`finetune.data.encode`).
Five bytes a token, whatever the number of examples.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from finetune.data.encode import Encoder
from finetune.data.examples import Example, InvalidLine, Preference, parse_line
from finetune.data.template import TemplateRefused
from finetune.order import Reporter, TrainingFailed, TrainingOrder
from models.errors import ConfigurationError

Sequence_ = tuple[Sequence[int], Sequence[bool]]
"""Token ids of one sequence, and which of them are learned."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """Sequences one behind the other: number i has the tokens `starts[i]` … `starts[i + 1]` of `ids` and `learned`.

    `cut` of the examples were longer than allowed; `left_out` had nothing to learn (any more) and are not here.
    """

    ids: NDArray[np.int32]
    learned: NDArray[np.bool_]
    starts: NDArray[np.int64]
    cut: int = 0
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each sequence."""
        return np.diff(self.starts)

    @property
    def digest(self) -> str:
        """Equal for equal data; SHA-256, 64 digits."""
        return sha256(self.ids.tobytes() + self.learned.tobytes() + self.starts.tobytes()).hexdigest()

    def learned_of(self, examples: Sequence[int]) -> int:
        """Tokens that count in the loss."""
        return sum(int(self.learned[self.starts[one] : self.starts[one + 1]].sum()) for one in examples)


def encoder_of(base: Path) -> Encoder:
    """The base's own. `TrainingFailed` (model_unavailable) when its tokenizer cannot be read."""
    try:
        return Encoder.of(base)
    except ConfigurationError as error:
        raise TrainingFailed("model_unavailable", error.public, detail=error.detail or "") from error


def digest_of(order: TrainingOrder, *data: Corpus | None) -> str:
    """Equal for trainings of equal data, numbers, seed and device: such as can go on with each other's checkpoints."""
    numbers = order.hyperparameters.model_dump_json()
    parts = [numbers, str(order.seed), order.device, order.recipe, *(one.digest if one else "" for one in data)]
    return sha256("\n".join(parts).encode()).hexdigest()


def examples_of(file: Path, encoder: Encoder, *, longest: int, reporter: Reporter | None = None) -> Corpus:
    """Chats and completions; a first token is never learned, since nothing foretells it.

    `TrainingFailed` (invalid_data) names the line that is no such example, or says that nothing is left to learn.
    """

    def encode(example: Example, number: int) -> list[Sequence_]:
        if isinstance(example, Preference):
            raise _invalid(number, "is a preference; this recipe learns from chats and completions")
        encoded = encoder.encode(example)
        return [(encoded.ids, encoded.trained)]

    return _told(collected(_lines(file, encode), longest=longest), longest, reporter=reporter)


def pairs_of(file: Path, encoder: Encoder, *, longest: int, reporter: Reporter | None = None) -> Corpus:
    """Preferences: pair i is the sequences 2 i (preferred) and 2 i + 1 (rejected), of which the answers are learned."""

    def encode(example: Example, number: int) -> list[Sequence_]:
        if not isinstance(example, Preference):
            raise _invalid(number, "is no preference; this recipe learns from pairs")
        pair = encoder.pair(example)
        return [
            ([*pair.prompt, *answer], [False] * len(pair.prompt) + [True] * len(answer))
            for answer in (pair.preferred, pair.rejected)
        ]

    return _told(collected(_lines(file, encode), longest=longest), longest, reporter=reporter)


def collected(examples: Iterable[list[Sequence_]], *, longest: int) -> Corpus:
    """Arrays of examples of one sequence or more, all cut to `longest` tokens, or all left out."""
    ids, learned, starts = array("i"), array("b"), array("q", [0])
    cut = left_out = 0
    for sequences in examples:
        cut += any(len(tokens) > longest for tokens, _ in sequences)
        short = [(tokens[:longest], [False, *marks[1:longest]]) for tokens, marks in sequences]
        if not all(any(marks) for _, marks in short):
            left_out += 1
            continue
        for tokens, marks in short:
            ids.extend(tokens)
            learned.extend(marks)
            starts.append(len(ids))
    if len(starts) == 1:
        raise TrainingFailed("invalid_data", f"No example has anything to learn within {longest} tokens.")
    return Corpus(
        np.frombuffer(ids, dtype=np.int32),
        np.frombuffer(learned, dtype=np.bool_),
        np.frombuffer(starts, dtype=np.int64),
        cut,
        left_out,
    )


def _told(corpus: Corpus, longest: int, *, reporter: Reporter | None) -> Corpus:
    if reporter is not None and corpus.cut:
        reporter.event(f"{corpus.cut:,} examples were longer than {longest:,} tokens and are cut.", level="warn")
    if reporter is not None and corpus.left_out:
        reporter.event(f"{corpus.left_out:,} examples have nothing to learn and are left out.", level="warn")
    return corpus


def _lines(file: Path, encode: Callable[[Example, int], list[Sequence_]]) -> Iterator[list[Sequence_]]:
    try:
        with file.open("rb") as lines:
            yield from (_encoded(raw, number, encode=encode) for number, raw in enumerate(lines, 1) if raw.strip())
    except OSError as error:
        raise TrainingFailed("invalid_data", "The file cannot be read.", detail=str(error)) from error


def _encoded(raw: bytes, number: int, *, encode: Callable[[Example, int], list[Sequence_]]) -> list[Sequence_]:
    try:
        return encode(parse_line(raw, number), number)
    except InvalidLine as error:
        raise TrainingFailed("invalid_data", error.public, line=number) from error
    except TemplateRefused as error:
        raise TrainingFailed("invalid_data", f"line {number}: {error}", line=number) from error


def _invalid(number: int, problem: str) -> TrainingFailed:
    return TrainingFailed("invalid_data", f"line {number}: it {problem}.", line=number)
