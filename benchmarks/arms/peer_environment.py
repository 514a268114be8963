"""A virtual environment for one peer, apart from Penstock's: made once, pinned, kept in the user's cache folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.arms import ArmFailed

UV = str(Path(sys.executable).with_name("uv"))
INSTALL_LIMIT_S = 900
LAST_LINES = 10


def peer_environment(peer: str, requirement: str, *, environment: Mapping[str, str]) -> Path:
    """The `bin` folder of an environment that holds the requirement (`name==version`); raises `ArmFailed`.

    Made beside its place and moved there when it is whole, so a set-up that was cut short is never used.
    """
    cache = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "penstock" / "peers"
    folder = cache / f"{peer}-{requirement.rpartition('==')[2]}"
    if not (folder / "bin").is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        making = cache / f"{folder.name}.{os.getpid()}"
        try:
            _run(peer, UV, "venv", "--relocatable", "--python", sys.executable, str(making), environment=environment)
            python = str(making / "bin" / "python")
            _run(peer, UV, "pip", "install", "--python", python, requirement, environment=environment)
            making.rename(folder)
        finally:
            shutil.rmtree(making, ignore_errors=True)
    return folder / "bin"


def _run(peer: str, *command: str, environment: Mapping[str, str]) -> None:
    done = subprocess.run(
        command, env=dict(environment), capture_output=True, text=True, check=False, timeout=INSTALL_LIMIT_S
    )
    if done.returncode != 0:
        lines = "\n".join(done.stderr.strip().splitlines()[-LAST_LINES:])
        raise ArmFailed(peer, f"its environment could not be made (`uv {command[1]}` failed)", log=lines)
