"""An adapter as one file: unpacks a zip that somebody sent, and packs a folder to be sent.

Owns what such a zip may be: a few plain files, flat or in one folder, stored or deflated. What the files may be is
`check`. Nothing is written but files of harmless names directly into the given folder, and no size is believed: bytes
are counted as they come out.
"""

from __future__ import annotations

import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from models.adapters.check import NEEDED
from models.adapters.documents import opened, size_of
from models.adapters.refusal import AdapterInvalid, shown

ARCHIVE = "archive"
"""What a refusal of the file as a whole names."""

DAMAGED = "The archive is damaged. Pack it anew."

END = struct.Struct("<4s4H2LH")
END_MARK = b"PK\x05\x06"
ZIP64_LOCATOR = b"PK\x06\x07"
ZIP64_LOCATOR_BYTES = 20
BYTES_PER_ENTRY = 1024
"""Of the table of contents: 46, a name, and the few extra fields that archivers write."""

METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ENCRYPTED = 0x1 | 0x40 | 0x2000
PATCHED = 0x20
NAME = re.compile(r"[A-Za-z0-9._][A-Za-z0-9._ -]{0,127}")
BLOCK_BYTES = 2**20
LARGEST_PACKED = 2**31 - 1
LONG_AGO = (1980, 1, 1, 0, 0, 0)
BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
    struct.error,
)
"""What `zipfile` raises over a file that is not what it says."""


def unpack(path: Path, into: Path, *, max_bytes: int, max_files: int = 20) -> tuple[str, ...]:
    """Write the files of a zip into an empty folder; their names, sorted.

    `AdapterInvalid` names the entry, or the archive, that is refused; then the folder is empty again. `OSError` when
    the folder cannot be written, or is not empty. Holds a few megabytes at a time.
    """
    if any(into.iterdir()):
        raise FileExistsError(f"{str(into)!r} is not empty.")
    with opened(path) as file:
        _require_small_table(file, max_files)
        try:
            archive = zipfile.ZipFile(file)
        except BROKEN as error:
            raise AdapterInvalid(DAMAGED, param=ARCHIVE) from error
        with archive:
            wanted = _wanted(archive.infolist(), max_bytes=max_bytes, max_files=max_files)
            _inflate_all(archive, wanted, into=into)
    return tuple(sorted(wanted))


def pack(folder: Path, to: Path) -> tuple[str, ...]:
    """Make a new zip of the two files of the adapter in a folder; the names that were left out, sorted.

    The same files give the same bytes, not compressed: weights hardly shrink. `AdapterInvalid` when a file is missing,
    a link or larger than 2 GiB; `OSError` when the zip cannot be written, or is there.
    """
    try:
        with to.open("xb") as out, zipfile.ZipFile(out, "w", zipfile.ZIP_STORED, allowZip64=False) as archive:
            for name in NEEDED:
                _store(archive, folder / name)
    except FileExistsError:
        raise
    except BaseException:
        to.unlink(missing_ok=True)
        raise
    return tuple(sorted(path.name for path in folder.iterdir() if path.name not in NEEDED and path != to))


def _require_small_table(file: BinaryIO, max_files: int) -> None:
    """The end record, before `zipfile` reads the table of contents that it announces, however long that may be."""
    size = size_of(file)
    start = max(0, size - END.size - ZIP64_LOCATOR_BYTES)
    file.seek(start)
    tail = file.read()
    if len(tail) < END.size or not tail[-END.size :].startswith(END_MARK):
        raise AdapterInvalid("The archive is not a zip, or has a comment. Pack it anew, without one.", param=ARCHIVE)
    _, disk, table_disk, here, count, length, offset, comment = END.unpack(tail[-END.size :])
    if tail[: -END.size].startswith(ZIP64_LOCATOR) or count == 0xFFFF:
        raise AdapterInvalid("The archive is a zip64. Pack two files, of less than 2 GiB together.", param=ARCHIVE)
    if count > max_files or length > max_files * BYTES_PER_ENTRY:
        raise AdapterInvalid(f"The archive holds more than {max_files} files. Pack the adapter's alone.", param=ARCHIVE)
    if disk or table_disk or comment or here != count or offset + length + END.size != size:
        raise AdapterInvalid("The archive is not one whole zip. Pack it anew.", param=ARCHIVE)


