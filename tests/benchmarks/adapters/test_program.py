"""The program around the measures: its folder, its origin, its mistakes."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmarks.adapters.__main__ import SEED, app
from benchmarks.adapters.affinity import CommandSwitch
from benchmarks.adapters.resolve import CommandRecords
from models.errors import ConfigurationError
from tests.benchmarks.adapters.fleet_stack import KEY, FleetStack


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(one) for one in arguments])


def options(stack: FleetStack, out: Path) -> tuple[object, ...]:
    return ("--target", f"{stack.url}/v1", "--out", out, "--key", KEY, "--state-dir", out.parent)


def test_a_measure_leaves_its_table_its_figures_and_its_origin(fleet_stack: FleetStack, tmp_path: Path) -> None:
    out = tmp_path / "result"
    done = run("release", *options(fleet_stack, out), "--releases", 2, "--json")
    assert done.exit_code == 0, done.output
    summary, origin = (json.loads((out / f"{name}.json").read_text()) for name in ("summary", "origin"))
    assert json.loads(done.stdout) == summary
    assert summary["parts"]["own_ms"]["count"] == 2
    assert (origin["counts"], origin["seeds"]) == ({"releases": 2}, [SEED])
    assert origin["config"] == {"target": fleet_stack.url, "base": "demo-small", "rank": 16}
    assert f"Commit {origin['commit'][:12]}" in (out / "table.md").read_text()
    assert KEY not in "".join(path.read_text() for path in out.iterdir())
    assert "holds a result already" in run("release", *options(fleet_stack, out)).stderr


def test_throughput_makes_its_adapters_first(fleet_stack: FleetStack, tmp_path: Path) -> None:
    more = ("--plain", "plain", "--adapters", 3, "--rounds", 2, "--requests", 10, "--clients", "2,4")
    done = run("throughput", *options(fleet_stack, tmp_path / "result"), "--base", "demo-small", *more)
    assert done.exit_code == 0, done.output
    assert "| 4 | 3 active adapters | " in done.stdout
    assert sorted(fleet_stack.pushed) == ["adapter-0001", "adapter-0002", "adapter-0003"]
    assert {seen.body["max_tokens"] for seen in fleet_stack.engine.seen} == {64}
    assert all("logit_bias" in seen.body for seen in fleet_stack.engine.seen)


def test_a_mistake_is_told_and_nothing_is_asked(fleet_stack: FleetStack, tmp_path: Path) -> None:
    given = options(fleet_stack, tmp_path / "result")
    assert "Unknown model 'none'" in run("release", *given, "--base", "none").stderr
    bad = run("throughput", *given, "--plain", "plain", "--clients", "8;16")
    assert "Whole numbers with commas" in bad.stderr
    assert (bad.exit_code, fleet_stack.pushed) == (2, {})


async def test_the_switch_and_the_records_tell_why_the_command_line_could_not(tmp_path: Path) -> None:
    url = "http://127.0.0.1:9"
    said = ("sh", "-c", 'test "$PENSTOCK__ADAPTERS__AFFINITY" = "$0" || { echo no such stack >&2; exit 1; }')
    await CommandSwitch("p", tmp_path, url, (*said, "false"))(False)
    with pytest.raises(ConfigurationError, match="could not be changed: no such stack"):
        await CommandSwitch("p", tmp_path, url, (*said, "false"))(True)
    with pytest.raises(ConfigurationError, match="could not be read"):
        CommandRecords(tmp_path)(5)
