"""`penstock data check` as it is typed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import Result

from serving.store.jobs import JobRow
from serving.store.store import Store
from tests.finetune.data.made import line, said
from tests.serving.tuning.yard import job_row

Run = Callable[..., Result]
LINES = [line(messages=said(f"Question {number}?", f"SECRET {number}.")) for number in range(12)]
MODEL = ("--model", "demo-large")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "train.jsonl"
    path.write_bytes(b"".join(LINES))
    return path


def test_a_good_file_ends_with_0_and_its_figures(penstock: Run, file: Path) -> None:
    done = penstock("data", "check", str(file), *MODEL, "--no-private", "--tokens-per-s", "100", "--epochs", "3")
    assert done.exit_code == 0, done.output
    for words in ("12 chat examples", "median", "█", "one pass", "3 × one pass", "as stated with --tokens-per-s"):
        assert words in done.stdout
    assert "SECRET" not in done.output


def test_the_same_is_told_to_programs(penstock: Run, file: Path) -> None:
    done = penstock("data", "check", str(file), *MODEL, "--no-private", "--json")
    told = json.loads(done.stdout)
    assert (told["valid"], told["facts"]["examples"], told["private"]) == (True, 12, None)
    assert told["counted"]["trained_tokens"] < told["counted"]["tokens"] == told["estimate"]["tokens"]
    assert sum(one["examples"] for one in told["histogram"]) == 12


def test_a_bad_file_ends_with_1_and_its_first_bad_lines(penstock: Run, file: Path) -> None:
    file.write_bytes(b"".join(LINES) + b'{"SECRET"\n' * 25)
    done = penstock("data", "check", str(file), "--no-private")
    assert done.exit_code == 1
    assert done.stdout.count("it is not valid JSON") == 20
    assert "5 more bad lines" in done.stdout
    assert "SECRET" not in done.output


def test_what_is_no_training_file_is_one_sentence(penstock: Run, file: Path) -> None:
    file.write_bytes(b"\x1f\x8b\x08\x00")
    done = penstock("data", "check", str(file), "--no-private")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "a gzip file" in done.stderr


def test_a_golden_set_is_compared(penstock: Run, file: Path, tmp_path: Path) -> None:
    golden = tmp_path / "golden.jsonl"
    golden.write_bytes(line(messages=said("question 4?"), expected="x"))
    done = penstock("data", "check", str(file), "--no-private", "--golden", str(golden))
    assert "prompt is in the golden set (golden example/line): 1 (lines 1/5)" in done.stdout


def test_the_lengths_are_drawn(penstock: Run, file: Path, tmp_path: Path) -> None:
    picture = tmp_path / "lengths.png"
    done = penstock("data", "check", str(file), *MODEL, "--no-private", "--plot", str(picture), "--max-length", "12")
    assert done.exit_code == 0, done.output
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--plot", "x.png"), "name the card with --model"),
        (("--model", "nope"), "nope"),
        ((*MODEL, "--max-length", "99999999"), "--max-length asks for more"),
    ],
)
def test_what_cannot_be_counted_is_refused_with_the_next_step(
    penstock: Run, file: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    done = penstock("data", "check", str(file), "--no-private", *arguments)
    assert done.exit_code == 1
    assert sentence in done.stderr


def test_secrets_are_counted_by_kind_and_never_shown(penstock: Run, file: Path) -> None:
    file.write_bytes(b"".join(LINES) + line(messages=said("Who?", "Write to ada.lovelace@example.com.")))
    done = penstock("data", "check", str(file))
    assert done.exit_code == 0, done.output
    assert "EMAIL: 1 (lines 13)" in done.stdout
    assert "lovelace" not in done.output


def test_the_time_is_that_of_the_last_training_here(penstock: Run, file: Path, tmp_path: Path) -> None:
    before = json.loads(penstock("data", "check", str(file), *MODEL, "--no-private", "--json").stdout)["estimate"]
    assert before["seconds"] is None
    assert "no training of it has ended here" in before["source"]
    rows = [
        replace(
            job_row("ftjob-old"),
            base="demo-large",
            created_at=1.0,
            trained_tokens=10,
            trained_s=10.0,
            adapter_version=1,
        ),
        replace(
            job_row("ftjob-new"),
            base="demo-large",
            created_at=2.0,
            trained_tokens=500,
            trained_s=5.0,
            adapter_version=2,
        ),
        replace(job_row("ftjob-begun"), base="demo-large", created_at=3.0, trained_tokens=1, trained_s=60.0),
        replace(
            job_row("ftjob-other"),
            base="demo-small",
            created_at=4.0,
            trained_tokens=7,
            trained_s=7.0,
            adapter_version=1,
        ),
    ]
    asyncio.run(written(tmp_path / "state" / "penstock.db", rows))
    told = json.loads(penstock("data", "check", str(file), *MODEL, "--no-private", "--json").stdout)["estimate"]
    assert told["seconds"] == pytest.approx(told["tokens"] / 100)
    assert "100 tokens/s as the last training of 'demo-large' here had" in told["source"]


async def written(database: Path, rows: list[JobRow]) -> None:
    """The jobs of a stack that ran."""
    database.parent.mkdir(exist_ok=True)
    async with Store.open(f"sqlite+aiosqlite:///{database}") as store, store.jobs.changing() as change:
        for row in rows:
            await change.put(row)
