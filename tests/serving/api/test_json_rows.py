"""Rows J: what counts as a JSON body. The id of each case is the row's name."""

import json
import time

import pytest

from models.errors import PenstockError
from models.strict_json import parse_object, too_deep
from tests.serving.api.fakes import CHAT, Stack

JSON = {"content-type": "application/json"}
GOOD = json.dumps(CHAT).encode()


def with_field(text: str) -> bytes:
    return GOOD[:-1] + b", " + text.encode() + b"}"


MANY = b'{"model":"auto","messages":[' + b",".join([b"{}"] * 100_000) + b"]}"
LONG = json.dumps({"messages": [{"role": "user", "content": "secret " * 150_000}]}).encode()
SURROGATE = b'{"model":"auto","messages":[{"role":"user","content":"\\ud800"}]}'
NUL_ESCAPE = b'{"model":"auto","messages":[{"role":"user","content":"a\\u0000b"}]}'

ROWS = {
    "J1-empty": (b"", 400, "invalid_json", None),
    "J2": (b'{"model":', 400, "invalid_json", None),
    "J3": (b"null", 400, "invalid_json", None),
    "J4": (b"[]", 400, "invalid_json", None),
    "J5-string": (b'"x"', 400, "invalid_json", None),
    "J6": (with_field('"temperature": NaN'), 400, "invalid_json", None),
    "J7-Infinity": (with_field('"temperature": -Infinity'), 400, "invalid_json", None),
    "J8": (with_field('"temperature": 1e999'), 400, "invalid_value", "temperature"),
    "J10": (with_field('"max_tokens": ' + "9" * 4000), 400, "invalid_value", "max_tokens"),
    "J10-longer": (with_field('"max_tokens": ' + "9" * 5000), 400, "invalid_value", "max_tokens"),
    "J11": (with_field('"x": ' + "[" * 500 + "]" * 500), 400, "invalid_json", None),
    "J12": (with_field('"x": ' + "[" * 100_000 + "]" * 100_000), 400, "invalid_json", None),
    "J12-open": (b"[" * 100_000, 400, "invalid_json", None),
    "J13": (b'{"model":"a","model":"b"}', 400, "invalid_json", None),
    "J13-inside": (with_field('"penstock": {"tier": "small", "tier": "large"}'), 400, "invalid_json", None),
    "J14": (SURROGATE, 400, "invalid_value", "messages[0].content"),
    "J14-key": (with_field('"metadata": {"\\udc00": "x"}'), 400, "invalid_value", "metadata"),
    "J15-raw-surrogate": (b'{"model":"\xed\xa0\x80"}', 400, "invalid_json", None),
    "J16": (b"\xef\xbb\xbf" + GOOD, 400, "invalid_json", None),
    "J17": (GOOD.decode().encode("utf-16"), 400, "invalid_json", None),
    "J18": (GOOD.replace(b"hi", b"h\0i"), 400, "invalid_json", None),
    "J19": (NUL_ESCAPE, 400, "invalid_value", "messages[0].content"),
    "J23": (b'{"a":1}{"b":2}', 400, "invalid_json", None),
    "J24": (b'{"model":"' + b"x" * (4 * 2**20 + 1 - 12) + b'"}', 413, "request_too_large", None),
    "J27": (MANY, 400, "invalid_value", "messages"),
    "J28": (LONG, 400, "missing_required_parameter", "model"),
}


@pytest.mark.parametrize("row", ROWS)
async def test_a_bad_body_gets_its_exact_answer(stack: Stack, row: str) -> None:
    body, status, code, param = ROWS[row]
    async with stack.client() as client:
        started = time.process_time()
        response = await client.post("/v1/chat/completions", content=body, headers=JSON)
        # CPU seconds with room for a garbage collection: a parser that reports every error took 5.9 s for J27
        assert time.process_time() - started < 2
    stack.assert_refused(response, status, code, param)
    assert "secret" not in response.text


CONTENT_TYPES = {
    "J20": ["text/plain"],
    "J21": [],
    "J22": ["application/json; charset=utf-16"],
    "form": ["application/x-www-form-urlencoded"],
    "prefix": ["application/jsonp"],
    "list": ["application/json, text/plain"],
}


@pytest.mark.parametrize("row", CONTENT_TYPES)
async def test_another_content_type_is_refused(stack: Stack, row: str) -> None:
    headers = [("content-type", value) for value in CONTENT_TYPES[row]]
    async with stack.client() as client:
        response = await client.post("/v1/chat/completions", content=GOOD, headers=headers)
    stack.assert_refused(response, 415, "unsupported_media_type")


@pytest.mark.parametrize(
    "value", ["application/json", "Application/JSON; charset=UTF-8", 'application/json;charset="utf-8"']
)
async def test_json_in_utf8_is_taken(stack: Stack, value: str) -> None:
    async with stack.client() as client:
        response = await client.post("/v1/chat/completions", content=GOOD, headers={"content-type": value})
    assert response.status_code == 200


async def test_a_compressed_body_is_refused_and_never_inflated(stack: Stack) -> None:
    headers = JSON | {"content-encoding": "gzip"}
    async with stack.client() as client:
        response = await client.post("/v1/chat/completions", content=GOOD, headers=headers)
    stack.assert_refused(response, 415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("text", "deep"),
    [
        (b"[" * 64 + b"]" * 64, False),
        (b"[" * 65 + b"]" * 65, True),
        (b'{"a":' * 65 + b"1" + b"}" * 65, True),
        (b'["' + b"[" * 900 + b'"]', False),
        (b'["\\"' + b"[" * 900 + b'"]', False),
        (b'["\\\\",' + b"[" * 70 + b"]" * 70 + b"]", True),
        (b"[" + b"[]," * 900 + b"[]]", False),
    ],
)
def test_depth_counts_brackets_outside_strings_only(text: bytes, deep: bool) -> None:
    assert too_deep(text, 64) is deep


def test_a_body_at_the_depth_limit_is_read() -> None:
    assert parse_object(b'{"a":' + b"[" * 63 + b"]" * 63 + b"}", 64)
    with pytest.raises(PenstockError, match="deeper than 64"):
        parse_object(b'{"a":' + b"[" * 64 + b"]" * 64 + b"}", 64)


@pytest.mark.parametrize("text", ["\U0001f600", "\u2028 \r\n", "na\u00efve \u202e", "\x7f"])
def test_unusual_but_good_text_is_kept_as_it_is(text: str) -> None:
    assert parse_object(json.dumps({"a": text}).encode(), 64) == {"a": text}
    assert parse_object(json.dumps({"a": text}, ensure_ascii=False).encode(), 64) == {"a": text}