def _wanted(entries: Sequence[zipfile.ZipInfo], *, max_bytes: int, max_files: int) -> dict[str, zipfile.ZipInfo]:
    """File name → entry, of an archive of plain files that are flat or in one folder."""
    if len(entries) > max_files:
        raise AdapterInvalid(f"The archive holds more than {max_files} files. Pack the adapter's alone.", param=ARCHIVE)
    parts = [_parts(entry) for entry in entries]
    tops = {place[0] for place in parts if len(place) == 2}
    if len(tops) > 1 or (tops and any(len(place) == 1 for place in parts)):
        raise AdapterInvalid("The archive has files in several folders. Pack one flat folder.", param=ARCHIVE)
    found: dict[str, zipfile.ZipInfo] = {}
    for entry, place in zip(entries, parts, strict=True):
        _require_plain(entry)
        if not place[-1]:
            continue
        if place[-1].casefold() in {name.casefold() for name in found}:
            raise _refusal(entry, "is there twice")
        found[place[-1]] = entry
    if (total := sum(entry.file_size for entry in found.values())) > max_bytes:
        raise AdapterInvalid(f"The archive holds {total:,} bytes; {max_bytes:,} are admitted.", param=ARCHIVE)
    return found


def _parts(entry: zipfile.ZipInfo) -> tuple[str, ...]:
    """`("file",)`, `("folder", "file")`, or `("folder", "")` for the folder itself."""
    place = tuple(entry.orig_filename.split("/"))
    if len(place) > 2:
        raise _refusal(entry, "lies outside the folder of the adapter, or in one within it")
    names = place[:-1] if len(place) == 2 and not place[-1] else place
    if not all(NAME.fullmatch(name) and name not in (".", "..") for name in names):
        raise _refusal(entry, "has no name that a file of an adapter can have")
    return place


def _require_plain(entry: zipfile.ZipInfo) -> None:
    kind = stat.S_IFMT(entry.external_attr >> 16)
    is_folder = entry.orig_filename.endswith("/")
    if kind not in (0, stat.S_IFDIR if is_folder else stat.S_IFREG):
        raise _refusal(entry, "is a link or a device")
    if entry.flag_bits & ENCRYPTED:
        raise _refusal(entry, "is encrypted")
    if entry.compress_type not in METHODS or entry.flag_bits & PATCHED:
        raise _refusal(entry, "is neither stored nor deflated")
    if is_folder and entry.file_size:
        raise _refusal(entry, "is a folder with content of its own")


def _inflate_all(archive: zipfile.ZipFile, wanted: dict[str, zipfile.ZipInfo], *, into: Path) -> None:
    """Every file, or none."""
    try:
        for name, entry in wanted.items():
            _inflate(archive, entry, target=into / name)
    except BaseException:
        for name in wanted:
            (into / name).unlink(missing_ok=True)
        raise


def _inflate(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, *, target: Path) -> None:
    """Write one entry, of exactly the size that it declares: what is declared together was held against the limit."""
    left = entry.file_size
    with target.open("xb") as out:
        for block in _blocks(archive, entry):
            left -= len(block)
            if left < 0:
                break
            out.write(block)
    if left:
        raise _refusal(entry, "is not of the size that the archive says")


def _blocks(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Iterator[bytes]:
    try:
        with archive.open(entry) as source:
            while block := source.read(BLOCK_BYTES):
                yield block
    except BROKEN as error:
        raise AdapterInvalid(DAMAGED, param=ARCHIVE) from error


def _store(archive: zipfile.ZipFile, path: Path) -> None:
    with opened(path) as source:
        entry = zipfile.ZipInfo(path.name, LONG_AGO)
        entry.create_system, entry.external_attr = 3, (stat.S_IFREG | 0o600) << 16
        entry.file_size = size_of(source)
        if entry.file_size > LARGEST_PACKED:
            raise AdapterInvalid(f"{shown(path.name)} is larger than 2 GiB.", param=path.name)
        with archive.open(entry, "w") as out:
            while block := source.read(BLOCK_BYTES):
                out.write(block)


def _refusal(entry: zipfile.ZipInfo, problem: str) -> AdapterInvalid:
    name = entry.orig_filename
    return AdapterInvalid(f"{shown(name)} in the archive {problem}. Pack plain files only.", param=name)
