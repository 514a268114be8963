import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from models.errors import ConfigurationError
from serving.settings import StoreSettings
from serving.state import NoStack, StackBusy, StackInfo, StateDir, is_private

INFO = StackInfo(url="http://127.0.0.1:1", profile="p", address="a", version="0", started=1.0)


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    return StateDir(tmp_path / "state")


@pytest.mark.parametrize(
    ("given", "environment", "found"),
    [
        (Path("/a"), {"PENSTOCK_STATE_DIR": "/b", "XDG_STATE_HOME": "/c"}, "/a"),
        (None, {"PENSTOCK_STATE_DIR": "/b", "XDG_STATE_HOME": "/c"}, "/b"),
        (None, {"XDG_STATE_HOME": "/c"}, "/c/penstock"),
        (None, {}, str(Path.home() / ".local/state/penstock")),
    ],
)
def test_the_folder_is_the_given_one_or_the_named_one_or_the_users(
    given: Path | None, environment: dict[str, str], found: str
) -> None:
    assert str(StateDir.find(given, environment).path) == found


def test_everything_made_is_for_the_owner_alone(state: StateDir) -> None:
    with state.lock():
        state.secret("token")
        state.write_stack(INFO)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (state.path, *state.path.rglob("*"))}
    assert len(modes) >= 6
    assert all(mode == (0o700 if path.is_dir() else 0o600) for path, mode in modes.items())


def test_a_secret_stays_the_same_and_another_name_is_another_secret(state: StateDir) -> None:
    first = state.secret("token")
    assert len(first) == 64
    assert StateDir(state.path).secret("token") == first
    assert state.secret("salt") != first


def test_processes_that_ask_for_a_new_secret_at_once_get_the_same_one(state: StateDir) -> None:
    state.create()
    code = f"import pathlib, serving.state as s; print(s.StateDir(pathlib.Path({str(state.path)!r})).secret('token'))"
    asking = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    answers = {process.communicate(timeout=60)[0].strip() for process in asking}
    assert answers == {state.secret("token")}
    assert [path.name for path in (state.path / "secrets").iterdir()] == ["token"]


def test_a_stack_is_written_whole_read_back_and_forgotten(state: StateDir) -> None:
    state.create()
    assert state.read_stack() is None
    state.write_stack(INFO)
    assert state.running() == INFO
    assert [path.name for path in state.path.iterdir() if path.is_file()] == ["stack.json"]
    state.forget_stack()
    with pytest.raises(NoStack):
        state.running()


def test_a_stack_file_of_a_newer_version_is_still_read(state: StateDir) -> None:
    state.create()
    state.stack_file.write_text(json.dumps({**INFO.model_dump(), "new_field": 1}))
    assert state.read_stack() == INFO


def test_a_damaged_stack_file_is_refused_with_what_to_do(state: StateDir) -> None:
    state.create()
    state.stack_file.write_text("{")
    with pytest.raises(ConfigurationError, match="penstock down"):
        state.read_stack()


def test_a_second_command_is_refused_while_the_first_changes_the_stack(state: StateDir) -> None:
    with state.lock(), pytest.raises(StackBusy), StateDir(state.path).lock():
        pytest.fail("the lock was given twice")
    with state.lock():
        pass


def test_a_lock_ends_with_its_process(state: StateDir) -> None:
    state.create()
    code = (
        "import pathlib, sys, time, serving.state as s\n"
        f"with s.StateDir(pathlib.Path({str(state.path)!r})).lock():\n"
        "    print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(StackBusy), state.lock():
        pytest.fail("another process holds the lock")
    holder.kill()
    holder.communicate()
    with state.lock():
        pass


def test_a_folder_that_cannot_be_made_is_a_sentence_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="--state-dir"):
        StateDir(tmp_path / "file" / "state").create()


def test_the_store_is_sqlite_in_the_folder_unless_a_url_is_set(state: StateDir) -> None:
    assert state.store_url(StoreSettings()) == f"sqlite+aiosqlite:///{state.path}/penstock.db"
    url = "postgresql+asyncpg://u:p@h/d"
    assert state.store_url(StoreSettings.model_validate({"url": url})) == url


@pytest.mark.parametrize(("mode", "private"), [(0o700, True), (0o755, False), (0o770, False), (0o701, False)])
def test_a_folder_is_private_when_nobody_else_may_enter_it(tmp_path: Path, mode: int, private: bool) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder").chmod(mode)
    assert is_private(tmp_path / "folder") is private


def test_neither_a_link_nor_a_file_nor_nothing_is_a_private_folder(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    (tmp_path / "file").touch(mode=0o600)
    assert [is_private(tmp_path / name) for name in ("folder", "link", "file", "gone")] == [True, False, False, False]
