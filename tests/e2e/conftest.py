"""The one real stack of a test session: `penstock up` in a state folder of its own, ended by `penstock down`.

PENSTOCK_TEST_STATE_DIR names the folder of a stack that runs already; it is then used and left running (for working on
these tests). A fault test asks for `stack` like every other one and leaves the stack as ready as it found it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from openai import AsyncOpenAI, OpenAI

from models.free_ports import free_port
from serving.deploy.environment import listeners_of
from serving.deploy.stack import scratch_of
from serving.state import StateDir
from tests.e2e.processes import wait_until
from tests.e2e.profiles import changed_profile

PENSTOCK = Path(sys.executable).with_name("penstock")
START_LIMIT_S = 600
ELSEWHERE = "elsewhere"
# `make prove`: the same tests with larger numbers.
PROVE = os.environ.get("PENSTOCK_PROVE") == "1"
STOP_LIMIT_S = 180
PATIENT = {
    "kind": "learned",
    "classifier": {"model": "demo/router", "deadline_s": 10},
}  # and so what a prompt is counts,
PATIENT_TIMERS = {"conversation_s": 10}  # however busy the machine is
WIDE_ADAPTERS = {"warm_s": 5}  # what is replaced is soon unloaded: the cycles of the tests are to see that too


@dataclass(frozen=True)
class Stack:
    """A running stack and its admin key."""

    url: str
    key: str
    state_dir: Path

    def run(
        self,
        *arguments: str,
        check: bool = True,
        cwd: Path | None = None,
        limit_s: float = START_LIMIT_S,
        **more: str,
    ) -> subprocess.CompletedProcess[str]:
        """One `penstock` command on this stack. `cwd`: where, if not in somebody else's project; `more`: of its
        environment.
        """
        command = [str(PENSTOCK), *arguments]
        environment = {**os.environ, "PENSTOCK_STATE_DIR": str(self.state_dir), **more}
        elsewhere = self.state_dir / ELSEWHERE
        where = cwd or (elsewhere if elsewhere.exists() else None)
        done = subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, timeout=limit_s)
        assert not check or done.returncode == 0, f"{arguments}: {done.stderr[-2000:]}"
        return done

    def serving(self, card: str) -> int:
        """How many replicas of a card's engine answer the gateway now."""
        text = httpx2.get(f"{self.url}/metrics", headers={"Authorization": f"Bearer {self.key}"}, timeout=60).text
        return len(re.findall(rf'^penstock_engine_up\{{card="{card}",[^}}]*\}} 1$', text, flags=re.M))

    def new_key(self, *options: str) -> str:
        """A fresh key."""
        return str(json.loads(self.run("keys", "create", "--json", *options).stdout)["key"])


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The session's stack."""
    if running := os.environ.get("PENSTOCK_TEST_STATE_DIR"):
        yield _adopt(Path(running))
        return
    with tempfile.TemporaryDirectory(prefix="pe2e") as folder:
        started = Stack("", "", Path(folder))
        _somebody_elses_project(Path(folder) / ELSEWHERE)
        try:
            answer = json.loads(started.run("up", "--detach", "--json", "--port", str(free_port())).stdout)
            yield Stack(answer["url"], answer["key"], Path(folder))
        finally:
            subprocess.run(
                [PENSTOCK, "down", "--state-dir", folder], timeout=STOP_LIMIT_S, check=True, stdin=subprocess.DEVNULL
            )


@pytest.fixture(scope="session")
def wide(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Stack:
    """The session's stack with two gateways and two replicas of the large tier, from here to its end.

    Files that ask for it are called `test_wide_…`, so that they come last.
    """
    profile = changed_profile(
        tmp_path_factory.mktemp("wide"),
        {"demo-large": {"replicas": 2}},
        gateway={"replicas": 2},
        adapters=WIDE_ADAPTERS,
        router=PATIENT,
        timers=PATIENT_TIMERS,
    )
    stack.run("up", "--profile", str(profile), "--detach", "--json")
    wait_until(lambda: len(listeners(stack)) == 2 and stack.serving("demo-large") == 2, limit_s=120)
    return stack


def listeners(stack: Stack) -> list[str]:
    """Where each gateway listens itself, behind HAProxy."""
    folder = listeners_of(scratch_of(StateDir(stack.state_dir)))
    return [f"http://127.0.0.1:{file.read_text()}" for file in sorted(folder.iterdir()) if file.suffix != ".new"]


def _somebody_elses_project(folder: Path) -> None:
    """Where every command of the session is given: packages that are called as ours are, and are not ours."""
    for name in ("models", "router", "serving"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(f"raise ImportError('{name} of somebody else')\n")


def _adopt(folder: Path) -> Stack:
    url = json.loads((folder / "stack.json").read_text())["url"]
    without_key = Stack(url, "", folder)
    return Stack(url, without_key.new_key("--org", "tests", "--user", "runner", "--role", "admin"), folder)


@pytest.fixture
def client(stack: Stack) -> Iterator[OpenAI]:
    """The official SDK, unpatched, without retries: a retry would hide an error."""
    with OpenAI(base_url=f"{stack.url}/v1", api_key=stack.key, max_retries=0) as made:
        yield made


@pytest.fixture
async def async_client(stack: Stack) -> AsyncIterator[AsyncOpenAI]:
    """The same for many requests at once."""
    async with AsyncOpenAI(base_url=f"{stack.url}/v1", api_key=stack.key, max_retries=0) as made:
        yield made
