"""A training file as a whole: what it is, how many examples it holds, and that every line is one of the same format.

Owns the reading line by line, in memory for one line, and what is refused before any line is: other encodings, packed
files, too few examples. Does not own what a line may hold (`examples`), nor what a model makes of it (`count`).

The check runs in a thread of a gateway, whose loop wants the interpreter meanwhile. No step keeps it long: a line
is at most 1 MiB, of which `models.strict_json` says the same; between lines the thread rests for `REST_S` whenever
it has worked for `WORK_S`, so that the loop need not wait for a switch each time.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from finetune.data.examples import BOM, Completion, Example, Format, InvalidLine, format_of, parse_line, turns_of
from models.errors import InvalidRequest

WORK_S, REST_S = 0.005, 0.001
TELL_EVERY_BYTES = 2**20

Heard = Callable[[int], None]
"""Told now and then how many bytes are read. What it raises ends the check."""

_MAGIC: Mapping[bytes, str] = MappingProxyType(
    {
        b"\xff\xfe": "UTF-16 or UTF-32",
        b"\xfe\xff": "UTF-16",
        b"\x00\x00\xfe\xff": "UTF-32",
        b"PK\x03\x04": "a zip archive",
        b"PK\x05\x06": "a zip archive",
        b"\x1f\x8b": "a gzip file",
        b"\x28\xb5\x2f\xfd": "a zstd file",
        b"BZh": "a bzip2 file",
        b"\xfd7zXZ\x00": "an xz file",
        b"PAR1": "a Parquet file",
        b"%PDF": "a PDF file",
    }
)
_HEAD_BYTES = 64


class InvalidFile(InvalidRequest):
    """A file that is no training file, whatever its lines hold."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem, param="file")


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What a valid file holds. `messages`: how many of each role, in inputs and outputs; `tools`: examples with any;
    `longest_line_bytes` is without the line's end.
    """

    format: Format
    examples: int
    bytes: int
    longest_line_bytes: int
    messages: dict[str, int] = field(default_factory=dict)
    tools: int = 0


@dataclass(frozen=True, slots=True)
class Limits:
    """What a file may be: bytes of a line, and how many examples it has at least."""

    max_line_bytes: int = 2**20
    least: int = 10


@dataclass(frozen=True, slots=True)
class Line:
    """A line that holds something: its number from 1, its bytes without its end, and where in the file it ends."""

    number: int
    raw: bytes
    end: int


def check_file(path: Path, *, limits: Limits | None = None, heard: Heard | None = None) -> FileFacts:
    """The facts of a file in which every line is an example.

    Raises `InvalidLine` for the first line that is none or of another format, `InvalidFile` for what is no text in
    UTF-8, empty, or too short. Blocks: for threads.
    """
    limits = limits or Limits()
    tally = Tally()
    for line in lines_of(path, limits=limits, heard=heard):
        tally.add(_parsed(line, limits, tally=tally), line)
    require_enough(tally.examples, limits)
    return tally.facts(path.stat().st_size)


def examples_of(
    path: Path, *, limits: Limits | None = None, heard: Heard | None = None
) -> Iterator[tuple[Line, Example | InvalidLine]]:
    """Every line, with its example or with what is wrong with it; raises `InvalidFile` for no text at all."""
    limits = limits or Limits()
    tally = Tally()
    for line in lines_of(path, limits=limits, heard=heard):
        try:
            example = _parsed(line, limits, tally=tally)
        except InvalidLine as problem:
            yield line, problem
            continue
        tally.add(example, line)
        yield line, example


def lines_of(path: Path, *, limits: Limits, heard: Heard | None = None) -> Iterator[Line]:
    """The lines that hold something. Of one that is too long only the first `max_line_bytes` + 1 bytes are kept."""
    with path.open("rb") as file:
        _require_text(file)
        pace, told, number = _Pace(), 0, 0
        while raw := file.readline(limits.max_line_bytes + 8):  # with its end, and a BOM
            number += 1
            if not raw.endswith(b"\n"):
                _skip_rest(file)
            text = (raw.removeprefix(BOM) if number == 1 else raw).rstrip(b"\r\n")
            if text.strip():
                yield Line(number, text, file.tell())
            if heard is not None and file.tell() - told >= TELL_EVERY_BYTES:
                told = file.tell()
                heard(told)
            pace.rest()


def require_enough(examples: int, limits: Limits) -> None:
    """Refuse a file of too few examples."""
    if not examples:
        raise InvalidFile("The file holds no example: write one JSON object per line.")
    if examples < limits.least:
        raise InvalidFile(f"The file holds {examples} examples; at least {limits.least} are needed.")


@dataclass(slots=True)
class Tally:
    """Counts examples of one format."""

    format: Format | None = None
    examples: int = 0
    longest: int = 0
    tools: int = 0
    messages: Counter[str] = field(default_factory=Counter)

    def add(self, example: Example, line: Line) -> None:
        """Another example, of this format."""
        self.format = format_of(example)
        self.examples += 1
        self.longest = max(self.longest, len(line.raw))
        if isinstance(example, Completion):
            return
        self.tools += example.tools is not None
        self.messages.update(message["role"] for message in turns_of(example))

    def facts(self, size: int) -> FileFacts:
        """Of a file of so many bytes. There must have been an example."""
        if self.format is None:
            raise ValueError("nothing was counted")
        return FileFacts(self.format, self.examples, size, self.longest, dict(self.messages), self.tools)


class _Pace:
    """Rests after work. `time.sleep` gives the interpreter away at once."""

    def __init__(self) -> None:
        self._since = time.monotonic()

    def rest(self) -> None:
        if time.monotonic() - self._since >= WORK_S:
            time.sleep(REST_S)
            self._since = time.monotonic()


def _parsed(line: Line, limits: Limits, *, tally: Tally) -> Example:
    if len(line.raw) > limits.max_line_bytes:
        raise InvalidLine(line.number, f"it is longer than {limits.max_line_bytes:,} bytes.")
    example = parse_line(line.raw, line.number)
    if tally.format is not None and format_of(example) != tally.format:
        raise InvalidLine(
            line.number,
            f"it is a {format_of(example)} example in a file of {tally.format} examples: one format per file.",
        )
    return example


def _require_text(file: BinaryIO) -> None:
    """Look at the first bytes and go back: packed files are told by them, and never opened."""
    head = file.read(_HEAD_BYTES)
    file.seek(0)
    if not head.removeprefix(BOM):
        raise InvalidFile("The file is empty: write one JSON object per line.")
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            raise InvalidFile(f"The file is {kind}; only JSON lines in UTF-8, not packed, are read.")
    if b"\0" in head:
        raise InvalidFile("The file holds NUL bytes, as UTF-16 and binary files do; only JSON lines in UTF-8 are read.")


def _skip_rest(file: BinaryIO) -> None:
    """Go to the end of a line without keeping it."""
    while (more := file.readline(2**16)) and not more.endswith(b"\n"):
        continue
