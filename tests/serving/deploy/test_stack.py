import asyncio
import errno
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.errors import ConfigurationError, PenstockError
from serving.deploy.node import STACK_ID, end_node, free_ports
from serving.deploy.stack import (
    EMPTY_GRACE_S,
    GRACE_S,
    Running,
    check_start,
    describe,
    environment_of,
    retire_command,
    scratch_of,
    stack_id,
    start,
    stop,
    wait,
)
from serving.settings import RaySettings, load_settings
from serving.state import StackInfo, StateDir
from serving.store.jobs import JobRow
from serving.store.store import Store
from tests.serving.deploy.session import FILES, write_session
from tests.serving.tuning.yard import job_row

LONGEST_SOCKET = 107
NODE_ID = "f" * 56


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    made = StateDir(tmp_path / "state")
    made.create()
    return made


@pytest.fixture
def told() -> Iterator[list[str]]:
    """What a command reported; nothing of it may say that something was started."""
    lines: list[str] = []
    yield lines
    assert not [line for line in lines if line.startswith("Starting")]


def info(pid: int | None, *, started: float | None = None) -> StackInfo:
    values = {"url": "http://127.0.0.1:9", "profile": "cpu-demo", "address": "127.0.0.1:1", "version": "0"}
    return StackInfo(**values, started=started or time.time(), pid=pid)


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_taken_port_is_refused_before_anything_starts(state: StateDir, told: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(PenstockError, match=rf"Port {port} of 127\.0\.0\.1 is taken.*--port"):
            start("cpu-demo", state=state, overrides={"http": {"port": port}}, report=told.append)
    assert not state.stack_file.exists()
    assert not scratch_of(state).exists()


def test_an_unknown_profile_is_refused_before_anything_starts(state: StateDir, told: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="Unknown profile 'no-such'"):
        start("no-such", state=state, overrides={}, report=told.append)
    assert not scratch_of(state).exists()


def test_a_missing_model_is_refused_before_anything_starts(state: StateDir, told: list[str]) -> None:
    with pytest.raises(PenstockError, match="penstock models pull"):
        start("cpu", state=state, overrides={}, report=told.append)
    assert not scratch_of(state).exists()


def test_a_full_disk_is_refused_and_room_is_enough(state: StateDir) -> None:
    settings = load_settings("cpu-demo")
    check_start(settings, state, fresh=False, free_bytes_needed=0)
    with pytest.raises(PenstockError, match="MiB are free"):
        check_start(settings, state, fresh=False, free_bytes_needed=2**62)


def test_a_running_stack_keeps_its_own_port(state: StateDir) -> None:
    settings = load_settings("cpu-demo")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = settings.model_copy(
            update={"http": settings.http.model_copy(update={"port": listener.getsockname()[1]})}
        )
        check_start(taken, state, fresh=False)
        with pytest.raises(PenstockError, match="is taken"):
            check_start(taken, state, fresh=True)


@pytest.mark.parametrize("folder", ["/tmp", "/tmp/abcdefgh", "/var/tmp/a-rather-long-name", "/tmp/" + "x" * 120])
@pytest.mark.parametrize("depth", [1, 12])
def test_every_socket_fits_wherever_the_folders_lie(monkeypatch: pytest.MonkeyPatch, folder: str, depth: int) -> None:
    monkeypatch.setattr("tempfile.tempdir", folder)
    scratch = scratch_of(StateDir(Path("/home", *["a-long-folder-name"] * depth)))
    haproxy = f"{scratch}/h/{NODE_ID}/s.{2**22}.tmp"
    ray = f"{scratch}/ray/session_2026-11-23_10-31-04_123456_{2**22}/sockets/plasma_store"
    assert max(len(haproxy), len(ray)) <= LONGEST_SOCKET


def test_two_folders_have_two_stacks_and_one_keeps_its_own(tmp_path: Path) -> None:
    one, other = StateDir(tmp_path / "one"), StateDir(tmp_path / "other")
    assert len({stack_id(one), stack_id(other)}) == len({scratch_of(one), scratch_of(other)}) == 2
    assert stack_id(one) == stack_id(StateDir(tmp_path / "one"))


@pytest.fixture
def short_tmp(monkeypatch: pytest.MonkeyPatch, state: StateDir) -> Iterator[Path]:
    yield scratch_of(state)
    subprocess.run(["rm", "-rf", str(scratch_of(state))], check=True)


def test_the_environment_names_the_stack_and_its_haproxy(state: StateDir, short_tmp: Path) -> None:
    made = environment_of(state, load_settings("cpu-demo"), ports=free_ports())
    assert made[STACK_ID] == stack_id(state)
    assert os.access(made["RAY_SERVE_HAPROXY_BINARY_PATH"], os.X_OK)
    assert len(Path(made["RAY_AUTH_TOKEN_PATH"]).read_text()) >= 32
    assert short_tmp.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("trap", ["open", "link", "file"])
def test_a_scratch_folder_that_others_may_write_to_is_refused(
    state: StateDir, short_tmp: Path, tmp_path: Path, trap: str
) -> None:
    if trap == "link":
        short_tmp.symlink_to(tmp_path)
    elif trap == "file":
        short_tmp.touch()
    else:
        short_tmp.mkdir()
        short_tmp.chmod(0o777)
    with pytest.raises(PenstockError, match="not a folder of yours alone"):
        environment_of(state, load_settings("cpu-demo"), ports=free_ports())
    assert not (short_tmp / "h").exists()


@pytest.mark.parametrize("reused", [False, True])
def test_a_stack_that_died_is_said_to_be_dead_and_cleared(state: StateDir, told: list[str], reused: bool) -> None:
    state.write_stack(info(os.getpid(), started=1.0) if reused else info(dead_pid()))
    with pytest.raises(PenstockError, match="has died"):
        describe(state)
    stop(state, report=told.append)
    assert told == ["Nothing was running"]
    assert not state.stack_file.exists()


def test_the_next_start_clears_what_a_dead_stack_left(state: StateDir, told: list[str]) -> None:
    state.write_stack(info(dead_pid()))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        overrides: dict[str, Any] = {"http": {"port": listener.getsockname()[1]}}
        with pytest.raises(PenstockError, match="is taken"):
            start("cpu-demo", state=state, overrides=overrides, report=told.append)
    assert not state.stack_file.exists()


def test_a_living_stack_is_described_and_not_moved(state: StateDir, told: list[str]) -> None:
    state.write_stack(info(os.getpid()))
    described = describe(state)
    assert (described["profile"], described["ready"]) == ("cpu-demo", False)
    with pytest.raises(ConfigurationError, match="runs on port 9"):
        start("cpu-demo", state=state, overrides={"http": {"port": 10}}, report=told.append)
    assert state.stack_file.exists()


def test_a_stack_on_somebody_elses_cluster_has_no_node_to_die(state: StateDir) -> None:
    state.write_stack(info(None))
    assert describe(state)["ready"] is False


def test_down_clears_a_file_that_nobody_can_read(state: StateDir, told: list[str]) -> None:
    state.stack_file.write_text("{half")
    stop(state, report=told.append)
    assert (told, state.stack_file.exists()) == (["Nothing was running"], False)


def test_the_foreground_command_sees_its_node_die(state: StateDir) -> None:
    node = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(0.3)"])
    state.write_stack(info(node.pid))
    with pytest.raises(PenstockError, match="node ended"):
        wait(Running("http://127.0.0.1:9", None, state))
    assert node.wait() == 0, "nobody had collected it"


def test_the_foreground_command_returns_when_the_stack_was_stopped(state: StateDir) -> None:
    wait(Running("http://127.0.0.1:9", None, state))
    assert not state.stack_file.exists()


@pytest.fixture
def session(short_tmp: Path) -> Path:
    """What Ray leaves behind in the scratch folder."""
    write_session(short_tmp, FILES)
    return short_tmp


def kept(state: StateDir) -> set[str]:
    return {path.name for path in state.last_run.glob("*")}


def test_down_keeps_what_the_processes_wrote_and_clears_the_rest(
    state: StateDir, told: list[str], session: Path
) -> None:
    left = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env={STACK_ID: stack_id(state)})
    stop(state, report=told.append)
    left.communicate()
    assert told == ["Ending the processes"]
    assert left.poll() is not None
    assert {"gateway-ab12cd34.log", "demo-small-41.out.log"} <= kept(state)
    assert not session.exists()


