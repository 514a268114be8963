import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks.stored import changes, ratio_of
from models.errors import ConfigurationError
from serving.cli import build
from tests.benchmarks.stored import calls, store_run


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    """The same load twice, the second time half as slow again."""
    for name, slower in (("before", 1.0), ("after", 1.5)):
        store_run(tmp_path / name, calls(4, seconds=6.0, slower=slower), clients=4)
    return tmp_path / "before", tmp_path / "after"


def blocks(folder: Path, tokens_per_s: list[float], **more: Any) -> Path:
    folder.mkdir()
    lines = [
        {
            "arm": "ours",
            "clients": 4,
            "rate": None,
            "fault": None,
            "metrics": {"tokens_per_s": speed, "ttft_ms": {"p50": 20.0}},
        }
        for speed in tokens_per_s
    ]
    lines.append({**lines[0], "fault": "cut", "metrics": {"tokens_per_s": 9e9, "ttft_ms": None}})
    (folder / "blocks.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (folder / "summary.json").write_text("{}")
    (folder / "origin.json").write_text(json.dumps({"config": {"suite": "s", "load": {}, **more}, "stopped": None}))
    return folder


def test_two_runs_are_compared_figure_by_figure(runs: tuple[Path, Path]) -> None:
    found = {one.figure: one for one in changes(*runs)}
    ttft = found["TTFT p50, ms"]
    assert 1.3 < ttft.ratio.median < 1.7
    assert ttft.ratio.low < ttft.ratio.median < ttft.ratio.high
    assert ttft.after / ttft.before == pytest.approx(ttft.ratio.median)
    assert found["tokens_per_s"].ratio.median < 1
    assert found["tokens_per_s"].as_row()[-1].endswith("×"), "one value has no interval"


def test_two_comparisons_are_compared_arm_by_arm_and_faulty_blocks_do_not_count(tmp_path: Path) -> None:
    one, other = blocks(tmp_path / "one", [100, 110, 90]), blocks(tmp_path / "other", [200, 210, 190])
    speed, ttft = changes(one, other)
    assert (speed.of, speed.figure, speed.before, speed.after) == ("ours · 4 clients", "tokens/s", 100, 200)
    assert speed.ratio.low == pytest.approx(190 / 110)
    assert speed.ratio.high == pytest.approx(210 / 90)
    assert (ttft.ratio.low, ttft.ratio.high) == (1, 1)


def test_an_interval_holds_the_ratio_that_the_values_were_drawn_with() -> None:
    chance = np.random.default_rng(7)
    one, other = chance.normal(100, 5, 400), chance.normal(110, 5, 400)
    found = ratio_of(one.tolist(), other.tolist(), statistic=np.median)
    assert found.low < 1.1 < found.high
    assert found.high - found.low < 0.03


def test_what_does_not_compare_is_a_sentence(runs: tuple[Path, Path], tmp_path: Path) -> None:
    one = blocks(tmp_path / "one", [1.0])
    for pair, said in (
        ((one, blocks(tmp_path / "two", [1.0], suite="t")), "they differ in suite"),
        ((runs[0], one), "they differ in suite, size, load"),
        ((one, tmp_path / "none"), "is no folder"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            changes(*pair)


def test_the_command_prints_the_table_or_data(runs: tuple[Path, Path]) -> None:
    command = ["bench", "compare", *map(str, runs)]
    table = CliRunner().invoke(build(["bench"]), command)
    assert table.exit_code == 0, table.output
    assert "TTFT p50, ms" in table.output
    found = json.loads(CliRunner().invoke(build(["bench"]), [*command, "--json"]).stdout)
    assert {"TTFT p50, ms", "tokens_per_s"} <= {one["figure"] for one in found}
    assert "--out DIR" in CliRunner().invoke(build(["bench"]), ["bench", "compare", "chat-short"]).output
    assert "or two folders" in CliRunner().invoke(build(["bench"]), [*command, "third"]).output
