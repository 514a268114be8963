"""Reads safetensors strictly, without the library and before an engine maps anything: the header, then the numbers.

Owns what a file of adapter weights may look like; which tensors belong into one is `check`. The file is read in blocks
and never mapped: a file that shrinks under a mapping would kill the process that looks at it.
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from models.adapters.documents import opened, parse_object, size_of
from models.adapters.refusal import AdapterInvalid, shown

LONGEST_HEADER = 2 * 2**20
"""A 126-layer adapter on every projection has 0.4 MB; parsing an evil header of this size takes some 60 MB."""

LENGTH_BYTES = 8
MOST_DIMENSIONS = 8
BLOCK_BYTES = 4 * 2**20


class Layout(NamedTuple):
    """Of one number: its bytes, the unsigned type of its bits, and the bits that are all set in NaN and Infinity."""

    size: int
    bits: str
    exponent: int


LAYOUTS: dict[str, Layout] = {
    "F32": Layout(4, "<u4", 0x7F80_0000),
    "F16": Layout(2, "<u2", 0x7C00),
    "BF16": Layout(2, "<u2", 0x7F80),
}


class Tensor(NamedTuple):
    """One tensor as the header has it; `begin` and `end` are offsets in the file, in bytes."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read_header(path: Path) -> dict[str, Tensor]:
    """Name → tensor, in the order of the file, of a file that is exactly its header and its tensors.

    `AdapterInvalid` names the file, or the tensor that cannot be. Reads the header alone.
    """
    with opened(path) as file:
        size = size_of(file)
        length = _length(file, path.name, size=size)
        raw = _exactly(file, path.name, count=length)
    if not raw.startswith(b"{"):
        raise AdapterInvalid(f"{shown(path.name)} is not a safetensors file.", param=path.name)
    header = parse_object(raw, name=path.name)
    _require_text(header.pop("__metadata__", {}), path.name)
    data = LENGTH_BYTES + length
    found = {name: _tensor(name, entry, data=data) for name, entry in header.items()}
    ordered = dict(sorted(found.items(), key=lambda item: item[1].begin))
    _require_whole(ordered, path.name, data=data, size=size)
    return ordered


def require_finite(path: Path, tensors: dict[str, Tensor]) -> None:
    """`AdapterInvalid` with the first tensor that holds a NaN or an Infinity. Needs a few megabytes for any file."""
    block = bytearray(BLOCK_BYTES)
    with opened(path) as file:
        for name, tensor in tensors.items():
            file.seek(tensor.begin)
            _require_finite(file, path.name, tensor=(name, tensor), block=block)


def _length(file: BinaryIO, name: str, *, size: int) -> int:
    length = int.from_bytes(_exactly(file, name, count=LENGTH_BYTES), "little")
    if length > LONGEST_HEADER:
        raise AdapterInvalid(
            f"{shown(name)} is not a safetensors file of an adapter: its header would have {length:,} bytes,"
            f" {LONGEST_HEADER:,} are admitted.",
            param=name,
        )
    if length > size - LENGTH_BYTES:
        raise AdapterInvalid(f"{shown(name)} is not whole: it ends inside its header.", param=name)
    return length


def _exactly(file: BinaryIO, name: str, *, count: int) -> bytes:
    """The next bytes. The size was asked before, so fewer mean that the file is short or became so."""
    raw = bytearray()
    while len(raw) < count and (block := file.read(count - len(raw))):
        raw += block
    if len(raw) < count:
        raise AdapterInvalid(f"{shown(name)} is not whole: it ends after {len(raw):,} bytes.", param=name)
    return bytes(raw)


def _require_text(metadata: object, name: str) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise AdapterInvalid(f"The '__metadata__' of {shown(name)} may hold texts only.", param=name)


def _tensor(name: str, entry: Any, *, data: int) -> Tensor:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise AdapterInvalid(f"Tensor {shown(name)} needs 'dtype', 'shape' and 'data_offsets' alone.", param=name)
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in LAYOUTS:
        raise AdapterInvalid(
            f"Tensor {shown(name)} is of type {shown(dtype)}. Save it as {', '.join(LAYOUTS)}.", param=name
        )
    if not (_are_counts(shape, least=1) and 1 <= len(shape) <= MOST_DIMENSIONS):
        raise AdapterInvalid(
            f"Tensor {shown(name)} has the shape {shown(shape)}; sizes are whole numbers of 1 or more.", param=name
        )
    if not (_are_counts(offsets, least=0) and len(offsets) == 2):
        raise AdapterInvalid(f"Tensor {shown(name)} lies at {shown(offsets)}, which is no place.", param=name)
    return Tensor(dtype, tuple(shape), data + offsets[0], data + offsets[1])


def _are_counts(values: Any, *, least: int) -> bool:
    """Whether this is a list of whole numbers that a file could have."""
    return isinstance(values, list) and all(type(value) is int and least <= value < 2**48 for value in values)


def _require_whole(tensors: dict[str, Tensor], name: str, *, data: int, size: int) -> None:
    """One tensor after the other, from the end of the header to the end of the file."""
    if not tensors:
        raise AdapterInvalid(f"{shown(name)} holds no tensor.", param=name)
    place = data
    for key, tensor in tensors.items():
        if tensor.begin != place:
            raise AdapterInvalid(f"Tensor {shown(key)} does not begin where the one before ends.", param=key)
        if tensor.end > size:
            raise AdapterInvalid(f"Tensor {shown(key)} ends behind the end of the file.", param=key)
        if tensor.end - tensor.begin != prod(tensor.shape) * LAYOUTS[tensor.dtype].size:
            raise AdapterInvalid(f"Tensor {shown(key)} has not the bytes of its type and shape.", param=key)
        place = tensor.end
    if place != size:
        raise AdapterInvalid(f"{shown(name)} holds {size - place:,} bytes behind its last tensor.", param=name)


def _require_finite(file: BinaryIO, name: str, *, tensor: tuple[str, Tensor], block: bytearray) -> None:
    key, facts = tensor
    layout, left, window = LAYOUTS[facts.dtype], facts.end - facts.begin, memoryview(block)
    while left:
        part = window[: min(left, len(block))]
        _fill(file, name, part=part)
        bits = np.frombuffer(part, layout.bits)
        if (bits & layout.exponent).max() == layout.exponent:
            raise AdapterInvalid(f"Tensor {shown(key)} holds a NaN or an Infinity. Train the adapter anew.", param=key)
        left -= len(part)


def _fill(file: BinaryIO, name: str, *, part: memoryview) -> None:
    """Read until the part is full: a read of a file that is not buffered may give less."""
    done = 0
    while done < len(part):
        count = file.readinto(part[done:])  # type: ignore[attr-defined]
        if not count:
            raise AdapterInvalid(f"{shown(name)} became shorter while it was read. Send it again.", param=name)
        done += count
