"""`setup.sh` and `make serve` in a copy of their folder: what is refused, when nothing is done, which set is taken."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COPIED = ("setup.sh", "Makefile", "pyproject.toml", "overrides-cpu.txt", "requirements-cpu.txt", "requirements-gpu.txt")

# Stand-ins for what the set-up calls. The interpreter makes a .venv of stand-ins; uv notes what it is asked to install.
DF = "echo head; echo x x x $FREE_KB"
SMI = '[ -n "$GPU" ] && echo "GPU 0: $GPU"'
UV = "echo $* >>installed"
PYTHON = """case "$*" in
  -V) echo Python 3.12.1 ;;
  *print*) echo 3.12 ;;
  "-m venv .venv") mkdir -p .venv/bin && cp bin/stand-in .venv/bin/python && cp bin/uv bin/penstock .venv/bin ;;
esac"""


@dataclass(frozen=True)
class Copy:
    """The files of the set-up in a folder of their own; `bin` comes first in PATH. No index but a silent one."""

    folder: Path
    port: int

    def stand_in(self, name: str, script: str) -> Path:
        """A command that does what the script says."""
        path = self.folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """A command in the folder, with little of the test's own environment."""
        silent = f"http://127.0.0.1:{self.port}/simple"
        clean = {
            "PATH": f"{self.folder / 'bin'}:{os.defpath}",
            "HOME": str(self.folder),
            "PYTHON": str(self.folder / "bin" / "stand-in"),
            "PENSTOCK_ACCELERATOR": "cpu",
            "FREE_KB": str(10 * 2**20),
            "GPU": "",
            **{"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": silent, "PIP_RETRIES": "0", "HTTPS_PROXY": silent},
            **{"UV_NO_CONFIG": "1", "UV_HTTP_RETRIES": "0", "UV_CACHE_DIR": str(self.folder / "cache")},
        }
        command = command or ("./setup.sh",)
        return subprocess.run(
            command, cwd=self.folder, env={**clean, **environment}, capture_output=True, text=True, timeout=120
        )

    def installed(self) -> list[str]:
        """What uv was asked for, oldest first."""
        path = self.folder / "installed"
        return [line.partition("--no-deps ")[2] for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    for name in COPIED:
        shutil.copy(ROOT / name, tmp_path / name)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        made = Copy(tmp_path, closed.getsockname()[1])
    for name, script in {"df": DF, "nvidia-smi": SMI, "uv": UV, "stand-in": PYTHON, "penstock": "echo $*"}.items():
        made.stand_in(name, script)
    return made


def assert_refused(result: subprocess.CompletedProcess[str], sentence: str) -> None:
    assert (result.returncode, result.stdout) == (1, "")
    assert sentence in result.stderr.splitlines()[-1]


def test_an_interpreter_of_another_version_is_refused_by_its_name(copy: Copy) -> None:
    old = copy.stand_in("old", "exit 1")
    assert_refused(copy.run(PYTHON=str(old)), f"no Python 3.11, 3.12 or 3.13 found as PYTHON={old}.")
    assert not (copy.folder / ".venv").exists()


def test_a_disk_that_is_too_full_is_refused_before_anything_is_made(copy: Copy) -> None:
    assert_refused(copy.run(FREE_KB=str(10 * 2**20 - 1)), "needs about 10 GB here, 9 GB are free.")
    assert not (copy.folder / ".venv").exists()


@pytest.mark.parametrize("command", [["./setup.sh"], ["./setup.sh", "--accelerator"]])
def test_an_unknown_accelerator_is_refused(copy: Copy, command: list[str]) -> None:
    result = copy.run(*command, PENSTOCK_ACCELERATOR="nonsense")
    assert_refused(result, "PENSTOCK_ACCELERATOR is 'nonsense'; it must be cpu or gpu.")


def test_without_uv_an_index_that_is_silent_is_named_as_the_cause(copy: Copy) -> None:
    assert_refused(copy.run(PYTHON=sys.executable), "the package index cannot be reached, or has no uv")


@pytest.mark.parametrize("accelerator", ["cpu", "gpu"])
def test_with_uv_an_index_that_is_silent_is_named_and_no_other_one_is_asked(copy: Copy, accelerator: str) -> None:
    venv.create(copy.folder / ".venv", symlinks=True)
    (copy.folder / ".venv/bin/uv").symlink_to(Path(sys.executable).with_name("uv"))
    result = copy.run(PYTHON=sys.executable, PENSTOCK_ACCELERATOR=accelerator)
    assert_refused(result, f"the package index at 127.0.0.1:{copy.port} cannot be reached (PIP_INDEX_URL names")


def test_the_cpu_set_takes_torch_from_the_cpu_build_then_the_lock_then_the_project(copy: Copy) -> None:
    assert copy.run().returncode == 0
    torch, *others = copy.installed()
    assert torch.endswith("+cpu")
    assert others == ["-r requirements-cpu.txt", "-e ."]


def test_the_gpu_set_takes_its_lock_and_the_project(copy: Copy) -> None:
    assert copy.run(PENSTOCK_ACCELERATOR="gpu").returncode == 0
    assert copy.installed() == ["-r requirements-gpu.txt", "-e ."]


def test_a_second_set_up_does_nothing_until_a_lock_changes(copy: Copy) -> None:
    copy.run()
    once = copy.installed()
    again = copy.run()
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert copy.installed() == once
    (copy.folder / "requirements-cpu.txt").write_text("")
    copy.run()
    assert copy.installed() == once * 2


@pytest.mark.parametrize(
    ("environment", "accelerator", "profile"),
    [
        ({"PENSTOCK_ACCELERATOR": ""}, "cpu", "cpu-demo"),
        ({"PENSTOCK_ACCELERATOR": "", "GPU": "NVIDIA L4"}, "gpu", "gpu-demo"),
        ({"PENSTOCK_ACCELERATOR": "cpu", "GPU": "NVIDIA L4"}, "cpu", "cpu-demo"),
        ({"PENSTOCK_ACCELERATOR": "gpu"}, "gpu", "gpu-demo"),
        ({"PENSTOCK_ACCELERATOR": "gpu", "PROFILE": "gpu-24gb"}, "gpu", "gpu-24gb"),
    ],
)
def test_make_serve_says_and_starts_the_demo_of_the_set_that_it_installed(
    copy: Copy, environment: dict[str, str], accelerator: str, profile: str
) -> None:
    result = copy.run("make", "serve", **environment)
    assert result.stdout.splitlines() == [
        f"Starting profile {profile} on the {accelerator} set",
        f"up --profile {profile}",
    ]
    assert f"-r requirements-{accelerator}.txt" in copy.installed()


def test_make_serve_takes_its_words_from_the_command_line_of_make(copy: Copy) -> None:
    result = copy.run("make", "serve", "PROFILE=cpu", "PORT=8001", "PENSTOCK_ACCELERATOR=cpu", GPU="NVIDIA L4")
    assert result.stdout.splitlines()[1:] == ["up --profile cpu --port 8001"]
