"""A classifier process over HTTP, from the gateway's client to the trained model: real batches, a real server."""

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import httpx2
import pytest

from router.types import NoReading, Reading
from serving.classifier.batches import Batches
from serving.classifier.client import NAME, ClassifierClient, Limits
from serving.classifier.door import ClassifierDoor
from serving.classifier.messages import Ask, Refused, Told
from serving.classifier.scorer import Scorer
from serving.store.releases import ReleaseRow
from serving.testing import StaticDirectory, serve
from tests.serving.conftest import ManualClock

TOKEN = "secret"
SUM = "If 12 apples cost 30, what do 7 cost?"


class Book:
    """What is live, in the test's hands."""

    def __init__(self, version: str) -> None:
        self.release: ReleaseRow | None = ReleaseRow("default", "learned", "promote", version, 0.25, 5.0)


@pytest.fixture
async def url(scorer: Scorer) -> AsyncIterator[str]:
    async with (
        Batches(scorer.read, most=4, queue=8) as readings,
        serve(ClassifierDoor(scorer, readings, token=TOKEN)) as address,
    ):
        yield address


def client(url: str, version: str) -> ClassifierClient:
    return ClassifierClient(
        StaticDirectory({NAME: [url]}),
        Book(version),
        token=TOKEN,
        policy="learned",
        limits=Limits(5),
        clock=ManualClock(),
    )


async def test_a_reading_comes_all_the_way_and_many_at_once_are_the_same(url: str, versions: tuple[str, str]) -> None:
    async with client(url, versions[0]) as made:
        await made.load(versions[0])
        alone = await made.read(SUM)
        many = await asyncio.gather(*(made.read(SUM) for _ in range(8)))
    assert isinstance(alone, Reading)
    assert alone.gain > 0.25
    assert len(alone.sentence) == 4 * 64
    assert many == [alone] * 8


async def test_a_version_is_loaded_before_it_is_asked_for(url: str, versions: tuple[str, str], scorer: Scorer) -> None:
    async with client(url, versions[0]) as made:
        await made.load(versions[1])
        assert list(scorer.drift()) == [versions[1]]
        await made.load("f" * 12)
        assert list(scorer.drift()) == [versions[1]]


async def test_a_version_that_nobody_published_is_told_as_such(url: str, versions: tuple[str, str]) -> None:
    assert "f" * 12 not in versions
    async with client(url, "f" * 12) as made:
        reading = await made.read(SUM)
    assert isinstance(reading, NoReading)
    assert (reading.cause, reading.objection) == ("version", "the version is not loaded")


async def test_a_question_about_a_prompt_is_not_counted_as_traffic(url: str, versions: tuple[str, str]) -> None:
    async with client(url, versions[0]) as made:
        await made.load(versions[0])
        await made.read(SUM)
        outcome = await made.look(SUM, nearest=2)
        (stands,) = await made.drift()
    assert len(outcome.nearest) == 2
    assert sum(stands[versions[0]].now["distance"]) == 1


@pytest.mark.parametrize("path", ["/read", "/load", "/drift", "/metrics"])
async def test_nobody_comes_in_without_the_token(url: str, path: str) -> None:
    async with httpx2.AsyncClient(base_url=url, trust_env=False) as made:
        for headers in ({}, {"authorization": "Bearer wrong"}):
            answer = await made.request("GET" if path == "/metrics" else "POST", path, headers=headers)
            assert answer.status_code == 401


