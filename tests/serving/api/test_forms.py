"""Rows U1 to U7 on the form itself: what is refused, how soon, and that nothing of it stays."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.types import Message, Receive

from models.errors import InvalidRequest, PenstockError
from serving.api.forms import LONGEST_NAME, Form, Forms
from serving.api.uploads import Uploads
from serving.settings import HttpSettings, TimerSettings

KNOWN = frozenset({"purpose"})
BOUNDARY = b"x-boundary"
CLOSE = b"--x-boundary--\r\n"
PURPOSE = b'--x-boundary\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'


def part(data: bytes = b"{}\n", name: bytes = b"a.jsonl") -> bytes:
    head = b'--x-boundary\r\nContent-Disposition: form-data; name="file"; filename="' + name + b'"\r\n'
    return head + b"Content-Type: application/jsonl\r\n\r\n" + data + b"\r\n"


def field(name: str, value: bytes = b"x", more: bytes = b"") -> bytes:
    head = f'--x-boundary\r\nContent-Disposition: form-data; name="{name}"\r\n'.encode()
    return head + more + b"\r\n" + value + b"\r\n"


def sent(body: bytes, at_once: int = 2**16) -> Receive:
    blocks = [body[start : start + at_once] for start in range(0, len(body), at_once)] or [b""]
    messages: list[Message] = [
        {"type": "http.request", "body": block, "more_body": at < len(blocks) - 1} for at, block in enumerate(blocks)
    ]
    left = iter(messages)

    async def receive() -> Message:
        return next(left)

    return receive


def lying(work: Path) -> int:
    return len(list(work.iterdir()))


def bytes_of(path: Path) -> bytes:
    return path.read_bytes()


async def read(
    work: Path,
    body: bytes,
    *,
    kind: bytes = b"multipart/form-data; boundary=x-boundary",
    most: int = 2**20,
    at_once: int = 2**16,
) -> tuple[Form, bytes]:
    """The form and its file's bytes; whatever happens, no draft stays."""
    scope = {"type": "http", "method": "POST", "headers": [(b"content-type", kind)]}
    forms = Forms(Uploads(HttpSettings(), TimerSettings()), most_bytes=most)
    try:
        async with forms.received(scope, sent(body, at_once), known=KNOWN, work=work) as form:
            return form, bytes_of(form.file.path)
    finally:
        assert lying(work) == 0


async def refused(work: Path, body: bytes, **options: object) -> PenstockError:
    with pytest.raises(InvalidRequest) as caught:
        await read(work, body, **options)  # type: ignore[arg-type]
    return caught.value


@pytest.mark.parametrize("at_once", [1, 7, 2**16])
async def test_a_form_is_the_same_however_it_is_cut_on_its_way(tmp_path: Path, at_once: int) -> None:
    data = b'{"a": 1}\r\n--x-bound\r\n\r\n--' + random.Random(0).randbytes(200)
    form, bytes_ = await read(tmp_path, PURPOSE + part(data) + CLOSE, at_once=at_once)
    assert bytes_ == data
    assert (form.file.size, form.name, form.fields) == (len(data), "a.jsonl", {"purpose": "fine-tune"})


async def test_a_form_without_a_file_misses_it(tmp_path: Path) -> None:
    error = await refused(tmp_path, PURPOSE + CLOSE)
    assert (error.code, error.param) == ("missing_required_parameter", "file")


async def test_an_empty_file_and_one_without_a_name_are_refused(tmp_path: Path) -> None:
    for body in (part(b""), part(name=b""), field("file")):
        error = await refused(tmp_path, PURPOSE + body + CLOSE)
        assert (error.code, error.param) == ("invalid_value", "file")


@pytest.mark.parametrize(
    "name", ["../../a.jsonl", "/abs", "C:\\x.jsonl", "файл.jsonl", "a" * LONGEST_NAME, "a%0d%0aX: y"]
)
async def test_a_name_is_text_and_no_place(tmp_path: Path, name: str) -> None:
    form, _ = await read(tmp_path, part(name=name.encode()) + CLOSE)
    assert form.name in (name, "x.jsonl")


