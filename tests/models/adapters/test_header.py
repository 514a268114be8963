"""The strict reader of safetensors: what a header may say, and what the numbers may be."""

from __future__ import annotations

import json
import math
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.adapters.header import LONGEST_HEADER, read_header, require_finite
from models.adapters.refusal import AdapterInvalid
from tests.models.adapters.made import WEIGHTS_FILE, Tensors, framed, header_of, numbers, safetensors, tensors

TWO: Tensors = {"one": numbers((2, 3)), "two": numbers((4,), "BF16")}


def refused(folder: Path, raw: bytes) -> AdapterInvalid:
    """How a file with these bytes is refused."""
    path = folder / WEIGHTS_FILE
    path.write_bytes(raw)
    with pytest.raises(AdapterInvalid) as caught:
        read_header(path)
    return caught.value


def changed(name: str = "two", **facts: Any) -> bytes:
    """`TWO` with other facts of one tensor in the header."""
    header = header_of(TWO)
    header[name] |= facts
    return safetensors(TWO, header)


def test_a_header_tells_type_shape_and_place_of_every_tensor(tmp_path: Path) -> None:
    path = tmp_path / WEIGHTS_FILE
    path.write_bytes(safetensors(TWO))
    found = read_header(path)
    assert {name: (tensor.dtype, tensor.shape) for name, tensor in found.items()} == {
        "one": ("F32", (2, 3)),
        "two": ("BF16", (4,)),
    }
    raw = path.read_bytes()
    assert {name: raw[tensor.begin : tensor.end] for name, tensor in found.items()} == {
        name: data for name, (_, _, data) in TWO.items()
    }


def test_tensors_may_lie_in_another_order_than_the_header_names_them(tmp_path: Path) -> None:
    path = tmp_path / WEIGHTS_FILE
    header = header_of(TWO)
    path.write_bytes(safetensors(TWO, dict(reversed(header.items()))) + b"")
    assert list(read_header(path)) == ["one", "two"]


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (b"", "ends after 0 bytes"),
        (b"\0" * 7, "ends after 7 bytes"),
        (b"\0" * 8, "is not a safetensors file"),
        (b"\x80\x04\x95\x10\0\0\0\0\0\0\0}." + b"\0" * 30, "its header would have"),
        (b"PK\x03\x04" + b"\0" * 60, "its header would have 67,324,752 bytes"),
        (framed(b"{}", length=2**63), "would have 9,223,372,036,854,775,808 bytes"),
        (framed(b"{}", length=200 * 2**20), "would have 209,715,200 bytes"),
        (framed(b" " * (LONGEST_HEADER + 1)), "2,097,152 are admitted"),
        (framed(b"{}", length=3), "ends inside its header"),
        (framed(b"[]"), "is not a safetensors file"),
        (framed(b' {"a": 1}'), "is not a safetensors file"),
        (framed(b"{"), "is not JSON"),
        (framed(b'{"\xff": 1}'), "is not JSON in UTF-8"),
        (framed(b'{"a":' + b"[" * 100_000), "is not JSON"),
        (framed(b'{"a": ' + b"9" * 5_000 + b"}"), "is not JSON"),
        (framed(b'{"a": NaN}'), "holds NaN, which is not JSON"),
        (framed(b"{}"), "holds no tensor"),
        (framed(b'{"__metadata__": {}}'), "holds no tensor"),
        (framed(b'{"__metadata__": {"a": 1}}'), "may hold texts only"),
        (framed(b'{"__metadata__": "a"}'), "may hold texts only"),
        (framed(b'{"a": {"x": 1, "x": 2}}'), "holds the key 'x' twice"),
        (safetensors(TWO) + b"!", "holds 1 bytes behind its last tensor"),
    ],
)
def test_a_file_that_cannot_be_one_of_weights_is_refused_by_its_name(tmp_path: Path, raw: bytes, sentence: str) -> None:
    error = refused(tmp_path, raw)
    assert sentence in error.public
    assert (error.param, error.code) == (WEIGHTS_FILE, "adapter_invalid")


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (changed(dtype="F64"), "of type 'F64'. Save it as F32, F16, BF16"),
        (changed(dtype="U8"), "of type 'U8'"),
        (changed(dtype=["F32"]), "of type"),
        (changed(shape=[]), "has the shape []"),
        (changed(shape=[0]), "has the shape [0]"),
        (changed(shape=[-4]), "has the shape [-4]"),
        (changed(shape=[True, 4]), "has the shape [True, 4]"),
        (changed(shape=[4.0]), "has the shape [4.0]"),
        (changed(shape="4"), "has the shape '4'"),
        (changed(shape=[2**62, 2**62]), "has the shape"),
        (changed(shape=[1] * 9), "has the shape"),
        (changed(shape=[5]), "has not the bytes of its type and shape"),
        (changed(data_offsets=[24, 24]), "has not the bytes"),
        (changed(data_offsets=[20, 32]), "does not begin where the one before ends"),
        (changed(data_offsets=[26, 34]), "does not begin where the one before ends"),
        (changed(data_offsets=[24, 2**40]), "ends behind the end of the file"),
        (changed(data_offsets=[32, 24]), "does not begin"),
        (changed(data_offsets=[24]), "which is no place"),
        (changed(data_offsets=[-1, 7]), "which is no place"),
        (changed(data_offsets=[24, 2**70]), "which is no place"),
        (changed(data_offsets=None), "which is no place"),
        (changed(more=1), "needs 'dtype', 'shape' and 'data_offsets' alone"),
    ],
)
def test_a_tensor_that_cannot_be_is_refused_by_its_name(tmp_path: Path, raw: bytes, sentence: str) -> None:
    error = refused(tmp_path, raw)
    assert sentence in error.public
    assert error.param == "two"


