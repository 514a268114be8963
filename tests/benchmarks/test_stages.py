from typing import Any

from benchmarks.stages import Seen, paired, stages
from benchmarks.summary import Summary, markdown


def record(started_at: float, *, slower_ms: float = 0.0, stream: bool = True) -> dict[str, Any]:
    steps = {"key": 0.1, "parse": 0.2, "route": 0.3, "engine_start": 22.0 + slower_ms, "first_token": 21.0 + slower_ms}
    return {"started_at": started_at, "stream": stream, "ttft_ms": 23.0 + slower_ms, "stages_ms": steps}


def pair(at: float, **more: Any) -> tuple[Seen, dict[str, Any]]:
    """Sent 1 ms before it reached the gateway; 0.5 ms from the gateway's first piece to the client."""
    one = record(at, **more)
    return Seen(at - 0.001, at + 0.001 * (one["ttft_ms"] + 0.5)), one


TIMES: Any = {"load": "1 client", "through_ms": 24.5, "direct_ms": 21.2}


def test_the_stages_add_up_to_what_the_clients_saw() -> None:
    found = stages([pair(1.0), pair(2.0), pair(3.0, slower_ms=9)], **TIMES)
    assert found is not None
    assert {row.stage: round(row.ms, 3) for row in found.rows} == {
        "in": 1.0,
        "key": 0.1,
        "parse": 0.2,
        "route": 0.3,
        "pick": 1.0,
        "engine": -0.2,
        "deliver": 0.4,
        "out": 0.5,
    }
    assert (found.calls, round(found.sum_ms, 3), round(found.through_minus_direct_ms, 3)) == (3, 3.3, 3.3)
    assert round(found.closes_within, 3) == 0


def test_a_sum_that_is_not_what_the_clients_saw_says_so() -> None:
    found = stages([pair(1.0)], **{**TIMES, "through_ms": 27.8})
    assert found is not None
    assert round(found.closes_within, 3) == 0.5


def test_without_records_of_streams_there_is_no_budget() -> None:
    assert stages([], **TIMES) is None
    whole = {**record(1.0), "ttft_ms": None}
    assert stages([(Seen(0.9, 1.1), whole)], **TIMES) is None


def test_calls_and_records_are_paired_in_their_order_inside_a_block() -> None:
    records = [record(at) for at in (3.5, 1.1, 1.6, 9.0, 3.2)]
    calls = [Seen(at - 0.01, at) for at in (1.6, 1.1, 3.2, 3.5)]
    found = list(paired(records, calls, spans=[(1.0, 2.0), (3.0, 4.0)]))
    assert [round(one["started_at"] - seen.sent, 3) for seen, one in found] == [0.01] * 4


def test_a_block_with_calls_of_somebody_else_is_left_out() -> None:
    records = [record(1.1), record(1.2), record(3.1)]
    found = list(paired(records, [Seen(1.09, 2.0), Seen(3.09, 4.0)], spans=[(1.0, 2.0), (3.0, 4.0)]))
    assert [one["started_at"] for _, one in found] == [3.1]


def test_the_budget_stands_below_the_table() -> None:
    found = stages([pair(1.0)], **TIMES)
    text = markdown(Summary("s", "mock", "bare-mock", (), None, stages=found))
    assert "What is added to the first token, 1 client, from 1 records of the stack:" in text
    assert "| sum | +3.30 ms | closes to within 0% of the line below |" in text
    assert "| through − direct | +3.30 ms |" in text
