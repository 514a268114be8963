"""`penstock files` against a gateway: what a person and a program see."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from typer.testing import Result

from tests.serving.adapters.stand import stand_in_thread
from tests.serving.tuning.samples import chats, golden

Run = Callable[..., Result]


@pytest.fixture
def there(tmp_path: Path) -> Iterator[dict[str, str]]:
    (tmp_path / "stand").mkdir()
    with stand_in_thread(tmp_path / "stand", replicas=1) as stand:
        yield {"PENSTOCK_URL": stand.urls[0], "PENSTOCK_API_KEY": stand.keys["engineer"]}
    structlog.reset_defaults()


@pytest.fixture
def train(tmp_path: Path) -> Path:
    path = tmp_path / "train.jsonl"
    path.write_bytes(chats())
    return path


def seen(result: Result) -> Any:
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_upload_prints_the_id_and_what_the_check_found(penstock: Run, there: Any, train: Path) -> None:
    made = penstock("files", "upload", str(train), **there)
    assert made.exit_code == 0, made.stderr
    assert made.stdout.startswith("file-")
    assert f"train.jsonl: {len(chats()):,} bytes, 12 examples (chat)." in made.stderr
    file = made.stdout.strip()
    shown = seen(penstock("files", "show", file, "--json", **there))
    assert (shown["id"], shown["filename"]) == (file, "train.jsonl")
    assert "examples: 12" in penstock("files", "show", file, **there).stdout


def test_files_are_listed_by_purpose_and_with_the_moment_at_which_they_go(
    penstock: Run, there: Any, train: Path, tmp_path: Path
) -> None:
    judged = tmp_path / "golden.jsonl"
    judged.write_bytes(golden())
    options = ("--purpose", "evals", "--expires-after-s", "7200", "--json")
    first = seen(penstock("files", "upload", str(judged), *options, **there))
    penstock("files", "upload", str(train), **there)
    assert first["expires_at"] == first["created_at"] + 7200
    assert len(seen(penstock("files", "list", "--json", **there))) == 2
    [found] = seen(penstock("files", "list", "--purpose", "evals", "--json", **there))
    assert found == first
    assert "golden.jsonl" in penstock("files", "list", **there).stdout


def test_no_file_is_a_sentence_and_no_tables_head(penstock: Run, there: Any) -> None:
    assert penstock("files", "list", **there).stdout == ""
    hint = "There is no file of purpose evals: `penstock files upload FILE` brings one.\n"
    assert penstock("files", "list", "--purpose", "evals", **there).stderr == hint


def test_content_is_what_was_sent_on_stdout_or_in_a_new_file(
    penstock: Run, there: Any, train: Path, tmp_path: Path
) -> None:
    file = seen(penstock("files", "upload", str(train), "--json", **there))["id"]
    assert penstock("files", "content", file, **there).stdout.encode() == chats()
    to = tmp_path / "again.jsonl"
    told = seen(penstock("files", "content", file, "--out", str(to), "--json", **there))
    assert told == {"id": file, "path": str(to), "bytes": len(chats())}
    assert to.read_bytes() == chats()
    twice = penstock("files", "content", file, "--out", str(to), **there)
    assert (twice.exit_code, "there already" in twice.stderr) == (1, True)


def test_delete_forgets_and_a_second_one_says_that_there_is_none(penstock: Run, there: Any, train: Path) -> None:
    file = seen(penstock("files", "upload", str(train), "--json", **there))["id"]
    assert seen(penstock("files", "delete", file, "--json", **there)) == {"id": file, "object": "file", "deleted": True}
    again = penstock("files", "delete", file, **there)
    assert (again.exit_code, "no such file" in again.stderr) == (1, True)


def test_a_bad_file_is_told_by_its_line_and_no_file_by_its_name(
    penstock: Run, there: Any, train: Path, tmp_path: Path
) -> None:
    train.write_bytes(chats() + b"secret\n")
    bad = penstock("files", "upload", str(train), **there)
    assert (bad.exit_code, "line 13" in bad.stderr, "secret" in bad.stderr) == (1, True, False)
    none = penstock("files", "upload", str(tmp_path / "none.jsonl"), **there)
    assert (none.exit_code, "is not a file" in none.stderr) == (1, True)
