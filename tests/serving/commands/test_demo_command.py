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
