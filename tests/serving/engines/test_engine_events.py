"""The event reader alone: any cut of the bytes gives the same bytes, and what is no stream is called so."""

import json

import pytest

from models.errors import UpstreamError
from models.types import Usage
from serving.engines.events import LONGEST_EVENT_BYTES, EventReader, read_body

ROLE = b'data: {"id":"c","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
WORD = 'data: {"id":"c","choices":[{"index":0,"delta":{"content":"añ"},"logprobs":null}]}\n\n'.encode()
LAST = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"!"},"finish_reason":"stop"}]}\n\n'
USAGE = (
    b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2,'
    b'"prompt_tokens_details":{"cached_tokens":4}}}\n\n'
)
DONE = b"data: [DONE]\n\n"
WHOLE = ROLE + WORD + LAST + USAGE + DONE


def make_reader(*, drop_usage: bool = False, keep_text: bool = True) -> EventReader:
    return EventReader("chat", drop_usage=drop_usage, keep_text=keep_text)


def test_every_cut_in_two_gives_the_same_bytes_and_counts() -> None:
    for cut in range(len(WHOLE) + 1):
        reader = make_reader()
        assert reader.feed(WHOLE[:cut]) + reader.feed(WHOLE[cut:]) == WHOLE
        assert (reader.done, reader.chunks, reader.text, reader.failure) == (True, 2, "añ!", None)
        assert reader.usage == Usage(5, 2, 4)


def test_byte_by_byte_every_piece_is_whole_events() -> None:
    reader = make_reader()
    pieces = [piece for byte in WHOLE if (piece := reader.feed(bytes([byte])))]
    assert pieces == [ROLE, WORD, LAST, USAGE, DONE]


def test_events_that_come_together_go_on_together() -> None:
    assert make_reader().feed(ROLE + WORD) == ROLE + WORD


def test_a_usage_event_that_was_our_wish_is_dropped() -> None:
    reader = make_reader(drop_usage=True)
    assert reader.feed(WHOLE) == ROLE + WORD + LAST + DONE
    assert reader.usage == Usage(5, 2, 4)


def test_comments_of_the_engine_are_dropped() -> None:
    reader = make_reader()
    assert reader.feed(b": keep-alive\n\n") == b""
    assert reader.feed(ROLE + b": keep-alive\n\n" + WORD) == ROLE + WORD
    assert reader.failure is None


def test_text_is_not_collected_unless_asked() -> None:
    reader = make_reader(keep_text=False)
    reader.feed(WHOLE)
    assert reader.text is None


def test_good_events_before_a_bad_one_go_on() -> None:
    reader = make_reader()
    assert reader.feed(ROLE + WORD + b"data: {oops\n\n" + LAST) == ROLE + WORD
    assert reader.failure is not None
    assert reader.failure.code == "upstream_bad_response"


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (b"<html><body>hello</body></html>\n\n", "upstream_bad_response"),
        (b"data: 17\n\n", "upstream_bad_response"),
        (b'data: {"object":"thing"}\n\n', "upstream_bad_response"),
        (b'data: {"choices":[{"delta":{"content":"\xff"}}]}\n\n', "upstream_bad_response"),
        (b'data: {"choices":[{"delta":{"content":"\xed\xa0\xbd"}}]}\n\n', "upstream_bad_response"),
        (b'data: {"choices":[{"delta":{"content":"\\ud83d"}}\n\n', "upstream_bad_response"),
        (b'data: {"choices":[{"delta":{"content":"\\ud83"}}]}\n\n', "upstream_bad_response"),
        (b'data: {"choices":[{"delta":{"content":"\\ud83d"},"index":"0"}]}\n\n', "upstream_bad_response"),
        (b'data: {"choices":[{"delta":{"content":"\\ud83d"},"logprobs":NaN}]}\n\n', "upstream_bad_response"),
        (b'data: {"choices":[{"delta":{"content":"\\ud83d\x07"}}]}\n\n', "upstream_bad_response"),
        (b'data: {"choices":[],"x":' + b"[" * 99_999 + b"]" * 99_999 + b"}\n\n", "upstream_bad_response"),
        (b'data: {"x":"\\ud83d","y":' + b"[" * 99_999 + b"]" * 99_999 + b"}\n\n", "upstream_bad_response"),
        (b'data: {"error":{"message":"CUDA error","type":"InternalServerError","code":500}}\n\n', "engine_error"),
        (b'data: {"error":"gone"}\n\n', "engine_error"),
        (DONE, "upstream_lost"),
        (ROLE + WORD + DONE, "upstream_lost"),
        (b"data: " + b"x" * (LONGEST_EVENT_BYTES + 1), "upstream_bad_response"),
    ],
)
def test_what_is_no_stream_is_a_failure_with_its_code(event: bytes, code: str) -> None:
    reader = make_reader()
    passed = reader.feed(event)
    assert reader.failure is not None
    assert reader.failure.code == code
    assert passed in (b"", ROLE + WORD)
    assert DONE not in passed