@pytest.mark.parametrize(
    "name", [b"a\0b", b"a" * (LONGEST_NAME + 1), b"a" * 5000, b"a\r\nX: y", b"a\xff", "a\u2028b".encode()]
)
async def test_a_name_that_is_no_line_of_text_is_refused(tmp_path: Path, name: bytes) -> None:
    assert (await refused(tmp_path, part(name=name) + CLOSE)).code == "invalid_value"


async def test_a_file_that_is_too_long_is_refused_before_its_end(tmp_path: Path) -> None:
    whole, _ = await read(tmp_path, part(b"x" * 2**20) + CLOSE)
    assert whole.file.size == 2**20
    error = await refused(tmp_path, part(b"x" * (2**20 + 1)) + b"no end at all")
    assert (error.code, error.param) == ("request_too_large", "file")
    assert (await refused(tmp_path, part(b"x" * 2**22))).code == "request_too_large"


async def test_fields_are_few_short_known_and_there_once(tmp_path: Path) -> None:
    rows = [
        (field("purpose", b"x" * (2**20 + 1)), "invalid_value", "purpose"),
        (b"".join(field(f"field-{n}") for n in range(1001)), "unknown_parameter", "field-0"),
        (b"".join(part() for _ in range(1001)), "invalid_value", "file"),
        (PURPOSE + PURPOSE, "invalid_value", "purpose"),
        (field("purpose", b"\xff"), "invalid_value", "purpose"),
        (field("purpose", more=b"Content-Transfer-Encoding: base64\r\n"), "invalid_value", "purpose"),
        (field("purpose", more=b'Content-Disposition: form-data; name="file"\r\n'), "invalid_value", None),
    ]
    for body, code, param in rows:
        error = await refused(tmp_path, body + CLOSE, most=2**22)
        assert (error.code, error.param) == (code, param), body[:80]


@pytest.mark.parametrize(
    "kind",
    [
        b"multipart/form-data",
        b"multipart/form-data; boundary=",
        b"multipart/form-data; boundary=" + b"-" * 10_240,
        b"multipart/form-data; boundary=\xff",
    ],
)
async def test_a_form_needs_a_boundary(tmp_path: Path, kind: bytes) -> None:
    error = await refused(tmp_path, part() + CLOSE, kind=kind)
    assert (error.code, error.param) == ("invalid_value", "boundary")


@pytest.mark.parametrize(
    "body", [b"-" * 10_240, b"x" * 10_240, b"\r\n" + b"-" * 10_240, b"--x-boundary\r\n" + b"a: b\r\n" * 10_000]
)
async def test_what_is_no_form_is_refused(tmp_path: Path, body: bytes) -> None:
    assert (await refused(tmp_path, body)).code == "invalid_value"


@pytest.mark.parametrize("body", [b"", b"\r\n", PURPOSE, part()[:-10], PURPOSE + part(b"x" * 1000)[:600], CLOSE[:-4]])
async def test_a_form_that_is_not_closed_came_only_in_part(tmp_path: Path, body: bytes) -> None:
    assert (await refused(tmp_path, body)).code == "upload_incomplete"


async def test_only_plain_forms_are_taken(tmp_path: Path) -> None:
    error = await refused(tmp_path, b"{}", kind=b"application/json")
    assert error.code == "unsupported_media_type"


GOOD = PURPOSE + part() + CLOSE
pieces = st.sampled_from([b"\r\n", b"--", b"--x-boundary", b"--x-boundary--", b"\0", b'"', b":", b";", b'name="file"'])
changes = st.lists(st.tuples(st.integers(0, len(GOOD)), st.integers(0, 9), pieces | st.binary(max_size=4)), max_size=4)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=changes, at_once=st.integers(1, 80))
async def test_whatever_comes_is_read_as_a_form_or_refused_as_none(
    tmp_path: Path, changes: list[tuple[int, int, bytes]], at_once: int
) -> None:
    body = GOOD
    for at, removed, put in changes:
        body = body[:at] + put + body[at + removed :]
    found: Form | str | None = None
    try:
        found, _ = await read(tmp_path, body, at_once=at_once)
    except InvalidRequest as error:
        found = error.code
    codes = ("invalid_value", "unknown_parameter", "missing_required_parameter", "upload_incomplete")
    assert found in codes or (isinstance(found, Form) and found.file.size > 0)
