"""What a training file must be, whatever its lines hold. Ids are those of the rows of bad inputs."""

from __future__ import annotations

import gzip
import io
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from finetune.data.check import FileFacts, InvalidFile, Limits, check_file, examples_of
from finetune.data.examples import BOM, Chat, InvalidLine
from models.errors import InvalidRequest
from tests.finetune.data.made import line, said

GOOD = line(messages=said("SECRET", "4"))
COMPLETION = line(prompt="SECRET", completion="b")
TEN = GOOD * 10


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "train.jsonl"


def zipped(data: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train.jsonl", data)
    return packed.getvalue()


ACCEPTED = {
    "plain": TEN,
    "U11-CRLF": TEN.replace(b"\n", b"\r\n"),
    "U11-BOM": BOM + TEN,
    "U11-no-last-newline": TEN.rstrip(b"\n"),
    "blank lines": b"\n" + TEN.replace(b"\n", b"\n \r\n") + b"\n\n",
}


@pytest.mark.parametrize("row", ACCEPTED)
def test_such_a_file_is_taken(file: Path, row: str) -> None:
    file.write_bytes(ACCEPTED[row])
    facts = check_file(file)
    assert facts == FileFacts("chat", 10, len(ACCEPTED[row]), len(GOOD) - 1, {"user": 10, "assistant": 10}, 0)


def long_line(size: int) -> bytes:
    empty = len(line(messages=said("", "4"))) - 1
    return line(messages=said("x" * (size - empty), "4"))


REFUSED = {
    "U4": (b"", "The file is empty"),
    "U4-BOM": (BOM, "The file is empty"),
    "U4-blank": (b"\n \n\r\n", "holds no example"),
    "U8": (GOOD * 6 + b'{"messages": SECRET\n' + GOOD * 6, "line 7: it is not valid JSON"),
    "U9": (TEN + long_line(2**20 + 1) + GOOD, "line 11: it is longer than 1,048,576 bytes"),
    "U9-endless": (b"x" * (5 * 2**20), "line 1: it is longer than"),
    "U10": (GOOD * 9, "holds 9 examples; at least 10"),
    "U11-UTF-16": (TEN.decode().encode("utf-16"), "UTF-16"),
    "U11-UTF-16-without-BOM": (TEN.decode().encode("utf-16-le"), "UTF-16"),
    "U11-UTF-32": (TEN.decode().encode("utf-32-be"), "UTF-16"),
    "Latin-1": (TEN + line(prompt="naïve", completion="b").decode().encode("latin-1"), "line 11: it is not valid JSON"),
    "U12-system": (
        GOOD * 3 + line(messages=[{"role": "system", "content": "SECRET"}]),
        "line 4: messages must hold an assistant message",
    ),
    "U13-zip": (zipped(TEN), "a zip archive"),
    "U13-gzip": (gzip.compress(TEN), "a gzip file"),
    "mixed": (TEN + COMPLETION, "line 11: it is a completion example in a file of chat examples"),
    "array": (b"[" + TEN.replace(b"\n", b",") + b"{}]", "line 1: it must be a JSON object"),
    "BOM in the middle": (GOOD + BOM + TEN, "line 2: it is not valid JSON"),
}


@pytest.mark.parametrize("row", REFUSED)
def test_another_file_is_refused_with_the_place_and_without_its_text(file: Path, row: str) -> None:
    data, sentence = REFUSED[row]
    file.write_bytes(data)
    with pytest.raises(InvalidRequest) as refused:
        check_file(file)
    assert sentence in refused.value.public
    assert "SECRET" not in str(refused.value)
    assert (refused.value.code, refused.value.param) == ("invalid_value", "file")
    assert isinstance(refused.value, InvalidLine if sentence.startswith("line") else InvalidFile)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
def test_a_line_of_exactly_the_limit_is_read(file: Path, end: bytes) -> None:
    file.write_bytes(TEN + long_line(2**20).rstrip() + end)
    assert check_file(file).longest_line_bytes == 2**20
    file.write_bytes(TEN + long_line(2**20 + 1).rstrip() + end)
    with pytest.raises(InvalidLine, match="line 11"):
        check_file(file)


def test_fewer_examples_are_enough_where_fewer_are_asked_for(file: Path) -> None:
    file.write_bytes(COMPLETION)
    assert check_file(file, limits=Limits(least=1)).format == "completion"


def test_every_bad_line_is_found_and_the_good_ones_are_read(file: Path) -> None:
    file.write_bytes(GOOD + b"{\n" + long_line(2**20 + 9) + COMPLETION + GOOD)
    found = list(examples_of(file))
    assert [line.number for line, _ in found] == [1, 2, 3, 4, 5]
    assert [isinstance(one, Chat) for _, one in found] == [True, False, False, False, True]


def test_memory_stays_flat_whatever_the_file(file: Path) -> None:
    with file.open("wb") as out:
        for _ in range(12):
            out.write(long_line(2**20) + b"\n")
    check_file(file)
    tracemalloc.start()
    check_file(file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12 * 2**20


def test_who_listens_hears_how_far_it_is_and_can_end_it(file: Path) -> None:
    file.write_bytes(long_line(2**20) * 10)
    heard: list[int] = []
    check_file(file, heard=heard.append)
    assert len(heard) >= 9
    assert heard == sorted(heard)

    def enough(_: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        check_file(file, heard=enough)