def test_two_tensors_in_one_place_and_two_of_one_name_are_refused(tmp_path: Path) -> None:
    header = header_of(TWO)
    header["two"] = dict(header["one"])
    assert refused(tmp_path, safetensors(TWO, header)).param == "two"
    facts = json.dumps(header["one"])
    twice = f'{{"one": {facts}, "one": {facts}}}'.encode()
    assert "holds the key 'one' twice" in refused(tmp_path, framed(twice, TWO["one"][2])).public


def test_a_name_that_is_long_or_would_move_the_cursor_is_shown_short_and_printable(tmp_path: Path) -> None:
    for name in ("\x1b[2J\r\n" * 40, "\u202e" * 5, "\ud800", "x" * 10_000, ""):
        error = refused(tmp_path, safetensors({name: numbers((2,), "U8")}))
        assert error.param is not None
        assert (error.param + error.public).isprintable()
        assert (len(error.param) <= 64, len(error.public) <= 200) == (True, True)
        (error.param + error.public).encode()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("place", [0, 2_099_999])
def test_one_number_that_is_not_finite_is_found_wherever_it_lies(
    tmp_path: Path, value: float, dtype: str, place: int
) -> None:
    _, shape, data = numbers((2, 1_050_000), dtype)
    bits = np.array([value], "<f2" if dtype == "F16" else "<f4")
    bits = bits.view("<u4") >> 16 if dtype == "BF16" else bits
    raw = bytearray(data)
    size = len(raw) // 2_100_000
    raw[size * place : size * (place + 1)] = bits.astype("<u2").tobytes() if dtype == "BF16" else bits.tobytes()
    path = tmp_path / WEIGHTS_FILE
    path.write_bytes(safetensors({"good": numbers((3,), dtype), "bad": (dtype, shape, bytes(raw))}))
    with pytest.raises(AdapterInvalid, match="Tensor 'bad' holds a NaN or an Infinity") as caught:
        require_finite(path, read_header(path))
    assert caught.value.param == "bad"


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_the_largest_and_smallest_numbers_of_each_type_are_finite(tmp_path: Path, dtype: str) -> None:
    top = {"F32": 0x7F7FFFFF, "F16": 0x7BFF, "BF16": 0x7F7F}[dtype]
    kind, sign = ("<u4", 2**31) if dtype == "F32" else ("<u2", 2**15)
    data = np.array([top, top + sign, 0, sign, 1, sign + 1], kind).tobytes()
    path = tmp_path / WEIGHTS_FILE
    path.write_bytes(safetensors({"all": (dtype, (6,), data)}))
    require_finite(path, read_header(path))


def test_a_file_that_shrinks_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / WEIGHTS_FILE
    path.write_bytes(safetensors(TWO))
    found = read_header(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(AdapterInvalid, match="became shorter while it was read"):
        require_finite(path, found)


def test_a_link_and_a_pipe_are_not_read(tmp_path: Path) -> None:
    good = tmp_path / "good"
    good.write_bytes(safetensors(TWO))
    (tmp_path / "link").symlink_to(good)
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", "missing", "."):
        with pytest.raises(AdapterInvalid):
            read_header(tmp_path / name)
    assert read_header(good)


WORDS = st.sampled_from(["F32", "BF16", "F64", "a", "dtype", "shape", "data_offsets", "__metadata__"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 60) | st.integers() | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)
ENTRIES = st.fixed_dictionaries(
    {
        "dtype": WORDS,
        "shape": st.lists(st.integers(-1, 5), max_size=3) | VALUES,
        "data_offsets": st.lists(st.integers(-1, 60), min_size=2, max_size=2) | VALUES,
    }
)


@given(
    header=st.dictionaries(st.text(max_size=5), ENTRIES | VALUES, max_size=4) | VALUES,
    data=st.binary(max_size=60),
    shift=st.integers(-3, 3),
)
@settings(max_examples=400, deadline=None)
def test_no_header_brings_out_anything_but_a_refusal_or_tensors_inside_the_file(
    tmp_path_factory: pytest.TempPathFactory, header: Any, data: bytes, shift: int
) -> None:
    text = json.dumps(header).encode()
    _read_or_refuse(tmp_path_factory, framed(text, data, length=max(0, len(text) + shift)))


@given(raw=st.binary(max_size=200) | st.binary(max_size=100).map(framed))
@settings(max_examples=200, deadline=None)
def test_no_bytes_bring_out_anything_but_a_refusal(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    _read_or_refuse(tmp_path_factory, raw)


@given(place=st.integers(0, 1_000), byte=st.integers(0, 255))
@settings(max_examples=400, deadline=None)
def test_one_changed_byte_of_a_good_file_brings_out_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, place: int, byte: int
) -> None:
    raw = bytearray(safetensors(tensors(("q_proj",), layers=(0,))))
    raw[place % len(raw)] = byte
    _read_or_refuse(tmp_path_factory, bytes(raw))


def _read_or_refuse(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.safetensors"
    path.write_bytes(raw)
    try:
        found = read_header(path)
        require_finite(path, found)
    except AdapterInvalid:
        return
    places = sorted((tensor.begin, tensor.end) for tensor in found.values())
    assert places[0][0] == 8 + int.from_bytes(raw[:8], "little")
    assert places[-1][1] == len(raw)
    assert all(before[1] == after[0] for before, after in pairwise(places))
