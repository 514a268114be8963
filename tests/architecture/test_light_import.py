"""The gateway's code loads fast, on a machine where none of the heavy libraries is installed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.test_imports import HEAVY
from tests.architecture.tree import ROOT

CPU_SECONDS = 2.0
TRIES = 5

PROBE = """
import importlib.abc, json, sys, time

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in HEAVY:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

HEAVY = set(json.loads(sys.argv[1]))
sys.meta_path.insert(0, Absent())
started = time.process_time()
exec(sys.argv[2])
print(json.dumps({"cpu_s": time.process_time() - started, "modules": len(sys.modules)}))
"""


def load(statement: str, bytecode: Path) -> subprocess.CompletedProcess[str]:
    """Run it in a process of its own; `bytecode` is where the first try leaves what the next ones load."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(bytecode)
    command = [sys.executable, "-c", PROBE, json.dumps(sorted(HEAVY)), statement]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def bytecode(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bytecode")


@pytest.mark.parametrize("statement", ["import serving.app", "import serving.cli"])
def test_it_loads_fast_without_the_heavy_libraries(statement: str, bytecode: Path) -> None:
    # Processor time and the best of a few: on a busy machine the wall clock says nothing about the imports.
    costs = []
    while len(costs) < TRIES and min(costs, default=CPU_SECONDS) >= CPU_SECONDS:
        found = load(statement, bytecode)
        assert found.returncode == 0, found.stderr[-2000:]
        seen = json.loads(found.stdout)
        assert seen["modules"] > 100
        costs.append(seen["cpu_s"])
    assert min(costs) < CPU_SECONDS


def test_every_command_loads_without_the_heavy_libraries(bytecode: Path) -> None:
    found = load("import serving.cli; serving.cli.build()", bytecode)
    assert found.returncode == 0, found.stderr[-2000:]


def test_a_heavy_import_on_that_path_would_be_seen(bytecode: Path) -> None:
    found = load("import ray", bytecode)
    assert found.returncode == 1
    assert "No module named 'ray'" in found.stderr
