"""A form with a file in it (multipart/form-data, RFC 7578), read as a stream: the file goes to the disk as it comes.

Owns the form: its boundary, parts, names and short fields. Does not own time, size of the whole and places (`uploads`),
nor what the fields mean (the routes).
"""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.types import Receive, Scope

from models.errors import InvalidRequest
from serving.adapters.registry import Received
from serving.api.checks import missing, unknown
from serving.api.errors import echo
from serving.api.uploads import Uploads, content_type, draft, incomplete, write_all

FORM = "multipart/form-data"
FILE = "file"
LONGEST_BOUNDARY = 70  # RFC 2046, 5.1.1
LONGEST_NAME = 255
LONGEST_FIELD_BYTES = 1024
AROUND_BYTES = 64 * 2**10
"""What boundaries, headers of parts and short fields may have in all, beside the file."""
PLAIN_ENCODINGS = frozenset({b"7bit", b"8bit", b"binary"})


@dataclass(frozen=True, slots=True)
class Form:
    """A whole form: its file, the name that its sender gave it, and the other fields."""

    file: Received
    name: str
    fields: Mapping[str, str]


@dataclass(slots=True)
class _Part:
    headers: dict[bytes, bytes] = field(default_factory=dict)
    name: str = ""
    is_file: bool = False
    text: bytearray = field(default_factory=bytearray)


class FormReader:
    """Takes a form block by block. `target`: a descriptor for the file's bytes; `known`: the other fields' names."""

    def __init__(self, boundary: bytes, target: int, *, known: frozenset[str], most: int) -> None:
        self._target = target
        self._known = known
        self._most = most
        self._part = _Part()
        self._header = b""
        self._value = b""
        self._whole = False
        self.size = 0
        self.name: str | None = None
        self.fields: dict[str, str] = {}
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._header_came,
                "on_header_value": self._value_came,
                "on_header_end": self._header_ended,
                "on_headers_finished": self._named,
                "on_part_data": self._data,
                "on_part_end": self._ended,
                "on_end": self._all_came,
            },
        )

    def feed(self, block: bytes) -> None:
        """The next bytes of the body. Blocks; raises `InvalidRequest`."""
        try:
            self._parser.write(block)
        except FormParserError as error:
            raise InvalidRequest("The body is not a form of its boundary.", detail=str(error)) from None

    def finish(self) -> str:
        """The file's name, once the whole body came; raises for a form that is not closed, or has no file in it."""
        if not self._whole:
            raise incomplete("The form is not closed by its boundary: the body came only in part.")
        if self.name is None:
            raise missing(FILE)
        if not self.size:
            raise InvalidRequest("The file is empty.", param=FILE)
        return self.name

    def _begin(self) -> None:
        self._part = _Part()

    def _header_came(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _value_came(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_ended(self) -> None:
        header = self._header.lower()
        if header in self._part.headers:
            raise InvalidRequest("A part of the form has the same header twice.")
        self._part.headers[header] = self._value
        self._header = self._value = b""

    def _named(self) -> None:
        """The headers of a part are there: which field it is, and whether it is a file."""
        part = self._part
        told = part.headers.get(b"content-disposition", b"")
        kind, options = parse_options_header(told.decode("latin-1"))
        name = _text(options.get(b"name", b""), param="name")
        closed = told.replace(b'\\"', b"").count(b'"') % 2 == 0  # or a line end in a name made a header of its rest
        if kind != b"form-data" or not name or not closed:
            raise InvalidRequest("A part of the form has no name, or one that does not end.")
        if part.headers.get(b"content-transfer-encoding", b"binary").strip().lower() not in PLAIN_ENCODINGS:
            raise InvalidRequest("A part of the form is encoded: send its bytes as they are.", param=name)
        if name != FILE and name not in self._known:
            raise unknown(name)
        if name in self.fields or (name == FILE and self.name is not None):
            raise InvalidRequest(f"'{echo(name)}' is in the form twice.", param=name)
        part.name, part.is_file = name, name == FILE
        if part.is_file:
            self.name = _file_name(options.get(b"filename"))

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._part.is_file:
            self.size += end - start
            if self.size > self._most:
                raise file_too_large(self._most)
            write_all(self._target, memoryview(data)[start:end])
            return
        self._part.text += data[start:end]
        if len(self._part.text) > LONGEST_FIELD_BYTES:
            raise InvalidRequest(
                f"A field of the form has at most {LONGEST_FIELD_BYTES:,} bytes.", param=self._part.name
            )

    def _ended(self) -> None:
        if not self._part.is_file:
            self.fields[self._part.name] = _text(bytes(self._part.text), param=self._part.name)

    def _all_came(self) -> None:
        self._whole = True


class Forms:
    """Receives forms with a file of at most `most_bytes`."""

    def __init__(self, uploads: Uploads, *, most_bytes: int) -> None:
        self._uploads = uploads
        self._most = most_bytes

    @asynccontextmanager
    async def received(
        self, scope: Scope, receive: Receive, *, known: frozenset[str], work: Path
    ) -> AsyncIterator[Form]:
        """The form, whose file is gone when the block ends. `known`: fields beside the file; `work`: where it lies."""
        boundary = _boundary(scope)
        with self._uploads.place(), draft(work) as (path, target):
            reader = FormReader(boundary, target, known=known, most=self._most)
            async for block in self._uploads.blocks(scope, receive, most=self._most + AROUND_BYTES):
                await asyncio.to_thread(reader.feed, block)
            name = reader.finish()
            yield Form(Received(path, reader.size), name, reader.fields)


def file_too_large(limit: int) -> InvalidRequest:
    """The error for a file beyond the limit, as soon as it is seen."""
    return InvalidRequest(f"The file has more than {limit:,} bytes.", code="request_too_large", param=FILE)


def _boundary(scope: Scope) -> bytes:
    kind, options = parse_options_header(content_type(scope))
    if kind != FORM.encode():
        raise InvalidRequest(f"The body must be {FORM}.", code="unsupported_media_type")
    encodings = [value for name, value in scope["headers"] if name == b"content-encoding"]
    if any(value.strip().lower() != b"identity" for value in encodings):
        raise InvalidRequest("The body must not be compressed.", code="unsupported_media_type")
    boundary = options.get(b"boundary", b"")
    if not 0 < len(boundary) <= LONGEST_BOUNDARY or not boundary.isascii():
        raise InvalidRequest(f"The form's boundary has 1 to {LONGEST_BOUNDARY} ASCII characters.", param="boundary")
    return boundary


def _text(value: bytes, *, param: str) -> str:
    """Options of a header come in latin-1's bytes, which are those that were sent."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise InvalidRequest("The form's fields must be UTF-8.", param=param) from None


def _file_name(value: bytes | None) -> str:
    """A name as text, which is never part of a path."""
    if not value:
        raise InvalidRequest("Send the file as a part with a filename.", param=FILE)
    name = _text(value, param=FILE)
    if len(name) > LONGEST_NAME or any(unicodedata.category(char) in ("Cc", "Zl", "Zp") for char in name):
        raise InvalidRequest(
            f"The file's name must have at most {LONGEST_NAME} characters, none of them a control character.",
            param=FILE,
        )
    return name
