"""Records and feedback in SQL."""

from dataclasses import fields, replace

import pytest
from sqlalchemy import select

from serving.store.database import StoreRefused
from serving.store.feedback import FeedbackRow, Opinion, RatedAnswer
from serving.store.schema import FEEDBACK, RECORDS
from serving.store.store import Store
from serving.telemetry.record import AttemptTrace, CallRecord

FULL = CallRecord(
    id="req-1",
    started_at=1_800_000_000.25,
    kind="chat",
    org="acme",
    user="ann",
    key_id="key_1",
    feature="search",
    stream=True,
    requested_model="auto",
    served_model="demo-small",
    tier="small",
    route_policy="threshold",
    route_reason="short",
    route_score=0.25,
    route_threshold=0.4,
    route_version="0123456789ab",
    route_cause="declined",
    routed_tier="large",
    session="5e55",
    task="simple",
    retrieval=0.125,
    shadow={"version": "ba9876543210", "score": 0.5, "threshold": 0.3, "tier": "large"},
    adapter="bot",
    adapter_version=3,
    cohort="canary",
    attempts=[AttemptTrace("demo-small", "r#1", "upstream_lost", 3.5), AttemptTrace("demo-small", "r#2", "ok", 9.0)],
    prompt_tokens=7,
    completion_tokens=2**40,
    cached_tokens=3,
    tokens_estimated=True,
    ttft_ms=12.5,
    latency_ms=99.0,
    finish_reason="stop",
    status=200,
    error_code="none",
    client_gone=True,
    stages_ms={"route": 0.5, "engine": 98.0},
    traceparent="00-a-b-01",
    prompt_text="naïve — ‮ text",
    answer_text="🙂",
    prompt_messages={"messages": [{"role": "user", "content": "naïve — ‮ text"}], "tools": []},
)


def numbered(n: int) -> CallRecord:
    return replace(FULL, id=f"req-{n}", uid=f"u{n}", started_at=float(n))


def opinion(**changes: object) -> FeedbackRow:
    return replace(FeedbackRow("req-1", "acme", "ann", "up", None, None, 5.0), **changes)  # type: ignore[arg-type]


def test_a_column_stands_for_each_field_of_the_record() -> None:
    names = [field.name for field in fields(CallRecord)]
    assert len(names) > 25
    assert [column.name for column in RECORDS.columns] == names


async def test_a_record_comes_back_field_by_field(store: Store) -> None:
    unset = [field.name for field in fields(CallRecord) if not getattr(FULL, field.name)]
    assert unset == []
    await store.records.add([FULL])
    assert await store.records.find("req-1") == FULL


async def test_a_record_is_stored_once_and_stays_as_it_was(store: Store) -> None:
    await store.records.add([FULL])
    await store.records.add([replace(FULL, status=500), replace(FULL, id="req-2", uid="u2")])
    assert await store.records.count() == 2
    assert await store.records.find("req-1") == FULL


async def test_a_request_id_used_twice_is_two_records_and_feedback_joins_ones_own(store: Store) -> None:
    again = CallRecord(id="req-1", started_at=FULL.started_at + 5, kind="chat", org="acme")
    foreign = CallRecord(id="req-1", started_at=FULL.started_at + 9, kind="chat", org="other")
    await store.records.add([FULL, again, foreign])
    assert await store.records.count() == 3
    assert await store.feedback.put(opinion())
    async with store.database.transaction("read") as connection:
        assert list(await connection.scalars(select(FEEDBACK.c.record_uid))) == [again.uid]


async def test_text_that_no_database_takes_is_stored_readable(store: Store) -> None:
    await store.records.add([replace(FULL, requested_model="a\0b", answer_text="x\ud800y")])
    found = await store.records.find("req-1")
    assert found is not None
    assert (found.requested_model, found.answer_text) == ("a\N{REPLACEMENT CHARACTER}b", "x?y")


async def test_a_value_that_cannot_be_stored_is_refused_and_not_quoted(store: Store) -> None:
    with pytest.raises(StoreRefused) as caught:
        await store.records.add([replace(FULL, prompt_text="secret words", prompt_tokens=2**80)])
    assert "secret words" not in str(caught.value)
    assert await store.records.count() == 0


