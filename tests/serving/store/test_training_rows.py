"""Rated chats read back with their messages, on both databases."""

from typing import Any

import pytest

from finetune.data.rated import Opinion, RatedCall
from serving.store.feedback import FeedbackRow
from serving.store.store import Store
from serving.store.training_rows import Selection
from serving.telemetry.record import CallRecord
from serving.tenancy.keys import KeyAdmin, KeySpec
from tests.serving.conftest import ManualClock

ALL = Selection(begin=0.0, end=1e12)


async def add(store: Store, number: int, *ratings: str, **changes: Any) -> None:
    given: dict[str, Any] = {"kind": "chat", "org": "kept", "status": 200, "finish_reason": "stop", "served_model": "s"}
    texts = {"prompt_text": f"q{number}", "answer_text": f"a{number}"}
    kept = {"messages": [{"role": "user", "content": f"q{number}\0"}]}
    record = CallRecord(id=f"r{number}", started_at=float(number), **(given | texts | changes), prompt_messages=kept)
    await store.records.add([record])
    for user, rating in enumerate(ratings):
        await store.feedback.put(FeedbackRow(f"r{number}", record.org or "", f"u{user}", rating, None, "c", 5.0 + user))


@pytest.fixture(autouse=True)
async def orgs(store: Store) -> None:
    admin = KeyAdmin(store.keys, clock=ManualClock())
    await admin.create(KeySpec(org="kept", user="a", keep_text=True))
    await admin.create(KeySpec(org="other", user="b"))


async def rated(store: Store, wanted: Selection = ALL, page: int = 2) -> list[RatedCall]:
    return [one async for one in store.training.rated(wanted, page=page)]


async def test_rated_chats_come_newest_first_with_messages_and_every_opinion(store: Store) -> None:
    for number in range(1, 6):
        await add(store, number, "up", "down")
    await add(store, 6)
    await add(store, 7, "up", kind="completion")
    found = await rated(store)
    assert [one.prompt for one in found] == ["q5", "q4", "q3", "q2", "q1"]
    assert found[0].messages == {"messages": [{"role": "user", "content": "q5\N{REPLACEMENT CHARACTER}"}]}
    assert found[0].opinions == (Opinion("down", "c"), Opinion("up", "c"))
    assert (found[0].whole, found[0].keeps_text, found[0].answer) == (True, True, "a5")


async def test_texts_of_an_org_that_keeps_none_any_more_stay_in_the_store(store: Store) -> None:
    await add(store, 1, "up", org="other")
    await add(store, 2, "up")
    await KeyAdmin(store.keys, clock=ManualClock()).keep_text("kept", False)
    for one in await rated(store):
        assert not one.keeps_text
        assert (one.prompt, one.messages, one.answer, one.opinions) == (None, None, None, (Opinion("up", None),))


@pytest.mark.parametrize(
    "changes", [{"status": 500}, {"finish_reason": "length"}, {"client_gone": True}, {"finish_reason": None}]
)
async def test_an_answer_that_did_not_end_by_itself_is_not_whole(store: Store, changes: dict[str, Any]) -> None:
    await add(store, 1, "up", **changes)
    assert [one.whole for one in await rated(store)] == [False]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"begin": 2.0}, ["q4", "q3", "q2"]),
        ({"end": 3.0}, ["q2", "q1"]),
        ({"org": "other"}, [None]),
        ({"model": "s"}, ["q2", "q1"]),
        ({"model": "house-style"}, ["q4"]),
        ({"feature": "help"}, ["q4"]),
    ],
)
async def test_time_org_model_and_feature_select(store: Store, wanted: dict[str, Any], found: list[str]) -> None:
    await add(store, 1, "up")
    await add(store, 2, "up")
    await add(store, 3, "up", org="other", served_model="l")
    await add(store, 4, "up", adapter="house-style", feature="help", served_model="l")
    got = [one.prompt for one in await rated(store, Selection(**({"begin": 0.0, "end": 9.0} | wanted)))]
    assert got == [name if name != "q3" else None for name in found]
