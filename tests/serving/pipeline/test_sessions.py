"""Conversations and the tier that each has reached."""

import asyncio
from typing import Any

import pytest

from models.types import GenerationRequest, Principal
from serving.pipeline.sessions import Sessions
from serving.store.database import StoreDown
from tests.serving.conftest import ManualClock

ADA = Principal("key-1", "acme", "ada", "inference")
EVE = Principal("key-2", "other", "eve", "inference")
HELLO = {"role": "user", "content": "Hello"}
ANSWER = {"role": "assistant", "content": "Hi"}
MORE = {"role": "user", "content": "And now?"}


def ask(*messages: dict[str, Any], session: str | None = None, **body: Any) -> GenerationRequest:
    whole = {**({"messages": list(messages)} if messages else {}), **body}
    return GenerationRequest(
        "r", "chat", "auto", whole, stream=False, include_usage=False, text="", received=0, session=session
    )


class Recorded:
    """What the database has on record, or what it raises; counts how often it was asked."""

    def __init__(self, answer: str | Exception | None = None, *, hangs: bool = False) -> None:
        self.answer = answer
        self.hangs = hangs
        self.asked: list[tuple[str, float]] = []

    async def __call__(self, session: str, since: float) -> str | None:
        self.asked.append((session, since))
        if self.hangs:
            await asyncio.Event().wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def sessions(recorded: Recorded | None = None, clock: ManualClock | None = None, **options: Any) -> Sessions:
    known: dict[str, Any] = {"secret": b"secret", "clock": clock or ManualClock(), "look_up_s": 0.05}
    return Sessions(recorded or Recorded(), **{**known, **options})


def named(request: GenerationRequest, caller: Principal = ADA) -> str:
    found = sessions().name(request, caller)
    assert found is not None
    return found


def test_a_conversation_keeps_its_name_as_it_grows() -> None:
    system = {"role": "system", "content": "Be brief."}
    assert named(ask(system, HELLO)) == named(ask(system, HELLO, ANSWER, MORE))
    assert named(ask(HELLO)) == named(ask(HELLO, ANSWER, MORE))
    assert named(ask(HELLO)) != named(ask(MORE))
    assert named(ask(system, HELLO)) != named(ask(HELLO))


def test_a_session_id_names_a_conversation_whatever_it_holds() -> None:
    assert named(ask(HELLO, session="s1")) == named(ask(MORE, session="s1"))
    assert named(ask(HELLO, session="s1")) != named(ask(HELLO, session="s2"))
    assert named(ask(session="Hello")) != named(ask(HELLO))


def test_another_org_and_another_stack_have_names_of_their_own() -> None:
    assert named(ask(HELLO, session="s"), ADA) != named(ask(HELLO, session="s"), EVE)
    other = sessions(secret=b"other")
    assert other.name(ask(HELLO), ADA) != named(ask(HELLO))


@pytest.mark.parametrize("body", [{}, {"messages": "x"}, {"messages": []}, {"prompt": "a"}])
def test_what_is_no_chat_has_no_conversation(body: dict[str, Any]) -> None:
    assert sessions().name(ask(**body), ADA) is None


async def test_a_later_call_of_a_conversation_finds_the_tier_that_it_has_reached() -> None:
    held, recorded = ask(HELLO, ANSWER, MORE), Recorded()
    found = sessions(recorded)
    found.reached("s", "large", request=ask(HELLO))
    assert await found.least("s", held) == "large"
    assert recorded.asked == []


async def test_the_same_opening_again_is_another_conversation() -> None:
    recorded = Recorded("large")
    found = sessions(recorded)
    found.reached("s", "large", request=ask(HELLO))
    assert await found.least("s", ask(HELLO)) is None
    assert await sessions(recorded).least("s", ask(HELLO)) is None
    assert recorded.asked == []


async def test_what_another_gateway_did_is_on_record() -> None:
    recorded = Recorded("large")
    clock = ManualClock(10_000.0)
    assert await sessions(recorded, clock).least("s", ask(HELLO, ANSWER, MORE)) == "large"
    assert recorded.asked == [("s", 10_000.0 - 3600.0)]
    assert await sessions(Recorded("large")).least("s", ask(HELLO, session="id")) == "large"


@pytest.mark.parametrize(("gateways", "tier", "looks"), [(1, "small", 0), (2, "large", 1)])
async def test_beside_other_gateways_a_tier_that_can_still_rise_is_looked_up_again(
    gateways: int, tier: str, looks: int
) -> None:
    recorded, later = Recorded("large"), ask(HELLO, session="id")
    found = sessions(recorded, gateways=lambda: gateways)
    found.reached("s", "small", request=later)
    assert await found.least("s", later) == tier
    assert len(recorded.asked) == looks


@pytest.mark.parametrize("answer", [None, "small", StoreDown("gone")])
async def test_what_is_on_record_takes_nothing_from_what_a_gateway_knows(answer: Any) -> None:
    recorded, later = Recorded(answer), ask(HELLO, session="id")
    found = sessions(recorded, gateways=lambda: 2)
    for tier in ("small", "large"):
        found.reached("s", tier, request=later)
        assert await found.least("s", later) == tier
    assert len(recorded.asked) == 1


@pytest.mark.parametrize("answer", [None, "gigantic", StoreDown("gone")])
async def test_a_conversation_that_nobody_knows_has_reached_nothing(answer: Any) -> None:
    assert await sessions(Recorded(answer)).least("s", ask(HELLO, ANSWER, MORE)) is None


@pytest.mark.parametrize("look_up_s", [0.05, 0.2])
async def test_a_database_that_hangs_is_waited_for_no_longer_than_is_set(look_up_s: float) -> None:
    started = asyncio.get_running_loop().time()
    found = sessions(Recorded(hangs=True), look_up_s=look_up_s)
    assert await found.least("s", ask(HELLO, ANSWER, MORE)) is None
    assert asyncio.get_running_loop().time() - started >= look_up_s


async def test_an_hour_later_a_conversation_begins_anew() -> None:
    clock = ManualClock()
    found = sessions(clock=clock)
    found.reached("s", "large", request=ask(HELLO))
    clock.at += 3601
    assert await found.least("s", ask(HELLO, ANSWER, MORE)) is None


@pytest.mark.parametrize("set_off", [-7200.0, 7200.0])
async def test_a_wall_clock_that_is_put_back_or_ahead_moves_no_conversation(set_off: float) -> None:
    clock = ManualClock()
    found, later = sessions(clock=clock), ask(HELLO, ANSWER, MORE)
    found.reached("s", "large", request=ask(HELLO))
    clock.set_off, clock.at = set_off, clock.at + 3599
    assert await found.least("s", later) == "large"
    clock.at += 2
    assert await found.least("s", later) is None


async def test_the_memory_is_bounded_and_forgets_the_oldest() -> None:
    found = sessions(kept=2)
    for name in ("a", "b", "a", "c"):
        found.reached(name, "large", request=ask(HELLO))
    held = ask(HELLO, ANSWER, MORE)
    assert [await found.least(name, held) for name in ("a", "b", "c")] == ["large", None, "large"]


async def test_of_calls_at_the_same_time_the_higher_tier_counts_and_a_new_opening_begins_anew() -> None:
    found, later = sessions(), ask(HELLO, ANSWER, MORE)
    found.reached("s", "large", request=later)
    found.reached("s", "small", request=later)
    assert await found.least("s", later) == "large"
    found.reached("s", "small", request=ask(HELLO))
    assert await found.least("s", later) == "small"