async def test_the_newest_calls_come_first(store: Store) -> None:
    await store.records.add([numbered(n) for n in range(5)])
    assert [record.id for record in await store.records.recent(2)] == ["req-4", "req-3"]


async def test_outlines_of_a_span_come_oldest_first_page_by_page_each_once(store: Store) -> None:
    twins = [replace(numbered(n), started_at=3.0) for n in (7, 5, 6)]
    await store.records.add([numbered(4), *twins, numbered(1), numbered(0), numbered(9)])
    for page in (1, 2, 3, 100):
        found = [one async for one in store.records.outlines(1.0, 9.0, page=page)]
        assert [one.started_at for one in found] == [1.0, 3.0, 3.0, 3.0, 4.0]
    assert (found[0].prompt_tokens, found[0].served_model) == (7, "demo-small")
    assert [one async for one in store.records.outlines(10.0, 20.0)] == []


async def test_old_records_go_in_batches_and_take_their_feedback_along(store: Store) -> None:
    await store.records.add([numbered(n) for n in range(5)])
    await store.feedback.put(opinion(record_id="req-0"))
    await store.feedback.put(opinion(record_id="req-4"))
    assert [await store.records.delete_before(3.0, limit=2) for _ in range(3)] == [2, 1, 0]
    assert await store.records.count() == 2
    assert (await store.feedback.of("req-0"), len(await store.feedback.of("req-4"))) == ([], 1)


async def test_the_last_opinion_of_each_user_counts(store: Store) -> None:
    await store.records.add([FULL])
    ann, bob = opinion(rating="down", comment="wrong\0", corrected="right"), opinion(user="bob")
    for row in (opinion(), bob, ann):
        assert await store.feedback.put(row)
    assert await store.feedback.of("req-1") == [replace(ann, comment="wrong\N{REPLACEMENT CHARACTER}"), bob]


async def test_another_orgs_record_takes_no_feedback(store: Store) -> None:
    await store.records.add([FULL])
    assert not await store.feedback.put(opinion(org="other"))
    assert not await store.feedback.put(opinion(record_id="req-\0"))
    assert await store.feedback.put(opinion())


async def rate(store: Store, number: int, **changes: object) -> None:
    assert await store.feedback.put(opinion(record_id=f"req-{number}", **changes))


def chat(number: int, **changes: object) -> CallRecord:
    texts = {"prompt_text": f"q{number}", "answer_text": f"a{number}", "client_gone": False}
    return replace(numbered(number), **(texts | changes))  # type: ignore[arg-type]


async def test_rated_answers_come_newest_first_with_every_opinion_the_latest_first(store: Store) -> None:
    await store.records.add([chat(number) for number in range(6)])
    for number in (1, 2, 4):
        await rate(store, number)
    await rate(store, 2, user="bob", rating="down", corrected="b2", created_at=9.0)
    for page in (1, 2, 100):
        found = [one async for one in store.feedback.rated(1.0, 5.0, page=page)]
        assert [one.prompt for one in found] == ["q4", "q2", "q1"]
    assert found[1] == RatedAnswer("q2", "a2", "demo-small", (Opinion("down", "b2"), Opinion("up", None)))
    assert [one.prompt async for one in store.feedback.rated(2.0, 4.0)] == ["q2"]


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt_text": None},
        {"answer_text": None},
        {"status": 502},
        {"finish_reason": "length"},
        {"client_gone": True},
        {"kind": "completion"},
        {"org": "other"},
    ],
)
async def test_an_answer_that_is_no_whole_chat_with_texts_of_the_org_proves_nothing(
    store: Store, changes: dict[str, object]
) -> None:
    await store.records.add([chat(1, **changes), chat(2)])
    await rate(store, 1, org=changes.get("org", "acme"))
    await rate(store, 2)
    assert [one.prompt async for one in store.feedback.rated(0.0, 9.0, org="acme")] == ["q2"]
