"""The comparison with vLLM's generator ends in a sentence when what it compares does not start."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmarks.agreement import app


def measured_without(module: str, folder: Path) -> Any:
    """The command, where this module of its processes cannot be imported."""
    (folder / f"{module}.py").write_text(f"raise SystemExit('{module} is broken here')\n")
    asked = ["--out", str(folder / "out"), "--repetitions", "1", "--clients", "1"]
    return CliRunner().invoke(app, asked, env={"PYTHONPATH": str(folder)})


@pytest.mark.parametrize(
    ("module", "sentence"),
    [
        ("uvicorn", "Arm 'bare-mock' did not start: its process ended"),
        ("vllm", "the load generator ended:"),
    ],
)
def test_what_does_not_start_is_a_sentence_and_its_last_words(tmp_path: Path, module: str, sentence: str) -> None:
    done = measured_without(module, tmp_path)
    assert (done.exit_code, type(done.exception)) == (1, SystemExit), done.output
    assert sentence in done.stderr
    assert f"{module} is broken here" in done.stderr
    assert not (tmp_path / "out").exists(), "nothing is written of a comparison that was none"