def test_down_after_a_crash_keeps_the_logs_too(state: StateDir, told: list[str], session: Path) -> None:
    state.write_stack(info(dead_pid()))
    stop(state, report=told.append)
    assert told == ["Nothing was running"]
    assert "gateway-ab12cd34.log" in kept(state)
    assert not session.exists()


def test_the_start_after_a_crash_keeps_the_logs_of_what_crashed(
    state: StateDir, told: list[str], session: Path
) -> None:
    state.write_stack(info(dead_pid()))
    with pytest.raises(PenstockError, match="penstock models pull"):
        start("cpu", state=state, overrides={}, report=told.append)
    assert "gateway-ab12cd34.log" in kept(state)
    assert not session.exists()


def test_logs_that_cannot_be_kept_are_told_and_keep_nothing_from_ending(
    state: StateDir, told: list[str], session: Path
) -> None:
    state.last_run.touch()
    stop(state, report=told.append)
    assert told == ["Nothing was running", "The logs of this run could not be kept: Not a directory"]
    assert not session.exists()


def test_a_folder_that_is_not_ours_alone_is_left_as_it_is(state: StateDir, told: list[str], session: Path) -> None:
    session.chmod(0o755)
    stop(state, report=told.append)
    assert kept(state) == set()
    assert session.exists()


