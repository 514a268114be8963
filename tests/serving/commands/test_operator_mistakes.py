"""What an operator gets wrong every day ends in one sentence and exit code 1."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

Run = Callable[..., Result]


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "a file"
    path.write_text("no folder")
    return str(path)


@pytest.mark.parametrize(
    "command", [("status",), ("chat", "--once", "hi"), ("keys", "list"), ("config", "show"), ("router", "explain", "x")]
)
def test_a_file_in_place_of_the_state_folder_is_one_sentence(penstock: Run, file: str, command: tuple[str]) -> None:
    result = penstock(*command, "--state-dir", file)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"'{file}/stack.json': Not a directory.\n"


def test_what_cannot_be_read_is_named_with_the_reason_of_the_operating_system(penstock: Run, tmp_path: Path) -> None:
    (tmp_path / "state" / "stack.json").mkdir(parents=True)
    result = penstock("status")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"'{tmp_path}/state/stack.json': Is a directory.\n"


def test_the_way_to_an_error_of_the_operating_system_is_shown_on_demand(penstock: Run, file: str) -> None:
    result = penstock("status", "--state-dir", file, PENSTOCK_DEBUG="1")
    assert isinstance(result.exception, NotADirectoryError)


@pytest.mark.parametrize("content", [b"garbage", b"garbage " * 4096, b"SQLite format 3\0" + b"\xff" * 8192])
def test_a_database_file_that_is_broken_is_named_in_a_sentence_and_left_alone(
    penstock: Run, tmp_path: Path, content: bytes
) -> None:
    database = tmp_path / "state" / "penstock.db"
    database.parent.mkdir()
    database.write_bytes(content)
    result = penstock("keys", "list")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("The accounting database cannot be used now.\n")
    assert f"{str(database)!r}: DatabaseError: file is not a database" in result.stderr
    assert "Traceback" not in result.stderr
    assert database.read_bytes() == content


def test_a_reader_that_has_enough_ends_the_output_without_a_word() -> None:
    script = (
        f"{sys.executable} -c 'from serving.cli import main; main()' config show --json | true; echo ${{PIPESTATUS[0]}}"
    )
    found = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=120)
    assert found.stdout in ("0\n", "1\n")
    assert found.stderr == ""
