import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from serving.deploy.environment import StackPaths, StackPorts, stack_environment
from serving.deploy.logs import SESSION, keep_logs, readable, session_logs, stack_logs, tail
from serving.settings import load_settings
from serving.state import StateDir
from tests.serving.deploy.session import CALL, FILES, GATEWAY_LOG, replica, served, worker, write_session


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    write_session(tmp_path / "scratch", FILES)
    return tmp_path / "scratch"


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    made = StateDir(tmp_path / "state")
    made.create()
    (made.logs / "launch.log").write_text("launched\n")
    return made


def kept(state: StateDir) -> dict[str, str]:
    return {path.name: path.read_text() for path in state.last_run.iterdir()}


def test_every_file_of_an_actor_is_named_after_whom_it_belongs_to(scratch: Path) -> None:
    assert [log.name for log in session_logs(scratch)] == [
        "controller-40",
        "demo-small-41.err",
        "demo-small-41.out",
        "demo-small-ef56ab78",
        "gateway-42.err",
        "gateway-ab12cd34",
        "worker-43.err",
    ]


def test_a_card_with_dots_and_underscores_keeps_its_name(tmp_path: Path) -> None:
    names = {worker(7, "out"): replica("a_b-2.5", ""), "serve/replica_penstock_a_b-2.5_x1y2.log": ""}
    write_session(tmp_path / "scratch", names)
    assert [log.name for log in session_logs(tmp_path / "scratch")] == ["a_b-2.5-7.out", "a_b-2.5-x1y2"]


def test_a_folder_that_others_may_enter_is_not_read(scratch: Path, tmp_path: Path) -> None:
    scratch.chmod(0o755)
    assert session_logs(scratch) == []
    scratch.chmod(0o700)
    (tmp_path / "link").symlink_to(scratch)
    assert session_logs(tmp_path / "link") == session_logs(tmp_path / "nowhere") == []


@pytest.mark.parametrize("folder", [SESSION, SESSION / "serve"])
def test_a_folder_that_goes_as_it_is_read_holds_no_logs(
    scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    def late(path: Path) -> Any:
        if path == scratch / folder:
            path.rename(tmp_path / "gone")
        return scandir(path)

    scandir, before = os.scandir, {log.path for log in session_logs(scratch)}
    monkeypatch.setattr(os, "scandir", late)
    after = {log.path for log in session_logs(scratch)}
    assert (tmp_path / "gone").is_dir()
    assert before - after == {path for path in before if path.is_relative_to(scratch / folder)} != set()


def test_the_session_is_shown_while_it_is_there_and_the_last_run_after_it(scratch: Path, state: StateDir) -> None:
    running = stack_logs(state, scratch)
    assert running["gateway-ab12cd34"].read_text().endswith(f"{CALL}\n\n")
    keep_logs(scratch, state.last_run)
    assert stack_logs(state, scratch) == running
    after = stack_logs(state, scratch / "gone")
    assert after.keys() == running.keys() >= {"launch", "demo-small-41.out"}
    assert after["gateway-ab12cd34"].parent == state.last_run


def test_the_run_before_is_replaced_and_only_its_owner_may_read(scratch: Path, state: StateDir) -> None:
    state.last_run.mkdir()
    (state.last_run / "gateway-old.log").write_text("old\n")
    keep_logs(scratch, state.last_run)
    assert "gateway-old.log" not in kept(state)
    assert {path.stat().st_mode & 0o777 for path in state.last_run.iterdir()} == {0o600}
    assert state.last_run.stat().st_mode & 0o777 == 0o700


def test_a_stack_without_a_session_leaves_what_was_kept(scratch: Path, state: StateDir) -> None:
    keep_logs(scratch, state.last_run)
    before = kept(state)
    keep_logs(scratch / "gone", state.last_run)
    assert kept(state) == before != {}


def test_of_a_long_file_its_last_whole_lines_are_kept(scratch: Path, state: StateDir) -> None:
    write_session(scratch, {GATEWAY_LOG: "".join(f"line {number:04}\n" for number in range(1000))})
    keep_logs(scratch, state.last_run, most_bytes=35)
    assert kept(state)["gateway-ab12cd34.log"] == "line 0997\nline 0998\nline 0999\n"


def test_of_very_many_files_the_youngest_are_kept(scratch: Path, state: StateDir) -> None:
    folder = write_session(scratch, {worker(1000 + number, "err"): replica("bad", "x\n") for number in range(120)})
    for number in range(120):
        os.utime(folder / worker(1000 + number, "err"), (number, number))
    keep_logs(scratch, state.last_run)
    assert len(kept(state)) == 100
    assert {"gateway-ab12cd34.log", "bad-1119.err.log"} <= kept(state).keys()
    assert "bad-1000.err.log" not in kept(state)


def test_a_call_is_one_line_of_json_and_rays_notes_are_left_out() -> None:
    lines = [*replica("gateway", "").splitlines(), *served("gateway", "ab12cd34", f"{CALL}\n").splitlines()]
    assert list(readable(lines)) == [CALL]
    assert list(readable([f"INFO 2026-11-24 10:00:05,123 penstock_gateway ab12cd34 req-1 -- {CALL}"])) == [CALL]


def test_words_before_no_json_stay() -> None:
    line = served("demo-small", "ef56ab78", "Starting {engine}").rstrip()
    assert list(readable([line, "", "plain"])) == [line, "plain"]


def test_the_tail_of_a_file_that_has_gone_is_empty(tmp_path: Path) -> None:
    assert tail(tmp_path / "gone", 10) == b""


LOGS_A_CALL = """
import os, sys
from ray.serve._private.common import ServeComponentType
from ray.serve._private.constants import RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE
from ray.serve._private.logging_utils import configure_component_logger
from ray.serve.schema import LoggingConfig
configure_component_logger(
    component_name="penstock_gateway", component_id="ab12cd34", component_type=ServeComponentType.REPLICA,
    logging_config=LoggingConfig(logs_dir=sys.argv[1]), buffer_size=RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE,
    max_bytes=10**6, backup_count=1,
)
import structlog
from serving.telemetry.log import configure_log
configure_log()
structlog.get_logger().info("call", id="req-1")
os._exit(0)  # as a process that is killed: what waits is lost
"""


def test_the_line_of_a_call_is_there_at_once_where_serve_itself_puts_it(tmp_path: Path) -> None:
    paths = StackPaths(tmp_path, tmp_path / "haproxy", tmp_path / "token")
    environment = stack_environment(
        load_settings("cpu-demo"), StackPorts(*range(10)), paths=paths, inherited=os.environ
    )
    folder = write_session(tmp_path / "scratch", {})
    command = [sys.executable, "-c", LOGS_A_CALL, str(folder / "serve")]
    subprocess.run(command, env=environment, check=True, timeout=120)
    (log,) = session_logs(tmp_path / "scratch")
    (line,) = readable(log.path.read_text().splitlines())
    assert (log.name, json.loads(line)["id"]) == ("gateway-ab12cd34", "req-1")
