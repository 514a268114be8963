"""The gateway's way to the classifier: what is asked, what comes of every way to fail, and who is asked at all."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from starlette.requests import Request
from starlette.responses import Response

from router.types import Candidate, NoReading, Reading
from serving.classifier.client import NAME, ClassifierClient, Limits
from serving.classifier.messages import Ask, Example, Load, Refused, Score, Standing, Told
from serving.store.releases import ReleaseRow
from serving.testing import StaticDirectory, serve
from tests.serving.conftest import ManualClock

RELEASE = ReleaseRow("default", "learned", "promote", "aaa", 0.25, 5.0)
SCORE = Score(small=0.25, large=0.75, gain=0.5, error=0.125, distance=0.0625)
TOLD = Told(SCORE, b"\0" * 16, task="simple", retrieval=0.5, nearest=(Example("like it", 0.9, 0.0, 1.0),))


class FakeClassifier:
    """Answers what the test wrote down: a value for msgpack, raw bytes, or with `hangs` nothing at all."""

    def __init__(self, answer: Any = TOLD, status: int = 200, *, hangs: bool = False) -> None:
        self.answer = answer
        self.status = status
        self.hangs = hangs
        self.asked: list[tuple[str, str, bytes]] = []
        self.came = asyncio.Semaphore(0)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        self.asked.append((request.url.path, request.headers["authorization"], await request.body()))
        self.came.release()
        if self.hangs:
            await asyncio.Event().wait()
        body = self.answer if isinstance(self.answer, bytes) else msgspec.msgpack.encode(self.answer)
        await Response(body, self.status)(scope, receive, send)

    @property
    def last(self) -> Ask:
        return msgspec.msgpack.decode(self.asked[-1][2], type=Ask)


class Book:
    """What is live."""

    def __init__(self, release: ReleaseRow | None = RELEASE) -> None:
        self.release = release


@asynccontextmanager
async def client(*fakes: FakeClassifier, book: Book | None = None, **options: Any) -> AsyncIterator[ClassifierClient]:
    async with contextmanagers(fakes) as urls:
        made = ClassifierClient(
            options.pop("directory", None) or StaticDirectory({NAME: urls}),
            book or Book(),
            **{"token": "secret", "policy": "learned", "limits": Limits(5.0), "clock": ManualClock(), **options},
        )
        async with made:
            yield made


@asynccontextmanager
async def contextmanagers(fakes: tuple[FakeClassifier, ...]) -> AsyncIterator[list[str]]:
    if not fakes:
        yield []
        return
    async with serve(fakes[0]) as url, contextmanagers(fakes[1:]) as rest:
        yield [url, *rest]


async def test_a_prompt_is_read_by_the_version_that_is_live() -> None:
    fake = FakeClassifier()
    async with client(fake) as made:
        reading = await made.read("Hello?")
    assert reading == Reading(
        version="aaa",
        threshold=0.25,
        gain=0.5,
        small=0.25,
        large=0.75,
        error=0.125,
        distance=0.0625,
        task="simple",
        retrieval=0.5,
        sentence=b"\0" * 16,
    )
    assert fake.asked[0][:2] == ("/read", "Bearer secret")
    assert (fake.last.text, fake.last.version, fake.last.policy, fake.last.nearest) == ("Hello?", "aaa", "learned", 0)


async def test_a_shadow_reads_along_with_the_threshold_of_its_own() -> None:
    fake = FakeClassifier(msgspec.structs.replace(TOLD, shadow=msgspec.structs.replace(SCORE, gain=0.125)))
    async with client(fake, book=Book(replace(RELEASE, shadow="bbb", shadow_threshold=0.2))) as made:
        reading = await made.read("Hello?")
    assert isinstance(reading, Reading)
    assert reading.shadow == Candidate("bbb", 0.125, 0.2)
    assert reading.shadow.tier == "small"
    assert fake.last.shadow == "bbb"


async def test_a_doubt_is_an_objection_and_the_scores_are_there_nevertheless() -> None:
    async with client(FakeClassifier(msgspec.structs.replace(TOLD, doubt="unlike every labelled prompt"))) as made:
        reading = await made.read("?")
    assert isinstance(reading, Reading)
    assert (reading.objection, reading.cause, reading.gain) == ("unlike every labelled prompt", "declined", 0.5)


async def test_a_long_prompt_or_a_broken_one_is_sent_as_what_is_looked_at() -> None:
    fake = FakeClassifier()
    async with client(fake) as made:
        await made.read("a" * 10_000_000)
        await made.read("half a pair \ud83d")
    first = msgspec.msgpack.decode(fake.asked[0][2], type=Ask)
    assert 1000 < len(first.text) < 100_000
    assert fake.last.text == "half a pair ?"


@pytest.mark.parametrize("part", ["small", "large", "gain", "error", "distance"])
@pytest.mark.parametrize("number", [math.nan, math.inf])
async def test_a_score_that_is_no_number_is_no_reading_and_of_a_shadow_it_is_no_shadow(
    part: str, number: float
) -> None:
    broken = msgspec.structs.replace(SCORE, **{part: number})
    async with client(FakeClassifier(msgspec.structs.replace(TOLD, score=broken))) as made:
        reading = await made.read("?")
    assert isinstance(reading, NoReading)
    assert reading.cause == "nan"
    shadowed = Book(replace(RELEASE, shadow="bbb", shadow_threshold=0.2))
    fake = FakeClassifier(msgspec.structs.replace(TOLD, shadow=broken))
    async with client(fake, book=shadowed, limits=Limits(5.0, failures=1)) as made:
        readings = [await made.read("?") for _ in range(3)]
    assert all(isinstance(one, Reading) and one.shadow is None for one in readings)


async def test_a_prompt_without_text_is_not_read() -> None:
    fake = FakeClassifier()
    async with client(fake) as made:
        assert await made.read(" \n") == NoReading("declined", "the prompt holds no text")
    assert fake.asked == []


@pytest.mark.parametrize(
    ("fake", "cause"),
    [
        (FakeClassifier(Refused("version", "trained on other features"), 404), "version"),
        (FakeClassifier(Refused("full", "256 wait"), 503), "full"),
        (FakeClassifier(Refused("late", "its turn came too late"), 503), "late"),
        (FakeClassifier(Refused("broken", "ValueError"), 500), "broken"),
        (FakeClassifier(b"<html>", 500), "invalid"),
        (FakeClassifier(b"\x93garbage"), "invalid"),
        (FakeClassifier(hangs=True), "late"),
    ],
)
async def test_every_way_to_fail_has_a_name(fake: FakeClassifier, cause: str) -> None:
    async with client(fake, limits=Limits(0.2 if fake.hangs else 5.0)) as made:
        reading = await made.read("?")
    assert isinstance(reading, NoReading)
    assert reading.cause == cause
    assert reading.objection


async def test_nothing_promoted_and_nobody_there_have_names_too() -> None:
    async with client(FakeClassifier(), book=Book(None)) as made:
        assert await made.read("?") == NoReading("none", "no router model is promoted")
    async with client() as made:
        assert await made.read("?") == NoReading("down", "no classifier answers")


async def test_a_replica_that_is_gone_is_down() -> None:
    async with client(directory=StaticDirectory({NAME: ["http://127.0.0.1:9"]})) as made:
        reading = await made.read("?")
    assert isinstance(reading, NoReading)
    assert reading.cause == "down"


async def test_a_replica_that_hangs_is_asked_no_more_until_its_pause_is_over() -> None:
    fake, clock = FakeClassifier(hangs=True), ManualClock()
    async with client(fake, clock=clock, limits=Limits(1.0, failures=2)) as made:
        causes = [(await made.read("?")).cause for _ in range(4)]
        assert causes == ["late", "late", "down", "down"]
        assert len(fake.asked) == 2
        fake.hangs = False
        clock.at += 10
        assert isinstance(await made.read("?"), Reading)
        assert isinstance(await made.read("?"), Reading)


async def test_a_busy_or_unknowing_replica_is_not_taken_for_a_broken_one() -> None:
    fake = FakeClassifier(Refused("full", "256 wait"), 503)
    async with client(fake, limits=Limits(5.0, failures=1)) as made:
        assert [(await made.read("?")).cause for _ in range(3)] == ["full"] * 3


async def test_a_call_that_is_cancelled_leaves_the_replica_open_to_the_next() -> None:
    fake = FakeClassifier(b"<html>")
    async with client(fake, limits=Limits(5.0, failures=1, pause_s=0.0)) as made:
        assert isinstance(await made.read("?"), NoReading)  # open: the next one is the probe
        await fake.came.acquire()
        fake.hangs = True
        probe = asyncio.create_task(made.read("?"))
        await fake.came.acquire()
        probe.cancel()
        await asyncio.wait({probe})
        fake.hangs, fake.answer = False, TOLD
        assert isinstance(await made.read("?"), Reading)


async def test_prompts_go_to_the_replica_that_has_the_fewest() -> None:
    slow, quick = FakeClassifier(hangs=True), FakeClassifier()
    async with client(slow, quick) as made:
        asked = [asyncio.create_task(made.read("?")) for _ in range(3)]
        done, waiting = await asyncio.wait(asked, timeout=2)
        assert (len(slow.asked), len(quick.asked)) in ((1, 2), (2, 1))
        for task in waiting:
            task.cancel()
        assert done


async def test_nearest_examples_come_when_they_are_asked_for() -> None:
    fake = FakeClassifier()
    async with client(fake) as made:
        outcome = await made.look("?", nearest=5)
    assert fake.last.nearest == 5
    assert [example.text for example in outcome.nearest] == ["like it"]


async def test_a_version_is_loaded_by_every_replica_and_those_that_fail_hold_nobody_up() -> None:
    good, bad = FakeClassifier(None), FakeClassifier(Refused("version", "no"), 404)
    async with client(good, bad) as made:
        await made.load("bbb")
    assert [fake.asked[0][0] for fake in (good, bad)] == ["/load", "/load"]


async def test_a_replica_that_came_later_is_told_what_is_live_once() -> None:
    first, second, book = FakeClassifier(None), FakeClassifier(None), Book(None)
    async with serve(first) as one, serve(second) as other:
        directory = StaticDirectory({NAME: [one]})
        async with client(directory=directory, book=book) as made:
            await made.introduce()
            assert first.asked == []
            book.release = replace(RELEASE, shadow="bbb", shadow_threshold=0.2)
            for urls in ([one], [one], [one, other], [other]):
                directory.base_urls[NAME] = urls
                await made.introduce()
    told = [[msgspec.msgpack.decode(body, type=Load).version for _, _, body in fake.asked] for fake in (first, second)]
    assert told == [["aaa", "bbb"]] * 2


async def test_what_every_replica_has_seen_is_collected() -> None:
    standing = {"aaa": Standing({"gain": (1, 2)}, {"gain": (3, 4)})}
    async with client(FakeClassifier(standing), FakeClassifier(standing), FakeClassifier(b"", 500)) as made:
        assert await made.drift() == [standing, standing]
