from typing import Any

from benchmarks.arms import Target
from benchmarks.stages import edge_of, stages, within
from benchmarks.summary import Summary, markdown
from serving.testing import Script
from tests.benchmarks.test_bench import Server


def record(started_at: float, *, slower_ms: float = 0.0, stream: bool = True) -> dict[str, Any]:
    steps = {"key": 0.1, "parse": 0.2, "route": 0.3, "engine_start": 22.0 + slower_ms, "first_token": 21.0 + slower_ms}
    return {"started_at": started_at, "stream": stream, "ttft_ms": 23.0 + slower_ms, "stages_ms": steps}


def test_the_stages_add_up_to_what_the_gateway_and_its_edge_took() -> None:
    found = stages(
        [record(1.0), record(2.0), record(3.0, slower_ms=9)],
        load="1 client",
        through_ms=23.5,
        direct_ms=20.5,
        edge_ms=0.6,
    )
    assert found is not None
    assert {row.stage: round(row.ms, 6) for row in found.rows} == {
        "edge": 0.6,
        "key": 0.1,
        "parse": 0.2,
        "route": 0.3,
        "pick": 1.0,
        "connect": 0.5,
        "deliver": 0.4,
    }
    assert (found.calls, round(found.sum_ms, 6), found.through_minus_direct_ms) == (3, 3.1, 3.0)
    assert round(found.closes_within, 3) == 0.033


def test_without_records_there_is_no_budget() -> None:
    times = {"through_ms": 2.0, "direct_ms": 1.0, "edge_ms": 0.0}
    assert stages([], load="1 client", **times) is None
    assert stages([record(1.0, stream=False)], load="1 client", **times) is None


def test_only_calls_of_the_measured_blocks_count() -> None:
    taken = within([record(at) for at in (0.5, 1.5, 2.5, 3.5)], [(1.0, 2.0), (3.0, 4.0)])
    assert [one["started_at"] for one in taken] == [1.5, 3.5]


def test_the_edge_is_what_a_request_without_an_engine_takes_longer() -> None:
    one, other = Server(Script()), Server(Script())
    try:
        targets = [Target(server.url, "fake", "sk-test") for server in (one, other)]
        assert abs(edge_of(*targets)) < 5
    finally:
        one.end()
        other.end()


def test_the_budget_stands_below_the_table() -> None:
    found = stages([record(1.0)], load="1 client", through_ms=23.5, direct_ms=20.5, edge_ms=0.6)
    text = markdown(Summary("s", "mock", "bare-mock", (), None, stages=found))
    assert "What is added to the first token, 1 client, from 1 records of the stack:" in text
    assert "| sum | +3.10 ms | closes to within 3% of the line below |" in text
    assert "| through − direct | +3.00 ms |" in text
