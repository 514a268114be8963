"""Counting costs: the parts that count, and the words and figures of a result."""

import asyncio
import time
from collections import Counter
from pathlib import Path

from benchmarks.cost.counters import Allocations, Calls
from benchmarks.cost.measure import LONG, REQUESTS, SHORT, Samples
from benchmarks.cost.result import functions, summarise, table_rows
from benchmarks.cost.standing import StandingLoop
from benchmarks.cost.wire import PATHS, answer


def three_times() -> list[str]:
    return [str(number) for number in (1, 2, 3)]


def test_calls_are_counted_by_name_and_the_same_each_time() -> None:
    count, found = Calls(), []
    with count.open():
        for _ in range(3):
            with count.window() as figures:
                three_times()
            found.append(figures["calls"])
    assert len(set(found)) == 1
    assert count.functions["benchmarks/test_cost.py:three_times"] == 1


def test_what_is_allocated_and_dropped_at_once_is_counted(tmp_path: Path) -> None:
    count, found = Allocations(tmp_path), []
    for size in (0, 1000, 1000):
        with count.window() as figures:
            for _ in range(50):
                bytearray(size)
        found.append(figures)
    assert found[1]["allocated_bytes"] - found[0]["allocated_bytes"] >= 45_000
    assert abs(found[1]["allocations"] - found[2]["allocations"]) <= 2
    assert list(tmp_path.iterdir()) == []


async def slept_while_standing(loop: StandingLoop) -> tuple[bool, bool]:
    """Whether a sleep ended while time stood still, and whether it does so behind it."""
    sleeper = asyncio.create_task(asyncio.sleep(0.01))
    with loop.standing():
        time.sleep(0.05)  # noqa: ASYNC251 - the machine's time goes on, the loop's does not
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        inside = sleeper.done()
    await asyncio.wait_for(sleeper, 5)
    return inside, sleeper.done()


def test_no_timer_comes_due_while_time_stands_still() -> None:
    with asyncio.Runner(loop_factory=StandingLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, StandingLoop)
        assert runner.run(slept_while_standing(loop)) == (False, True)


def test_an_engines_answer_has_one_write_per_event_and_as_many_events_as_asked_for() -> None:
    chat = answer(PATHS["chat"], stream=True, chunks=5)
    assert [piece.count(b'"content":"word "') for piece in chat] == [0, 1, 1, 1, 1, 1, 0]
    assert chat[-1].count(b"data: ") == 2
    assert len(answer(PATHS["completions"], stream=True, chunks=5)) == 6
    assert len(answer(PATHS["chat"], stream=False, chunks=5)) == 1


def counted() -> Samples:
    """Each chunk costs 10 calls, each request 100 beside them; the processor is busy with other things at times."""
    samples = Samples()
    for one in (*REQUESTS, SHORT, LONG):
        for noise in (0.0, 50.0, 1.0):
            costs = 100.0 + 10 * one.chunks
            samples.add(one.name, {"calls": costs, "cpu_us": costs + noise, "bytes_to_engine": 500.0})
        samples.functions[one.name] = Counter({"relay": 2 * one.chunks, "start": 2})
    return samples


def test_a_chunk_is_the_slope_between_two_lengths_of_answer() -> None:
    summary = summarise(counted())
    assert summary["chat_stream"] == {"calls": 740, "cpu_us_min": 740, "cpu_us_p50": 741, "bytes_to_engine": 500}
    assert summary["chunk"] == {"calls": 10, "cpu_us_min": 10, "cpu_us_p50": 10}
    assert summary["spread"]["chat"]["calls"] == 0
    rows = {row[0]: row[1:] for row in table_rows(summary)}
    assert rows["calls"] == ("740", "740", "740", "10")
    assert rows["bytes to engine"][-1] == rows["allocations"][0] == "–"


def test_a_result_says_which_functions_were_called() -> None:
    found = functions(counted(), requests=2)
    assert found["chat_stream"] == {"relay": 64, "start": 1}
    assert found["chunk"] == {"relay": 1, "start": 0}