@pytest.mark.parametrize("path", ["/read", "/load"])
async def test_what_is_no_message_is_refused(url: str, path: str) -> None:
    async with httpx2.AsyncClient(base_url=url, trust_env=False) as made:
        answer = await made.post(path, content=b"{}", headers={"authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 400


async def test_metrics_count_prompts_by_outcome_and_tell_drift_once_there_is_enough(
    url: str, versions: tuple[str, str]
) -> None:
    async with client(url, versions[0]) as made, httpx2.AsyncClient(base_url=url, trust_env=False) as plain:
        await made.load(versions[0])
        await made.read(SUM)
        text = (await plain.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})).text
        assert 'penstock_classifier_prompts_total{outcome="read"} 1.0' in text
        assert "penstock_router_drift_psi{" not in text
        for _ in range(50):
            await asyncio.gather(*(made.read(SUM) for _ in range(4)))
        text = (await plain.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})).text
    assert f'penstock_router_drift_psi{{quantity="gain learned",version="{versions[0]}"}}' in text


async def test_work_that_fails_is_told_and_the_next_prompt_is_another_matter(scorer: Scorer) -> None:
    failures = [RuntimeError("no memory")]

    def work(asks: Sequence[Ask]) -> Sequence[Told | Refused]:
        if failures:
            raise failures.pop()
        return [Refused("version", "none") for _ in asks]

    async with (
        Batches(work, most=4, queue=8) as readings,
        serve(ClassifierDoor(scorer, readings, token=TOKEN)) as address,
        client(address, "v") as made,
    ):
        first = await made.read(SUM)
        second = await made.read(SUM)
    assert isinstance(first, NoReading)
    assert isinstance(second, NoReading)
    assert (first.cause, second.cause) == ("broken", "version")


async def test_more_prompts_than_may_wait_are_refused_at_once_and_each_is_counted(scorer: Scorer) -> None:
    begun, go = threading.Event(), threading.Event()

    def work(asks: Sequence[Ask]) -> Sequence[Told | Refused]:
        begun.set()
        assert go.wait(10)
        return [Refused("version", "none") for _ in asks]

    async with (
        Batches(work, most=1, queue=2) as readings,
        serve(ClassifierDoor(scorer, readings, token=TOKEN)) as address,
        client(address, "v") as made,
        httpx2.AsyncClient(base_url=address, headers={"authorization": f"Bearer {TOKEN}"}, trust_env=False) as plain,
    ):
        first = asyncio.create_task(made.read(SUM))
        await asyncio.to_thread(begun.wait, 10)
        rest = [asyncio.create_task(made.read(SUM)) for _ in range(9)]
        await asyncio.wait(rest, return_when=asyncio.FIRST_COMPLETED)  # while the first is still at work
        go.set()
        found = Counter(
            reading.cause for reading in await asyncio.gather(first, *rest) if isinstance(reading, NoReading)
        )
        text = (await plain.get("/metrics")).text
    assert found == {"version": 3, "full": 7}
    assert 'penstock_classifier_prompts_total{outcome="full"} 7.0' in text


async def test_a_version_that_is_asked_for_before_it_is_there_is_fetched_while_the_live_one_goes_on(
    url: str, versions: tuple[str, str], scorer: Scorer
) -> None:
    async with client(url, versions[0]) as made:
        first = await made.read(SUM)
        for _ in range(100):
            if scorer.knows(versions[0]):
                break
            await asyncio.sleep(0.02)
        second = await made.read(SUM)
    assert isinstance(first, NoReading)
    assert first.cause == "version"
    assert isinstance(second, Reading)


async def test_a_shadow_that_cannot_be_had_leaves_the_live_version_alone_and_is_not_looked_for_all_the_time(
    url: str, versions: tuple[str, str], scorer: Scorer, caplog: pytest.LogCaptureFixture
) -> None:
    async with client(url, versions[0]) as made:
        await made.load(versions[0])
        made._live.release = replace(made._live.release, shadow="f" * 12, shadow_threshold=0.1)  # type: ignore[misc, type-var]
        readings = [await made.read(SUM) for _ in range(5)]
        for _ in range(100):
            if caplog.records:
                break
            await asyncio.sleep(0.02)
    assert all(isinstance(reading, Reading) and reading.shadow is None for reading in readings)
    assert [record.message for record in caplog.records] == [f"router version {'f' * 12} cannot be loaded"]