@pytest.mark.parametrize("sent", [b"", ROLE, ROLE + WORD, ROLE + WORD + LAST, WHOLE[:-1]])
def test_an_end_before_done_is_a_lost_engine(sent: bytes) -> None:
    reader = make_reader()
    reader.feed(sent)
    reader.end()
    assert reader.failure is not None
    assert reader.failure.code == "upstream_lost"


def test_an_end_after_done_is_an_end() -> None:
    reader = make_reader()
    reader.feed(WHOLE)
    reader.end()
    assert reader.failure is None


def test_one_choice_of_two_without_its_reason_is_no_end() -> None:
    reader = make_reader()
    reader.feed(ROLE.replace(b'"index":0', b'"index":1') + LAST + DONE)
    assert reader.failure is not None
    assert not reader.done


def said(escapes: str) -> bytes:
    return f'data: {{"choices":[{{"index":0,"delta":{{"content":"{escapes}"}}}}]}}\n\n'.encode()


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (["\\ud83d", "\\ude00"], "\U0001f600!"),
        (["a\\uD83D", "\\uDE00b"], "a\U0001f600b!"),
        (["\\ud83d\\ude00\\ud83d", "\\ude00"], "\U0001f600\U0001f600!"),
        (["\\ud83d"], "\ufffd!"),
        (["\\ude00", "\\ud83d"], "\ufffd\ufffd!"),
        (["\u2028", "\\r\\u2028"], "\u2028\r\u2028!"),
    ],
)
def test_c25_halves_of_a_character_pass_unchanged_and_are_kept_as_what_they_form(pieces: list[str], text: str) -> None:
    sent = b"".join(said(piece) for piece in pieces)
    reader = make_reader()
    assert reader.feed(ROLE + sent + LAST + DONE) == ROLE + sent + LAST + DONE
    assert (reader.done, reader.failure, reader.text) == (True, None, text)
    assert reader.chunks == len(pieces) + 1
    assert all(json.loads(frame[6:]) for frame in sent.rstrip().split(b"\n\n"))


def test_halves_of_two_choices_form_nothing() -> None:
    reader = make_reader()
    reader.feed(said("\\ud83d") + said("\\ude00").replace(b'"index":0', b'"index":1'))
    assert reader.text == "\ufffd\n\n\ufffd"


def test_a_half_in_what_nobody_reads_spoils_nothing() -> None:
    reader = make_reader()
    event = WORD.replace(b'"logprobs":null', b'"logprobs":{"content":[{"token":"\\ude00"}]}')
    assert reader.feed(event) == event
    assert (reader.failure, reader.text) == (None, "a\u00f1")


BODY = b'{"choices":[{"finish_reason":"stop","message":{"content":"a\\ud83d"}}],"usage":{"completion_tokens":1}}'


def test_a_whole_answer_may_hold_a_half_too() -> None:
    assert read_body(BODY).text == "a\ufffd"
    assert read_body(BODY).usage.value() == Usage(0, 1, 0)


@pytest.mark.parametrize(
    "body", [BODY[:-1], BODY.replace(b"1}", b"NaN}"), BODY.replace(b'"stop"', b"5"), b"[" * 99_999 + BODY]
)
def test_a_whole_answer_that_is_malformed_beside_its_half_is_refused(body: bytes) -> None:
    with pytest.raises(UpstreamError) as caught:
        read_body(body)
    assert caught.value.code == "upstream_bad_response"
