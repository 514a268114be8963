"""How a model's files take the place of older ones."""

from pathlib import Path

import pytest

from router.files import write_together

OLD, NEW = {"a": b"old a", "b": b"old b"}, {"a": b"new a", "b": b"new b"}


def found(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_files_are_written_into_a_folder_that_is_made_for_them_and_over_older_ones(tmp_path: Path) -> None:
    for files in (OLD, NEW):
        write_together(tmp_path / "not" / "yet", files)
        assert found(tmp_path / "not" / "yet") == files


def test_a_write_that_fails_at_the_last_file_leaves_all_of_the_old_ones(tmp_path: Path) -> None:
    write_together(tmp_path, OLD)
    too_long = "b" * 254  # the name that it is written under first has more than 255 letters
    with pytest.raises(OSError, match="name too long"):
        write_together(tmp_path, {**NEW, too_long: b""})
    assert found(tmp_path) == OLD


def test_a_file_that_is_there_already_is_not_written_again(tmp_path: Path) -> None:
    write_together(tmp_path, OLD)
    before = {name: (tmp_path / name).stat().st_ino for name in OLD}
    write_together(tmp_path, {**OLD, "b": b"new b"})
    after = {name: (tmp_path / name).stat().st_ino for name in OLD}
    assert (before["a"] == after["a"], before["b"] == after["b"]) == (True, False)
