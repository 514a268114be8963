"""A zip that somebody sent: what is unpacked, what is refused, and that nothing is written elsewhere."""

from __future__ import annotations

import io
import os
import stat
import struct
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.adapters.archive import pack, unpack
from models.adapters.check import check
from models.adapters.refusal import AdapterInvalid
from tests.models.adapters.made import BASE, CONFIG_FILE, WEIGHTS_FILE, adapter

Entry = tuple[str | zipfile.ZipInfo, bytes]
MIB = 2**20


@pytest.fixture
def into(tmp_path: Path) -> Path:
    """An empty folder with empty neighbours."""
    made = tmp_path / "room" / "into"
    made.mkdir(parents=True)
    return made


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def zipped(entries: Iterable[Entry], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """An archive of these entries, whatever they are called."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, body in entries:
            archive.writestr(name, body)
    return out.getvalue()


def kind(name: str, mode: int) -> zipfile.ZipInfo:
    """An entry of a kind of file."""
    entry = zipfile.ZipInfo(name)
    entry.create_system, entry.external_attr = 3, mode << 16
    return entry


def opened(into: Path, raw: bytes, *, max_bytes: int = MIB) -> tuple[str, ...]:
    """Unpack these bytes."""
    path = into.parent.parent / "sent.zip"
    path.write_bytes(raw)
    return unpack(path, into, max_bytes=max_bytes)


def refused(into: Path, raw: bytes, *, max_bytes: int = MIB) -> AdapterInvalid:
    """How it is refused; nothing was written, in the folder or beside it."""
    with pytest.raises(AdapterInvalid) as caught:
        opened(into, raw, max_bytes=max_bytes)
    assert sorted(into.parent.parent.rglob("*")) == [into.parent, into, into.parent.parent / "sent.zip"]
    assert caught.value.code == "adapter_invalid"
    return caught.value


GOOD: list[Entry] = [(CONFIG_FILE, b"{}"), (WEIGHTS_FILE, bytes(range(256)) * 100)]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("top", ["", "mine/", "my adapter-v1.0/"])
def test_a_flat_archive_and_one_of_one_folder_are_unpacked(into: Path, method: int, top: str) -> None:
    entries: list[Entry] = [(f"{top}{name}", body) for name, body in GOOD]
    entries = [(kind(top, stat.S_IFDIR | 0o755), b""), *entries] if top else entries
    assert opened(into, zipped(entries, method)) == (CONFIG_FILE, WEIGHTS_FILE)
    assert {path.name: path.read_bytes() for path in into.iterdir()} == dict(GOOD)


def test_what_other_archivers_write_is_unpacked(into: Path, tmp_path: Path) -> None:
    class Pipe(io.RawIOBase):
        """Cannot seek, so that sizes follow the data."""

        def __init__(self) -> None:
            self.content = b""

        def writable(self) -> bool:
            return True

        def write(self, block: object) -> int:
            self.content += bytes(block)  # type: ignore[call-overload]
            return len(block)  # type: ignore[arg-type]

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in GOOD:
            archive.writestr(kind(name, stat.S_IFREG | 0o644), body)  # type: ignore[arg-type]
    assert opened(into, pipe.content) == (CONFIG_FILE, WEIGHTS_FILE)


@pytest.mark.parametrize(
    "name",
    [
        "../x.json",
        "../../room/x.json",
        "mine/../../x.json",
        "mine/..",
        "..",
        "/etc/x.json",
        "//x.json",
        "./x.json",
        "mine/deep/x.json",
        "..\\x.json",
        "C:\\x.json",
        "C:x.json",
        "mine\\x.json",
        "-rf",
        "~x.json",
        " x.json",
        "x.json\0.txt",
        "x\n.json",
        "ä.json",
        "\u202ex.json",
        "x" * 129,
    ],
)
def test_a_name_that_no_file_of_an_adapter_has_is_refused(into: Path, name: str) -> None:
    raw = zipped([("x" * len(name.encode()), b"x")]).replace(b"x" * len(name.encode()), name.encode(), 3)
    error = refused(into, zipped([*GOOD, (name, b"x")]) if "\0" not in name else raw)
    assert error.param is not None
    assert error.public.isprintable()


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFDIR, stat.S_IFSOCK])
def test_a_link_and_a_device_are_refused(into: Path, mode: int) -> None:
    error = refused(into, zipped([GOOD[0], (kind(WEIGHTS_FILE, mode | 0o777), b"/etc/passwd")]))
    assert (error.param, "is a link or a device" in error.public) == (WEIGHTS_FILE, True)


@pytest.mark.parametrize("second", [CONFIG_FILE, CONFIG_FILE.upper()])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_is_there_twice_is_refused(into: Path, second: str) -> None:
    error = refused(into, zipped([*GOOD, (second, b"[]")]))
    assert (error.param, "is there twice" in error.public) == (second, True)


@pytest.mark.parametrize(
    "entries",
    [
        [("a/x.json", b""), ("b/y.json", b"")],
        [("a/x.json", b""), ("y.json", b"")],
        [("__MACOSX/._x.json", b""), ("mine/x.json", b"")],
    ],
)
def test_files_in_several_folders_are_refused(into: Path, entries: list[Entry]) -> None:
    assert "in several folders" in refused(into, zipped(entries)).public


@pytest.mark.parametrize("count", [21, 400, 65_534, 65_535, 100_000])
def test_many_entries_are_refused_by_the_end_of_the_archive(into: Path, count: int) -> None:
    error = refused(into, zipped((f"{number}.json", b"") for number in range(count)))
    assert "zip64" in error.public if count >= 65_535 else "more than 20 files" in error.public
    assert error.param == "archive"


def test_a_table_of_contents_that_is_longer_than_its_count_says_is_refused(into: Path) -> None:
    raw = bytearray(zipped((f"{number}.json", b"") for number in range(400)))
    raw[-14:-10] = struct.pack("<2H", 3, 3)
    assert "more than 20 files" in refused(into, bytes(raw)).public


def test_more_bytes_than_are_admitted_are_refused_by_what_the_archive_says(into: Path) -> None:
    bomb = zipped([(WEIGHTS_FILE, bytes(50 * MIB))])
    assert len(bomb) < MIB / 10
    assert "holds 52,428,800 bytes; 1,048,576 are admitted" in refused(into, bomb).public


def lying(raw: bytes, said: int) -> bytes:
    """The archive of one entry that claims to be of another size."""
    body = bytearray(raw)
    for mark, place in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = body.index(mark) + place
        body[at : at + 4] = struct.pack("<I", said)
    return bytes(body)


def test_more_bytes_than_the_archive_says_are_refused_as_they_come(into: Path) -> None:
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED):
        for said in (0, 10, MIB - 1):
            error = refused(into, lying(zipped([(WEIGHTS_FILE, bytes(2 * MIB))], method), said))
            assert "damaged" in error.public or "of the size" in error.public
    fewer = lying(zipped([(WEIGHTS_FILE, b"x" * 100)]), 200)
    assert refused(into, fewer).param in ("archive", WEIGHTS_FILE)


def test_a_bomb_in_a_bomb_is_a_few_files_that_no_adapter_has(into: Path) -> None:
    inner = zipped([("0.dll", bytes(10 * MIB))])
    assert len(opened(into, zipped([(f"lib {number}.zip", inner) for number in range(16)]))) == 16
    assert sum(path.stat().st_size for path in into.iterdir()) == 16 * len(inner)
    with pytest.raises(AdapterInvalid, match=r"'lib \d+\.zip' does not belong to an adapter"):
        check(into, BASE)


def test_entries_that_share_their_bytes_are_counted_each(into: Path) -> None:
    raw = zipped([(WEIGHTS_FILE, bytes(MIB // 2))])
    table, end = raw.index(b"PK\x01\x02"), raw.index(b"PK\x05\x06")
    entry = raw[table:end]
    body = raw[:table] + entry * 3 + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 3, 3, 3 * len(entry), table, 0)
    assert "twice" in refused(into, body).public


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compression_is_refused(into: Path, method: int) -> None:
    assert "neither stored nor deflated" in refused(into, zipped(GOOD, method)).public


@pytest.mark.parametrize("flag", [0x1, 0x40, 0x2000, 0x20])
def test_an_encrypted_or_patched_entry_is_refused(into: Path, flag: int) -> None:
    raw = bytearray(zipped(GOOD[:1]))
    raw[raw.index(b"PK\x01\x02") + 8 : raw.index(b"PK\x01\x02") + 10] = struct.pack("<H", flag)
    assert refused(into, bytes(raw)).param == CONFIG_FILE


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"PK",
        b"PK\x05\x06",
        b"\x80\x04}." + b"\0" * 100,
        zipped(GOOD)[:-1],
        zipped(GOOD) + b"!",
        b"#!/bin/sh\n" + zipped(GOOD),
        zipped(GOOD)[10:],
        b"\0" * 50 + zipped(GOOD)[-22:],
    ],
)
def test_what_is_not_one_whole_zip_is_refused(into: Path, raw: bytes) -> None:
    assert refused(into, raw).param == "archive"


def test_an_empty_zip_is_an_adapter_without_files(into: Path) -> None:
    assert opened(into, zipped([])) == ()
    with pytest.raises(AdapterInvalid, match="is missing"):
        check(into, BASE)


def test_a_damaged_entry_is_refused_and_what_was_written_goes(into: Path) -> None:
    raw = bytearray(zipped(GOOD, zipfile.ZIP_STORED))
    raw[raw.index(bytes(range(200)))] ^= 1
    assert "damaged" in refused(into, bytes(raw)).public


def test_a_folder_that_holds_something_and_a_link_to_an_archive_are_not_touched(into: Path, tmp_path: Path) -> None:
    (tmp_path / "real.zip").write_bytes(zipped(GOOD))
    (tmp_path / "link.zip").symlink_to(tmp_path / "real.zip")
    with pytest.raises(AdapterInvalid):
        unpack(tmp_path / "link.zip", into, max_bytes=MIB)
    (into / "theirs").write_text("")
    with pytest.raises(FileExistsError):
        unpack(tmp_path / "real.zip", into, max_bytes=MIB)
    assert names_in(into) == ["theirs"]


@given(place=st.integers(0, 10_000), byte=st.integers(0, 255), cut=st.integers(0, 40))
@settings(max_examples=400, deadline=None)
def test_a_changed_archive_brings_out_a_refusal_or_files_of_the_folder(
    tmp_path_factory: pytest.TempPathFactory, place: int, byte: int, cut: int
) -> None:
    room = tmp_path_factory.mktemp("fuzz")
    raw = bytearray(zipped([(CONFIG_FILE, b"{}"), (WEIGHTS_FILE, b"weights" * 9)]))
    raw[place % len(raw)] = byte
    (room / "sent.zip").write_bytes(raw[: len(raw) - cut // 30])
    (room / "into").mkdir()
    try:
        names = unpack(room / "sent.zip", room / "into", max_bytes=MIB)
    except AdapterInvalid:
        names = ()
    assert names_in(room / "into") == list(names)
    assert names_in(room) == ["into", "sent.zip"]


def test_a_packed_adapter_is_the_same_bytes_each_time_and_what_is_left_out_is_told(tmp_path: Path, into: Path) -> None:
    folder = adapter(tmp_path / "mine", files={"README.md": b"", "optimizer.pt": b"", "tokenizer.json": b"{}"})
    assert pack(folder, tmp_path / "one.zip") == ("README.md", "optimizer.pt", "tokenizer.json")
    os.utime(folder / CONFIG_FILE, (0, 0))
    (folder / WEIGHTS_FILE).chmod(0o600)
    pack(folder, tmp_path / "two.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    assert unpack(tmp_path / "one.zip", into, max_bytes=MIB) == (CONFIG_FILE, WEIGHTS_FILE)
    assert check(into, BASE) == check(adapter(tmp_path / "twin"), BASE)


def test_an_adapter_that_is_not_whole_is_not_packed_and_no_file_is_replaced(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "mine")
    (tmp_path / "there.zip").write_text("theirs")
    with pytest.raises(FileExistsError):
        pack(folder, tmp_path / "there.zip")
    (folder / WEIGHTS_FILE).rename(tmp_path / "weights")
    (folder / WEIGHTS_FILE).symlink_to(tmp_path / "weights")
    with pytest.raises(AdapterInvalid):
        pack(folder, tmp_path / "new.zip")
    assert ((tmp_path / "there.zip").read_text(), (tmp_path / "new.zip").exists()) == ("theirs", False)