def test_only_a_stack_with_a_node_of_its_own_takes_serve_with_it() -> None:
    assert retire_command(info(None))[-2:] == ["127.0.0.1:1", "--joined"]
    assert retire_command(info(os.getpid()))[-1] == "127.0.0.1:1"


def test_a_stack_on_a_joined_cluster_needs_no_token_of_ours(state: StateDir, short_tmp: Path) -> None:
    settings = load_settings("cpu-demo").model_copy(update={"ray": RaySettings(address="10.0.0.1:6379")})
    environment_of(state, settings, ports=free_ports())
    assert short_tmp.exists()
    assert not state.secret_path("ray-token").exists()


@pytest.fixture
def engine(state: StateDir) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the stack, which `stack.json` calls its node."""
    code = "import time; time.sleep(600)"
    process = subprocess.Popen([sys.executable, "-c", code], env={STACK_ID: stack_id(state)})
    state.write_stack(info(process.pid))
    yield process
    process.kill()
    process.wait()


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


@pytest.mark.parametrize("last_words", ["Waiting", "Ending the processes"])
def test_no_report_that_fails_leaves_a_process_behind(
    state: StateDir, engine: subprocess.Popen[bytes], last_words: str
) -> None:
    def report(text: str) -> None:
        if text.startswith(last_words):
            raise OSError(errno.EIO, "the terminal is closed")

    with pytest.raises(OSError, match="closed"):
        stop(state, report=report, command=lambda _info: python(""))
    assert engine.poll() is not None
    assert not state.stack_file.exists()


@pytest.mark.parametrize(("asked", "grace_s"), [("", EMPTY_GRACE_S), ("raise SystemExit('no Serve')", GRACE_S)])
def test_what_may_still_work_is_given_longer_to_end_than_rays_own_processes(
    state: StateDir,
    engine: subprocess.Popen[bytes],
    told: list[str],
    monkeypatch: pytest.MonkeyPatch,
    *,
    asked: str,
    grace_s: float,
) -> None:
    given: list[float] = []

    def end(stack: str, *, grace_s: float) -> int:
        given.append(grace_s)
        return end_node(stack, grace_s=grace_s)

    monkeypatch.setattr("serving.deploy.stack.end_node", end)
    stop(state, report=told.append, command=lambda _info: python(asked))
    assert given == [grace_s]
    assert engine.poll() is not None


def test_down_asks_with_what_the_stack_was_started_with(
    state: StateDir, engine: subprocess.Popen[bytes], told: list[str], tmp_path: Path
) -> None:
    started = info(engine.pid).model_copy(update={"profile": "edited-away", "fixed": {"timers.total_s": 50}})
    state.write_stack(started)
    code = f"import os; open({str(tmp_path / 'seen')!r}, 'w').write(os.environ['RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S'])"
    stop(state, report=told.append, command=lambda _info: python(code))
    assert (tmp_path / "seen").read_text() == "80"
    assert told == ["Waiting for running requests (Ctrl-C again: end them now)", "Ending the processes"]


@pytest.mark.parametrize("asked", ["", "raise SystemExit(3)"])
def test_what_was_in_training_when_the_stack_was_stopped_is_queued_again(
    state: StateDir, engine: subprocess.Popen[bytes], told: list[str], asked: str
) -> None:
    url = f"sqlite+aiosqlite:///{state.database}"
    job = replace(job_row("ftjob-1", attempt=1), status="running", phase="training")
    asyncio.run(put(url, job))
    state.secret_path("launch.json").write_text(json.dumps({"store_url": url}))
    stop(state, report=told.append, command=lambda _info: python(asked))
    assert engine.poll() is not None
    assert asyncio.run(found(url, "ftjob-1")) == ("queued", "waiting")


async def put(url: str, job: JobRow) -> None:
    async with Store.open(url) as store, store.jobs.changing() as change:
        await change.put(job)


async def found(url: str, job: str) -> tuple[str, str]:
    async with Store.open(url) as store:
        row = await store.jobs.find(job)
    assert row is not None
    return row.status, row.phase


def test_a_stack_whose_jobs_cannot_be_reached_is_stopped_all_the_same(
    state: StateDir, engine: subprocess.Popen[bytes], told: list[str]
) -> None:
    state.secret_path("launch.json").write_text("{}")
    stop(state, report=told.append, command=lambda _info: python(""))
    assert engine.poll() is not None
    assert told[-1].startswith("Jobs in training could not be queued again: ")


def test_a_stack_of_our_own_that_cannot_be_asked_is_ended_all_the_same(
    state: StateDir, engine: subprocess.Popen[bytes], told: list[str]
) -> None:
    stop(state, report=told.append, command=lambda _info: python("raise SystemExit(3)"))
    assert told[1:] == ["Ray Serve could not be asked to end the stack. Ending now", "Ending the processes"]
    assert engine.poll() is not None


def test_a_stack_on_a_joined_cluster_is_known_until_the_cluster_let_it_go(state: StateDir, told: list[str]) -> None:
    state.write_stack(info(None))
    for _ in range(2):
        with pytest.raises(PenstockError, match=r"may still run.*'127\.0\.0\.1:1'.*Repeat") as failed:
            stop(state, report=told.append, command=lambda _info: python("raise SystemExit('no such token')"))
        assert "no such token" in str(failed.value.detail)
        assert state.stack_file.exists()
    stop(state, report=told.append, command=lambda _info: python(""))
    assert (set(told), state.stack_file.exists()) == ({"Waiting for running requests"}, False)


def test_a_cluster_that_does_not_answer_is_refused_at_once(state: StateDir, told: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(PenstockError, match="No Ray cluster answers"):
        start("cpu-demo", state=state, overrides={"ray": {"address": address}}, report=told.append)
