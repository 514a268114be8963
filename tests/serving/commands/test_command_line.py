import json
import os
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import Result

from serving.cli import build
from serving.commands.docs import VARIABLES

Run = Callable[..., Result]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from serving.cli import main; main()", *arguments]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120)


def test_help_lists_every_command(penstock: Run) -> None:
    text = penstock("--help").stdout
    for name in (
        "up",
        "down",
        "status",
        "logs",
        "doctor",
        "chat",
        "keys",
        "records",
        "models",
        "config",
        "demo",
        "router",
        "adapters",
        "files",
        "data",
        "finetune",
    ):
        assert f"│ {name} " in text


def options(command: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Every command of the tree with each of its options: `("keys create", "--org")`."""
    for word, inner in getattr(command, "commands", {}).items():
        yield from options(inner, f"{name} {word}".strip())
    if not hasattr(command, "commands"):
        yield from ((name, option) for parameter in command.params for option in parameter.opts)


@pytest.fixture(scope="module")
def takers() -> dict[str, set[str]]:
    """Option → the commands that take it; `*` → all commands."""
    found: dict[str, set[str]] = defaultdict(set)
    for name, option in options(typer.main.get_command(build())):
        found[option].add(name)
        found["*"].add(name)
    return found


def test_every_command_that_works_on_a_stack_takes_the_state_folder(takers: dict[str, set[str]]) -> None:
    assert {"up", "keys revoke", "config show", "router explain", "demo evaluate"} < takers["*"]
    assert len(takers["*"]) >= 17
    without = {
        "config docs",
        "bench suites",
        "bench gate",
        "bench report",
        "bench cost",
        "demo adapter",
        "demo lessons",
    }
    assert takers["*"] - takers["--state-dir"] == without


def test_the_commands_that_take_a_profile_are_those_of_the_configuration_page(takers: dict[str, set[str]]) -> None:
    readers = {name: readers for name, readers, _ in VARIABLES}["PENSTOCK_PROFILE"]
    assert takers["--profile"] == set(readers.replace("`", "").split(", "))


@pytest.mark.parametrize("command", [("keys", "list"), ("keys", "revoke", "key_0"), ("demo", "evaluate"), ("status",)])
def test_a_named_folder_is_the_one_that_is_looked_into(penstock: Run, tmp_path: Path, command: tuple[str, ...]) -> None:
    result = penstock(*command, "--state-dir", str(tmp_path / "another"))
    assert result.exit_code == 1
    assert str(tmp_path / "another") in result.stderr


def test_an_error_is_one_sentence_on_stderr_and_exit_code_1(tmp_path: Path) -> None:
    result = run("status", "--state-dir", str(tmp_path))
    assert (result.returncode, result.stdout) == (1, "")
    assert len(result.stderr.strip().splitlines()) == 1
    assert "penstock up" in result.stderr


def test_the_way_to_an_error_is_shown_on_demand(tmp_path: Path) -> None:
    result = run("status", "--state-dir", str(tmp_path), PENSTOCK_DEBUG="1")
    assert result.returncode == 1
    assert "Traceback" in result.stderr


def test_a_typing_error_is_told_without_a_traceback(penstock: Run) -> None:
    result = penstock("config", "shwo")
    assert result.exit_code == 2
    assert "show" in result.stderr
    assert "Traceback" not in result.output


def test_a_profile_that_cannot_work_stops_up_before_anything_is_made(penstock: Run, tmp_path: Path) -> None:
    result = penstock("up", "--profile", "nope")
    assert result.exit_code == 1
    assert "Unknown profile 'nope'" in result.stderr
    assert not (tmp_path / "state").exists()


def test_a_stack_of_models_that_are_not_here_is_refused_with_the_next_step(penstock: Run) -> None:
    result = penstock("up", "--profile", "cpu", "--detach", "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "penstock models pull" in result.stderr


def test_stopping_nothing_is_no_error_and_says_so(penstock: Run) -> None:
    result = penstock("down", "--json")
    assert json.loads(result.stdout) == {"stopped": True}
    assert "Nothing was running" in result.stderr


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    folder = tmp_path / "state" / "logs"
    folder.mkdir(parents=True)
    (folder / "ray.log").write_text("".join(f"ray {number}\n" for number in range(50)))
    (folder / "launch.log").write_text("launch [bold] 1\n")
    return folder


def test_logs_shows_the_last_lines_of_each_file(penstock: Run, logs: Path) -> None:
    lines = penstock("logs", "--lines", "2").stdout.splitlines()
    assert lines == ["launch launch [bold] 1", "ray ray 48", "ray ray 49"]
    assert penstock("logs", "--only", "launch").stdout == "launch launch [bold] 1\n"


def test_logs_without_any_says_so(penstock: Run) -> None:
    result = penstock("logs")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "No log file" in result.stderr


def test_followed_logs_show_what_is_added_until_they_are_interrupted(logs: Path) -> None:
    command = [sys.executable, "-u", "-c", "from serving.cli import main; main()", "logs", "-f", "-n", "1"]
    environment = {**os.environ, "PENSTOCK_STATE_DIR": str(logs.parent)}
    follower: Any = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert [follower.stdout.readline(), follower.stdout.readline()] == ["launch launch [bold] 1\n", "ray ray 49\n"]
    with (logs / "ray.log").open("a") as file:
        file.write("half a ")
        file.flush()
        file.write("line\n")
    (logs / "new.log").write_text("from a new file\n")
    assert {follower.stdout.readline(), follower.stdout.readline()} == {"ray half a line\n", "new from a new file\n"}
    follower.send_signal(signal.SIGINT)
    assert follower.wait(30) == 130
    follower.stdout.close()


def test_training_files_are_checked_and_made(takers: dict[str, set[str]]) -> None:
    assert {"data check", "data from-records"} <= takers["*"]
    for option in ("--feedback", "--since", "--until", "--org", "--model", "--feature", "--limit", "--format", "--out"):
        assert "data from-records" in takers[option]
    assert {"data from-records"} == takers["--redact"] == takers["--i-know"]
