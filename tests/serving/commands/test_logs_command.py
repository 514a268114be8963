import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from serving.deploy.logs import keep_logs
from serving.deploy.stack import scratch_of
from serving.state import StackInfo, StateDir
from tests.serving.deploy.session import CALL, FILES, GATEWAY_LOG, replica, served, worker, write_session

Run = Callable[..., Result]


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    """The folder that the `penstock` fixture works on."""
    made = StateDir(tmp_path / "state")
    made.create()
    return made


@pytest.fixture
def session(state: StateDir) -> Iterator[Path]:
    """The logs of a running stack."""
    yield write_session(scratch_of(state), FILES)
    shutil.rmtree(scratch_of(state), ignore_errors=True)


def test_the_line_of_a_call_is_shown_with_its_gateway_and_its_id(penstock: Run, session: Path) -> None:
    assert penstock("logs", "--only", "gateway").stdout == f"gateway-ab12cd34 {CALL}\n"
    assert '"id":"req-1"' in CALL


def test_what_an_engine_and_its_replica_write_is_shown_by_the_card(penstock: Run, session: Path) -> None:
    assert penstock("logs", "--only", "demo-small").stdout.splitlines() == [
        "demo-small-41.out INFO 11-24 10:00:01 [core.py:120] ready",
        f"demo-small-ef56ab78 {served('demo-small', 'ef56ab78', 'Starting engine').rstrip()}",
    ]


def test_rays_notes_do_not_count_as_lines(penstock: Run, session: Path) -> None:
    write_session(session.parents[2], {worker(50, "out"): replica("gateway", "one\ntwo\n")})
    assert penstock("logs", "-n", "1", "--only", "gateway-50").stdout == "gateway-50.out two\n"
    assert penstock("logs", "-n", "0", "--only", "gateway-50").stdout == ""


def test_after_the_end_the_last_run_is_shown(penstock: Run, session: Path, state: StateDir) -> None:
    running = penstock("logs").stdout
    keep_logs(scratch_of(state), state.last_run)
    shutil.rmtree(scratch_of(state))
    assert penstock("logs").stdout == running != ""


@pytest.mark.parametrize(("pid", "told"), [(None, True), (1, False)])
def test_a_stack_on_somebody_elses_cluster_says_where_its_logs_are(
    penstock: Run, state: StateDir, pid: int | None, told: bool
) -> None:
    state.write_stack(
        StackInfo(url="http://h:1", profile="p", address="ray-head:6379", version="0", started=1, pid=pid)
    )
    assert ("Ray cluster at ray-head:6379" in penstock("logs").stderr) is told


def test_a_stack_file_that_cannot_be_read_hides_no_log(penstock: Run, session: Path, state: StateDir) -> None:
    state.stack_file.write_text("{half")
    assert penstock("logs", "--only", "gateway").stdout == f"gateway-ab12cd34 {CALL}\n"


def test_followed_logs_show_new_replicas_and_survive_the_end_of_the_stack(session: Path, state: StateDir) -> None:
    command = [sys.executable, "-u", "-c", "from serving.cli import main; main()", "logs", "-f", "-n", "1"]
    environment = {**os.environ, "PENSTOCK_STATE_DIR": str(state.path)}
    follower: Any = subprocess.Popen(
        [*command, "--only", "gateway"], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert follower.stdout.readline() == f"gateway-ab12cd34 {CALL}\n"
    with (session / GATEWAY_LOG).open("a") as file:
        file.write(served("gateway", "ab12cd34", '{"id":"req-2"}\n'))
    assert follower.stdout.readline() == 'gateway-ab12cd34 {"id":"req-2"}\n'
    write_session(scratch_of(state), {"serve/replica_penstock_gateway_new1.log": served("gateway", "new1", "{}\n")})
    assert follower.stdout.readline() == "gateway-new1 {}\n"
    keep_logs(scratch_of(state), state.last_run)
    shutil.rmtree(scratch_of(state))
    (state.logs / "gateway.log").write_text("the next thing shown\n")
    assert follower.stdout.readline() == "gateway the next thing shown\n"
    follower.send_signal(signal.SIGINT)
    assert follower.wait(30) == 130
    follower.stdout.close()
