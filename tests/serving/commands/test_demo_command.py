import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from models.demo.families import FAMILIES
from serving.testing import Script

Run = Callable[..., Result]


@pytest.fixture
def there(stack: Any) -> dict[str, str]:
    return {"PENSTOCK_URL": stack.url, "PENSTOCK_API_KEY": "sk-test"}


def test_both_tiers_are_asked_every_family_and_the_report_is_written(
    penstock: Run, stack: Any, there: Any, tmp_path: Path
) -> None:
    report = tmp_path / "report.json"
    result = penstock("demo", "evaluate", "--per-family", "2", "--seed", "5", "--json", "--out", str(report), **there)
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found == json.loads(report.read_text())
    assert len(stack.engine.seen) == 2 * 2 * len(FAMILIES)
    assert {row["model"] for row in found["rows"]} == {"demo-small", "demo-large"}
    assert all((row["asked"], row["exact"]) == (2, 0) for row in found["rows"])


def test_a_person_sees_a_table(penstock: Run, there: Any) -> None:
    result = penstock("demo", "evaluate", "--per-family", "1", "--model", "only-this", **there)
    assert result.exit_code == 0
    assert "only-this" in result.stdout
    assert "arithmetic" in result.stdout


def test_a_refused_request_fails_the_evaluation_in_one_sentence(penstock: Run, stack: Any, there: Any) -> None:
    stack.engine.script = Script(fault="status", status=503)
    result = penstock("demo", "evaluate", "--per-family", "1", **there)
    assert stack.engine.struck
    assert result.exit_code == 1
    assert "status 503" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_report_that_cannot_be_written_is_refused_before_anything_is_asked(
    penstock: Run, stack: Any, there: Any, tmp_path: Path
) -> None:
    result = penstock("demo", "evaluate", "--out", str(tmp_path / "missing" / "report.json"), **there)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"'{tmp_path}/missing/report.json': No such file or directory.\n"
    assert stack.engine.seen == []


@pytest.mark.parametrize("before", [None, "an older report"])
def test_an_evaluation_that_fails_leaves_the_file_of_its_report_alone(
    penstock: Run, stack: Any, there: Any, tmp_path: Path, before: str | None
) -> None:
    report = tmp_path / "report.json"
    if before is not None:
        report.write_text(before)
    stack.engine.script = Script(fault="status", status=503)
    assert penstock("demo", "evaluate", "--per-family", "1", "--out", str(report), **there).exit_code == 1
    assert (report.read_text() if report.exists() else None) == before
