"""The event reader alone: any cut of the bytes gives the same bytes, and what is no stream is called so."""

import pytest

from models.types import Usage
from serving.engines.events import LONGEST_EVENT_BYTES, EventReader

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
