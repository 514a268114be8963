"""The files of an adapter as they are opened and parsed: plain files only, and JSON that says each thing once."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from models.adapters.refusal import AdapterInvalid, shown


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A plain file, not buffered. `AdapterInvalid` for a link, a device or a pipe, also one that came a moment ago."""
    name = path.name
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise AdapterInvalid(f"{shown(name)} is missing. Put it into the folder.", param=name) from None
    except OSError as error:
        raise AdapterInvalid(f"{shown(name)} cannot be read: {error.strerror}.", param=name) from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise AdapterInvalid(f"{shown(name)} is not a plain file. Send plain files only.", param=name)
    with os.fdopen(handle, "rb", buffering=0) as file:
        yield file


def size_of(file: BinaryIO) -> int:
    """Bytes of an open file."""
    return os.fstat(file.fileno()).st_size


def read_whole(path: Path, *, at_most: int) -> bytes:
    """A small file. `AdapterInvalid` when it is larger than `at_most` bytes, whatever the system says of its size."""
    with opened(path) as file:
        raw = bytearray()
        while len(raw) <= at_most and (block := file.read(at_most + 1 - len(raw))):
            raw += block
    if len(raw) > at_most:
        raise AdapterInvalid(f"{shown(path.name)} is larger than {at_most:,} bytes.", param=path.name)
    return bytes(raw)


def parse_object(raw: bytes, *, name: str) -> dict[str, Any]:
    """A JSON object in UTF-8 without a key that stands twice, NaN or Infinity; else `AdapterInvalid` with `name`."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            seen: set[str] = set()
            twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            raise AdapterInvalid(f"{shown(name)} holds the key {shown(twice)} twice.", param=name)
        return found

    def no_number(word: str) -> NoReturn:
        raise AdapterInvalid(f"{shown(name)} holds {word}, which is not JSON.", param=name)

    try:
        found = json.loads(raw.decode(), object_pairs_hook=once, parse_constant=no_number)
    except (ValueError, RecursionError):
        raise AdapterInvalid(f"{shown(name)} is not JSON in UTF-8.", param=name) from None
    if not isinstance(found, dict):
        raise AdapterInvalid(f"{shown(name)} is not a JSON object.", param=name)
    return found
