import json
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from serving.commands.checkup import (
    GIB,
    Finding,
    card_findings,
    machine_findings,
    package_finding,
    port_finding,
    profile_findings,
)
from serving.commands.machine import Machine, is_listening, this_machine
from serving.settings import load_settings
from serving.state import StackInfo, StateDir

Run = Callable[..., Result]

GOOD = Machine(
    python=(3, 12),
    system="Linux x86_64",
    cores=4,
    memory=32 * GIB,
    memory_free=24 * GIB,
    disk_free=100 * GIB,
    shared_memory_free=8 * GIB,
    gpus=(),
    installed={},
)


def verdicts(machine: Machine, profile: str = "cpu-demo") -> dict[str, str]:
    found = [*machine_findings(machine), *profile_findings(load_settings(profile), machine)]
    assert all(finding.advice for finding in found if finding.verdict != "ok")
    return {finding.name: finding.verdict for finding in found}


def test_a_good_machine_has_nothing_to_complain_about() -> None:
    found = verdicts(GOOD)
    assert len(found) == 7
    assert set(found.values()) == {"ok"}


@pytest.mark.parametrize(
    ("change", "name", "verdict"),
    [
        ({"python": (3, 10)}, "python", "failure"),
        ({"python": (3, 14)}, "python", "failure"),
        ({"system": "Darwin arm64"}, "platform", "failure"),
        ({"cores": 1}, "cores", "warning"),
        ({"disk_free": GIB}, "disk", "failure"),
        ({"memory_free": GIB}, "memory", "warning"),
        ({"memory_free": GIB, "memory": 2 * GIB}, "memory", "failure"),
        ({"shared_memory_free": 64 * 2**20}, "shared memory", "warning"),
    ],
)
def test_each_lack_is_found_by_its_own_check(change: dict[str, Any], name: str, verdict: str) -> None:
    found = verdicts(replace(GOOD, **change))
    assert found.pop(name) == verdict
    assert set(found.values()) == {"ok"}


def test_a_gpu_profile_needs_its_gpus_and_a_joined_cluster_has_them_elsewhere() -> None:
    assert verdicts(GOOD, "gpu-24gb")["gpu"] == "failure"
    assert verdicts(replace(GOOD, gpus=("NVIDIA L4, 23034 MiB",)), "gpu-24gb")["gpu"] == "ok"
    assert verdicts(GOOD, "cluster")["gpu"] == "ok"


def test_a_gpu_that_serving_holds_whole_is_said_to_keep_trainings_waiting(tmp_path: Path) -> None:
    found = {one.name: one for one in card_findings(load_settings("gpu-demo"), StateDir(tmp_path))}
    assert found["fine-tuning"].verdict == "ok"
    full = load_settings("gpu-demo", {"fine_tuning": {"gpus": 0.6}})
    found = {one.name: one for one in card_findings(full, StateDir(tmp_path))}
    told = found["fine-tuning"]
    assert (told.verdict, told.fact) == ("warning", "serving leaves 0.56 GPUs, a training takes 0.6")
    engines = tuple(engine.model_copy(update={"gpu_share": 0.7}) for engine in full.engines)
    for settings in (load_settings("cpu-demo"), full.model_copy(update={"engines": engines})):
        assert "fine-tuning" not in {one.name for one in card_findings(settings, StateDir(tmp_path))}


def test_the_port_is_free_taken_or_our_own(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    state.create()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        settings = load_settings("cpu-demo", {"http": {"port": port}})
        assert port_finding(settings, state, listening=is_listening).verdict == "failure"
        info = StackInfo(url=f"http://127.0.0.1:{port}", profile="cpu-demo", address="a", version="0", started=0)
        state.write_stack(info)
        assert port_finding(settings, state, listening=is_listening).verdict == "ok"
        state.forget_stack()
    assert port_finding(settings, state, listening=is_listening).verdict == "ok"


LOCK = """\
aiohttp==3.14.5 \\
    --hash=sha256:00
numpy==1.0 ; python_version < '3.12' \\
numpy==2.0 ; python_version >= '3.12'
"""


@pytest.mark.parametrize(
    ("installed", "verdict"),
    [
        ({"aiohttp": "3.14.5", "numpy": "2.0"}, "ok"),
        ({"aiohttp": "3.14.5+local"}, "ok"),
        ({"aiohttp": "3.14.4", "numpy": "2.0"}, "failure"),
        ({"aiohttp": "3.14.5", "numpy": "3.0"}, "failure"),
        ({}, "failure"),
    ],
)
def test_installed_packages_are_held_against_the_lock(tmp_path: Path, installed: Any, verdict: str) -> None:
    (tmp_path / "lock.txt").write_text(LOCK)
    assert package_finding(tmp_path / "lock.txt", installed).verdict == verdict


def test_the_shipped_lock_is_read_whole() -> None:
    lock = Path(__file__).parents[3] / "requirements-cpu.txt"
    locked = package_finding(lock, this_machine(Path("/")).installed)
    assert "missing" not in locked.fact
    assert int(package_finding(lock, this_machine(Path("/")).installed).fact.split()[0]) > 100


def test_a_copy_further_down_the_path_is_not_what_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "packaging-0.1.dist-info"
    copy.mkdir()
    (copy / "METADATA").write_text("Metadata-Version: 2.1\nName: packaging\nVersion: 0.1\n")
    monkeypatch.setattr("sys.path", [*sys.path, str(tmp_path)])
    assert this_machine(Path("/")).installed["packaging"] != "0.1"


def test_a_model_that_is_not_here_says_how_to_get_it(tmp_path: Path) -> None:
    found = {finding.name: finding for finding in card_findings(load_settings("cpu"), StateDir(tmp_path))}
    assert found["fit"].verdict == "ok"
    missing = found["model qwen2.5-0.5b"]
    assert missing == Finding(missing.name, "failure", "not usable", missing.advice)
    assert "penstock models pull" in missing.advice


def test_the_command_says_what_fails_and_exits_with_1(penstock: Run) -> None:
    result = penstock("doctor", "--profile", "cpu", "--json")
    found = json.loads(result.stdout)
    assert (result.exit_code, found["healthy"]) == (1, False)
    names = [finding["name"] for finding in found["findings"]]
    assert names[:4] == ["python", "platform", "cores", "disk"]
    assert len(names) == 13


def test_a_profile_that_does_not_load_is_a_finding(penstock: Run) -> None:
    result = penstock("doctor", "--profile", "nope")
    assert result.exit_code == 1
    assert "Unknown profile" in result.stdout
