"""What a model makes of a file: tokens, what is cut, what is learned. For whoever plans a training.

Owns the counting of files for one model, and its command: `python -m finetune.data.count FILE --model-folder FOLDER
--max-length N` prints `Counted` as one JSON object, or `{"error": …, "line": …}` with exit code 1. It is meant for a
process of its own: tokenising takes a core for as long as it takes.
"""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from finetune.data.check import Limits, examples_of, require_enough
from finetune.data.encode import Encoder
from finetune.data.examples import Example, Format, InvalidLine, Preference, format_of
from finetune.data.template import TemplateRefused
from models.errors import InvalidRequest, PenstockError


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of an example before it is cut; of a pair, of its longer side."""

    min: int
    median: int
    p95: int
    max: int


@dataclass(frozen=True, slots=True)
class Counted:
    """One file, for one model and one greatest length; no padding is counted.

    `tokens`: what the model reads in one pass, after the cut, of a pair both sides; `trained_tokens`: those of them
    that it learns to say; `cut`: examples that are longer than `max_length`; `left_out`: those of which nothing is left
    to learn. `validation` is None where there is no such file.
    """

    format: Format
    examples: int
    tokens: int
    trained_tokens: int
    cut: int
    left_out: int
    max_length: int
    lengths: Lengths
    validation: Counted | None = None


@dataclass(slots=True)
class Count:
    """Adds up examples, four bytes for each."""

    encoder: Encoder
    max_length: int
    lengths: array[int] = field(default_factory=lambda: array("I"))
    tokens: int = 0
    trained_tokens: int = 0
    cut: int = 0
    left_out: int = 0
    format: Format = "chat"

    def add(self, example: Example) -> None:
        """One more. `TemplateRefused` when the model's template has no place for it."""
        self.format = format_of(example)
        sequences = _sequences(self.encoder, example)
        longest = max(len(marks) for marks in sequences)
        self.lengths.append(longest)
        self.cut += longest > self.max_length
        learned = [sum(marks[1 : self.max_length]) for marks in sequences]
        if not all(learned):
            self.left_out += 1
            return
        self.tokens += sum(min(len(marks), self.max_length) for marks in sequences)
        self.trained_tokens += sum(learned)

    def result(self, validation: Counted | None = None) -> Counted:
        """What was added; raises `InvalidRequest` when there is nothing to learn in it."""
        if len(self.lengths) == self.left_out:
            raise InvalidRequest(
                f"No example has anything to learn within {self.max_length:,} tokens: allow for more.", param="file"
            )
        return Counted(
            self.format,
            len(self.lengths),
            self.tokens,
            self.trained_tokens,
            self.cut,
            self.left_out,
            self.max_length,
            lengths_of(self.lengths),
            validation,
        )


def counted(training: Path, validation: Path | None = None, *, model_folder: Path, max_length: int) -> Counted:
    """Both files, counted for the model in this folder, with examples cut at `max_length` tokens.

    Raises `InvalidLine` (also where the model's template refuses an example), `InvalidFile`, `ConfigurationError`.
    """
    encoder = Encoder.of(model_folder)
    others = None if validation is None else _counted(validation, encoder, max_length=max_length, least=1).result()
    return _counted(training, encoder, max_length=max_length, least=Limits().least).result(others)


def lengths_of(lengths: Iterable[int]) -> Lengths:
    """Of at least one example."""
    low, median, p95, high = np.percentile(np.asarray(lengths), (0, 50, 95, 100), method="nearest")
    return Lengths(int(low), int(median), int(p95), int(high))


def _counted(path: Path, encoder: Encoder, *, max_length: int, least: int) -> Count:
    limits, count = Limits(least=least), Count(encoder, max_length)
    for line, example in examples_of(path, limits=limits):
        if isinstance(example, InvalidLine):
            raise example
        try:
            count.add(example)
        except TemplateRefused as error:
            raise InvalidLine(line.number, error.public) from error
    require_enough(len(count.lengths), limits)
    return count


def _sequences(encoder: Encoder, example: Example) -> list[Sequence[bool]]:
    """What is learned of each sequence, token by token."""
    if not isinstance(example, Preference):
        return [encoder.encode(example).trained]
    pair = encoder.pair(example)
    return [[False] * len(pair.prompt) + [True] * len(answer) for answer in (pair.preferred, pair.rejected)]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = ArgumentParser(prog="python -m finetune.data.count", description="Count the tokens of training files.")
    parser.add_argument("training", type=Path)
    parser.add_argument("--validation", type=Path)
    parser.add_argument("--model-folder", type=Path, required=True)
    parser.add_argument("--max-length", type=int, required=True)
    asked = parser.parse_args(arguments)
    try:
        found = counted(asked.training, asked.validation, model_folder=asked.model_folder, max_length=asked.max_length)
    except PenstockError as error:
        _write({"error": error.public, "code": error.code, "line": getattr(error, "number", None)})
        return 1
    _write(asdict(found))
    return 0


def _write(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
