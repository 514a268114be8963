"""Figures from calls: every one by hand on a few calls."""

import pytest

from benchmarks.calls import Call
from benchmarks.metrics import Metrics, good, measure
from benchmarks.runner import Run
from benchmarks.suite import Load, Slo

FAST = Slo(name="fast", ttft_ms=100, tpot_ms=20)


def load(**more: object) -> Load:
    return Load.model_validate(
        {
            "prompts": {"kind": "words", "words": [3, 5]},
            "workload": {"kind": "closed", "clients": 2},
            "answer_tokens": 8,
            "requests": 4,
            **more,
        }
    )


def call(sent_s: float, *chunks: float, tokens: int | None = None, error: str | None = None) -> Call:
    """Chunks in seconds after sending; the answer ends with its last one."""
    stamps = [sent_s + chunk for chunk in chunks]
    return Call(
        0,
        sent_s=sent_s,
        chunks_s=stamps,
        ended_s=(stamps or [sent_s + 0.5])[-1],
        status=200,
        error=error,
        finish_reason=None if error else "length",
        output_tokens=tokens if tokens is not None else len(stamps),
        input_tokens=10,
        cached_tokens=4,
    )


def figures(*calls: Call, ended_s: float = 2.0, stopped: str | None = None, **more: object) -> Metrics:
    run = Run(calls=list(calls), ended_s=ended_s, cpu_share=0.1, stopped=stopped)
    return measure(run, load(**more), slos=[FAST])


def test_latencies_are_counted_from_sending() -> None:
    found = figures(call(0.0, 0.1, 0.15, 0.25), call(1.0, 0.3, 0.4, 0.5))
    assert found.ttft_ms is not None
    assert (found.ttft_ms.count, found.ttft_ms.p50) == (2, pytest.approx(200))
    assert found.second_token_ms is not None
    assert found.second_token_ms.mean == pytest.approx((150 + 400) / 2)
    assert found.tpot_ms is not None
    assert found.tpot_ms.mean == pytest.approx((75 + 100) / 2)
    assert found.itl_ms is not None
    assert (found.itl_ms.count, found.itl_ms.mean) == (4, pytest.approx((50 + 100 + 100 + 100) / 4))
    assert found.e2e_ms is not None
    assert found.e2e_ms.mean == pytest.approx((250 + 500) / 2)
    assert (found.requests_per_s, found.tokens_per_s) == (pytest.approx(1.0), pytest.approx(3.0))
    assert (found.input_tokens, found.output_tokens, found.cached_tokens) == (20, 6, 8)


def test_several_tokens_in_one_chunk_are_counted_as_the_server_says() -> None:
    found = figures(call(0.0, 0.1, 0.2, 0.3, tokens=9))
    assert found.tokens_per_chunk == pytest.approx(3.0)
    assert found.tokens_per_s == pytest.approx(9 / 2)
    assert found.tpot_ms is not None
    assert found.tpot_ms.p50 == pytest.approx(200 / 8)


def test_a_failed_request_has_no_latency_and_is_a_miss() -> None:
    found = figures(call(0.0, 0.05, 0.06), call(0.1, 0.05, error="cut"), call(0.2, error="timeout"))
    assert found.errors == {"cut": 1, "timeout": 1}
    assert found.ttft_ms is not None
    assert found.ttft_ms.count == found.completed == 1
    (goodput,) = found.goodput
    assert (goodput.good, goodput.share, goodput.per_s) == (1, pytest.approx(1 / 3), pytest.approx(0.5))


@pytest.mark.parametrize(
    ("chunks", "met"), [((0.1, 0.12), True), ((0.11, 0.12), False), ((0.1, 0.13), False), ((0.1,), True), ((), False)]
)
def test_an_objective_needs_every_limit(chunks: tuple[float, ...], met: bool) -> None:
    assert good(call(0.0, *chunks), FAST) is met


def test_an_objective_is_counted_from_when_a_request_was_due() -> None:
    late = call(1.0, 0.05)
    assert good(late, FAST)
    late.due_s = 0.9
    assert not good(late, FAST)


def test_the_warm_up_and_what_was_sent_after_the_end_count_in_nothing() -> None:
    calls = call(0.5, 0.1, 0.2), call(1.5, 0.1, 0.2), call(3.5, 0.1, 0.2)
    found = figures(*calls, ended_s=4.0, requests=None, duration_s=3, warm_up_s=1)
    assert (found.window_s, found.sent, found.completed) == (2.0, 1, 1)
    assert found.tokens_per_s == pytest.approx(1.0)


def test_an_answer_that_runs_over_the_end_counts_with_what_came_before_it() -> None:
    found = figures(call(1.0, 0.5, 1.5, 2.5), ended_s=3.5, requests=None, duration_s=3)
    assert found.tokens_per_s == pytest.approx(2 / 3)
    assert found.completed == 1
    assert found.requests_per_s == 0


def test_what_had_not_ended_is_said_and_counts_in_no_latency() -> None:
    open_call = Call(1, sent_s=1.0, chunks_s=[1.2])
    found = figures(call(0.0, 0.1, 0.2), open_call, stopped="interrupted")
    assert (found.sent, found.completed, found.unfinished) == (2, 1, 1)
    assert found.requests_per_s == pytest.approx(0.5)


def test_a_run_that_the_client_limited_says_so() -> None:
    late = call(1.0, 0.1)
    late.due_s = 0.5
    assert "late" in str(figures(late).client_limited)
    assert "CAP_SYS_NICE" in str(figures(late).client_limited)
    ahead = Run(calls=[late], ended_s=2.0, priority="real-time")
    assert str(measure(ahead, load(), slos=[]).client_limited).endswith("too busy to measure")
    assert figures(call(1.0, 0.1)).client_limited is None
    busy = Run(calls=[call(1.0, 0.1)], ended_s=2.0, cpu_share=0.97)
    assert "97%" in str(measure(busy, load(), slos=[]).client_limited)


def test_a_run_without_an_answer_has_no_latencies() -> None:
    found = figures(ended_s=0.0)
    assert (found.sent, found.ttft_ms, found.tokens_per_s) == (0, None, 0)
