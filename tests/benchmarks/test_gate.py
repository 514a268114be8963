"""The gate fails for what got worse, passes what did not, and refuses what does not compare."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from serving.cli import build

CONFIG = {"suite": "chat-short", "size": "cpu", "load": {"answer_tokens": 8}, "model": "m", "target": "http://a"}


def stored(folder: Path, *, ttft: float | None = 50.0, errors: Any = None, **origin: Any) -> Path:
    folder.mkdir()
    spread = {"count": 10, "p50": ttft} if ttft is not None else None
    goodput = [{"slo": "chat", "share": 0.98}]
    summary = {"ttft_ms": spread, "errors": errors or {}, "goodput": goodput, "client_limited": None}
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "origin.json").write_text(json.dumps({"config": CONFIG, "stopped": None, **origin}))
    return folder


def gate(run: Path, baseline: Path, *conditions: str, options: Sequence[str] = ()) -> Any:
    asked = [part for condition in conditions for part in ("--fail-if", condition)]
    command = ["bench", "gate", str(run), "--baseline", str(baseline), *asked, *options, "--json"]
    return CliRunner().invoke(build(["bench"]), command)


@pytest.mark.parametrize(
    ("condition", "failed"),
    [
        ("ttft_ms_p50 > 1.10x", True),
        ("ttft_ms_p50 > 1.25x", False),
        ("ttft_ms_p50>59", True),
        ("ttft_ms_p50 >= 60", True),
        ("goodput_chat_share < 0.99", True),
        ("goodput_chat_share < 1x", False),
        ("errors > 0", True),
        ("errors_cut > 2", False),
        ("errors_status_503 > 0", True),
        ("errors_timeout > 0", False),
        ("tpot_ms_p50 > 1x", True),
    ],
)
def test_a_condition_that_is_met_fails_and_a_figure_that_is_missing_too(
    tmp_path: Path, condition: str, failed: bool
) -> None:
    run = stored(tmp_path / "run", ttft=60.0, errors={"cut": 2, "status 503": 1})
    done = gate(run, stored(tmp_path / "base"), condition)
    assert done.exit_code == int(failed), done.output
    (verdict,) = json.loads(done.stdout)["conditions"]
    assert verdict["failed"] is failed
    assert verdict["sentence"].startswith("Failed: " if failed else "Passed: ")


def test_one_failed_condition_of_several_is_enough(tmp_path: Path) -> None:
    done = gate(stored(tmp_path / "run"), stored(tmp_path / "base"), "errors > 0", "ttft_ms_p50 > 40")
    assert done.exit_code == 1
    assert [one["failed"] for one in json.loads(done.stdout)["conditions"]] == [False, True]


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"config": {**CONFIG, "model": "n"}}, "they differ in model"),
        ({"config": {**CONFIG, "load": {}}}, "they differ in load"),
        ({"config": {**CONFIG, "models": ["a-1", "a-2"]}}, "they differ in models"),
        ({"stopped": "interrupted"}, "is not complete: interrupted"),
        ({"config": {**CONFIG, "objective": {}}}, "is no result of `penstock bench run` or `penstock bench cost`"),
    ],
)
def test_runs_that_do_not_compare_are_refused(tmp_path: Path, other: dict[str, Any], says: str) -> None:
    done = gate(stored(tmp_path / "run"), stored(tmp_path / "base", **other), "errors > 0")
    assert (done.exit_code, says in done.output) == (1, True)


def test_another_address_of_the_same_load_compares(tmp_path: Path) -> None:
    base = stored(tmp_path / "base", config={**CONFIG, "target": "http://b"})
    assert gate(stored(tmp_path / "run"), base, "errors > 0").exit_code == 0


def test_a_baseline_that_is_older_than_a_field_compares(tmp_path: Path) -> None:
    newer = {**CONFIG, "models": None, "load": {"answer_tokens": 8, "models": None}}
    assert gate(stored(tmp_path / "run", config=newer), stored(tmp_path / "base"), "errors > 0").exit_code == 0


@pytest.mark.parametrize("condition", ["", "ttft", "ttft_ms_p50 > fast", "ttft_ms_p50 = 3", "> 1"])
def test_what_is_no_condition_is_a_sentence(tmp_path: Path, condition: str) -> None:
    done = gate(stored(tmp_path / "run"), stored(tmp_path / "base"), condition)
    assert (done.exit_code, "is no condition" in done.output) == (1, True)


def test_a_folder_that_is_no_result_is_a_sentence(tmp_path: Path) -> None:
    done = gate(tmp_path, stored(tmp_path / "base"), "errors > 0")
    assert (done.exit_code, "is not a result" in done.output) == (1, True)


def test_a_run_that_the_client_limited_is_pointed_out(tmp_path: Path) -> None:
    run = stored(tmp_path / "run")
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps({**summary, "client_limited": "too late"}))
    done = gate(run, stored(tmp_path / "base"), "errors > 0")
    assert [one["sentence"] for one in json.loads(done.stdout)["conditions"]][1].endswith("too late.")


def sentences(done: Any, *beginnings: str) -> list[str]:
    """What was said of conditions that were met."""
    said = [one["sentence"] for one in json.loads(done.stdout)["conditions"]]
    return [sentence for sentence in said if sentence.startswith(beginnings)]


@pytest.mark.parametrize(("options", "code"), [((), 0), (("--strict",), 1)])
def test_a_warning_is_said_and_fails_only_when_strict(tmp_path: Path, options: tuple[str, ...], code: int) -> None:
    warn = ("--warn-if", "ttft_ms_p50 > 1.10x", *options)
    done = gate(stored(tmp_path / "run", ttft=60.0), stored(tmp_path / "base"), "errors > 0", options=warn)
    assert done.exit_code == code
    (warning,) = sentences(done, "Warning: ")
    assert "warns if ttft_ms_p50 > 1.1x" in warning


def test_without_conditions_errors_fail_and_times_warn(tmp_path: Path) -> None:
    base = stored(tmp_path / "base")
    slow = gate(stored(tmp_path / "slow", ttft=60.0), base)
    assert (slow.exit_code, len(sentences(slow, "Warning: ttft_ms_p50"))) == (0, 1)
    wrong = gate(stored(tmp_path / "wrong", errors={"cut": 1}), base)
    assert (wrong.exit_code, len(sentences(wrong, "Failed: errors is 1"))) == (1, 1)


COSTS = {"calls": 1000.0, "allocations": 2000.0, "cpu_us_min": 50.0, "cpu_us_p50": 60.0, "bytes_to_client": 300.0}
HERE = {"python": "3.11.7", "hardware": {"processor": "A"}}


def counted(folder: Path, costs: Mapping[str, float] = COSTS, **origin: Any) -> Path:
    folder.mkdir()
    summary = {"chat": costs, "spread": {"chat": {"calls": 0.5}}}
    (folder / "summary.json").write_text(json.dumps(summary))
    config = {"kind": "cost", "model": "m", "requests": []}
    (folder / "origin.json").write_text(json.dumps({"config": config, "stopped": None, **HERE, **origin}))
    return folder


@pytest.mark.parametrize(
    ("worse", "origin", "said"),
    [
        ({"calls": 1040.0}, {}, None),
        ({"calls": 1060.0}, {}, "Failed"),
        ({"calls": 1060.0}, {"python": "3.11.9"}, "Failed"),
        ({"calls": 1060.0}, {"python": "3.12.1"}, "Warning"),
        ({"allocations": 2200.0}, {}, "Failed"),
        ({"bytes_to_client": 304.0}, {}, "Failed"),
        ({"cpu_us_min": 62.0}, {}, "Warning"),
        ({"cpu_us_min": 70.0}, {}, "Failed"),
        ({"cpu_us_min": 70.0}, {"hardware": {"processor": "B"}}, "Warning"),
        ({"cpu_us_p50": 90.0}, {}, "Warning"),
    ],
)
def test_without_conditions_counted_costs_fail_and_what_the_machine_moves_warns(
    tmp_path: Path, worse: dict[str, float], origin: dict[str, Any], said: str | None
) -> None:
    done = gate(counted(tmp_path / "run", {**COSTS, **worse}, **origin), counted(tmp_path / "base"))
    assert done.exit_code == int(said == "Failed"), done.output
    met = {one.split(":")[0] for one in sentences(done, "Failed", "Warning")}
    assert met - {"Warning"} == ({said} - {"Warning", None})
    assert bool(met) is (said is not None)


def test_a_cost_that_is_not_counted_any_more_fails(tmp_path: Path) -> None:
    fewer = {name: value for name, value in COSTS.items() if name != "calls"}
    done = gate(counted(tmp_path / "run", fewer), counted(tmp_path / "base"))
    assert (done.exit_code, sentences(done, "Failed")) == (1, ["Failed: the run has no figure 'chat_calls'."])


def test_a_quick_count_has_no_processor_time_to_judge(tmp_path: Path) -> None:
    quick = {name: value for name, value in COSTS.items() if "cpu" not in name}
    done = gate(counted(tmp_path / "run", quick), counted(tmp_path / "base"))
    assert (done.exit_code, "cpu" in done.stdout) == (0, False)


def test_costs_and_a_run_do_not_compare(tmp_path: Path) -> None:
    done = gate(counted(tmp_path / "run"), stored(tmp_path / "base"))
    assert (done.exit_code, "they differ in kind" in done.output) == (1, True)
