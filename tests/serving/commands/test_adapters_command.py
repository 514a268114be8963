"""`penstock adapters` against a gateway with two replicas: what a person and a program see."""

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from typer.testing import Result

from tests.serving.adapters.stand import SMALL, Stand, adapter_zip, stand_in_thread

Run = Callable[..., Result]


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    (tmp_path / "stand").mkdir()
    with stand_in_thread(tmp_path / "stand") as made:
        yield made
    structlog.reset_defaults()


@pytest.fixture
def there(stand: Stand) -> dict[str, str]:
    return {"PENSTOCK_URL": stand.urls[0], "PENSTOCK_API_KEY": stand.keys["engineer"]}


def folder(home: Path, seed: int = 1, **changes: Any) -> str:
    """An adapter as PEFT leaves it."""
    to = home / f"adapter-{seed}"
    with zipfile.ZipFile(io.BytesIO(adapter_zip(seed, **changes))) as archive:
        archive.extractall(to)
    (to / "README.md").write_text("# An adapter")
    return str(to)


def seen(result: Result) -> Any:
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_push_prints_the_version_and_says_what_comes_next(penstock: Run, there: Any, tmp_path: Path) -> None:
    pushed = penstock("adapters", "push", "bot", folder(tmp_path), "--base", SMALL, "--metric", "loss=0.5", **there)
    assert pushed.exit_code == 0, pushed.stderr
    assert pushed.stdout == "1\n"
    assert "Left out: README.md." in pushed.stderr
    assert "penstock adapters promote bot --version 1" in pushed.stderr
    shown = seen(penstock("adapters", "show", "bot", "--json", **there))
    assert shown["versions"][0]["facts"]["metrics"] == {"loss": 0.5}


def test_no_adapter_is_a_sentence_and_no_tables_head(penstock: Run, there: Any) -> None:
    listed = penstock("adapters", "list", **there)
    assert (listed.exit_code, listed.stdout) == (0, "")
    assert listed.stderr == "There is no adapter: `penstock adapters push NAME FOLDER --base MODEL` brings one.\n"


def test_a_release_is_told_in_one_line_and_seen_in_list_and_status(penstock: Run, there: Any, tmp_path: Path) -> None:
    for seed in (1, 2):
        penstock("adapters", "push", "bot", folder(tmp_path, seed), "--base", SMALL, **there)
    promoted = penstock("adapters", "promote", "bot", "--version", "1", **there)
    assert promoted.stdout.strip() == "bot: version 1 at 100 %, loaded on 2 replicas."
    tried = seen(penstock("adapters", "canary", "bot", "--version", "2", "--weight", "25", "--json", **there))
    assert tried["targets"] == [{"version": 1, "weight": 75.0}, {"version": 2, "weight": 25.0}]
    listed = penstock("adapters", "list", **there).stdout
    assert "2 at 25 %" in listed
    status = penstock("adapters", "status", "bot", **there).stdout
    assert "alias bot: version 1; trying 2 at 25 %" in status
    assert status.count("bot@") >= 4
    back = penstock("adapters", "rollback", "bot", **there)
    assert back.stdout.strip() == "bot: version 1 at 100 %."


def test_a_bad_adapter_is_refused_in_one_sentence_with_what_is_meant(penstock: Run, there: Any, tmp_path: Path) -> None:
    bad = folder(tmp_path, use_dora=True)
    refused = penstock("adapters", "push", "bot", bad, "--base", SMALL, **there)
    assert refused.exit_code == 1
    assert "(use_dora)" in refused.stderr
    assert refused.stderr.strip().count("\n") == 0


def test_what_was_pushed_is_exported_as_peft_reads_it(penstock: Run, there: Any, tmp_path: Path) -> None:
    penstock("adapters", "push", "bot", folder(tmp_path), "--base", SMALL, **there)
    exported = penstock("adapters", "export", "bot", str(tmp_path / "out"), "--version", "1", **there)
    assert exported.exit_code == 0, exported.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    again = penstock("adapters", "export", "bot", str(tmp_path / "out"), "--version", "1", **there)
    assert again.exit_code == 1
    assert "is there already" in again.stderr


def test_price_delete_and_what_is_not_there(penstock: Run, there: Any, tmp_path: Path) -> None:
    penstock("adapters", "push", "bot", folder(tmp_path), "--base", SMALL, **there)
    both = ("--input-micro-usd", "5", "--output-micro-usd", "7")
    assert seen(penstock("adapters", "price", "bot", *both, "--json", **there))["price"] == {
        "input_micro_usd": 5,
        "output_micro_usd": 7,
    }
    assert penstock("adapters", "price", "bot", *both[:2], **there).exit_code == 1
    assert penstock("adapters", "delete", "bot", **there).exit_code == 0
    gone = penstock("adapters", "show", "bot", **there)
    assert (gone.exit_code, gone.stderr.strip()) == (1, "There is no such adapter.")


def test_a_metric_that_is_none_is_refused_before_anything_is_sent(penstock: Run, there: Any, tmp_path: Path) -> None:
    refused = penstock("adapters", "push", "bot", folder(tmp_path), "--base", SMALL, "--metric", "good", **there)
    assert refused.exit_code == 1
    assert "NAME=NUMBER" in refused.stderr
