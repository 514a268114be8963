"""Which lines a worker trains on: never those by which the gate judges."""

import json
from pathlib import Path

from finetune.gate.split import HELD_OUT_SEED, held_out
from serving.tuning.inputs import judged_by_own_lines, without_held_out
from tests.serving.tuning.yard import job_row


def test_lines_by_which_the_gate_judges_are_not_trained_on(tmp_path: Path) -> None:
    lines = [json.dumps({"line": number}).encode() for number in range(100)]
    whole = tmp_path / "data.jsonl"
    whole.write_bytes(b"\n".join(lines))
    trained = without_held_out(whole, to=tmp_path).read_bytes().splitlines()
    _, golden = held_out(lines, HELD_OUT_SEED)
    assert len(golden) == 25
    assert sorted(trained + golden) == sorted(lines)


def test_a_job_with_files_of_its_own_for_the_gate_trains_on_every_line() -> None:
    assert judged_by_own_lines(job_row("ftjob-1"))
    assert not judged_by_own_lines(job_row("ftjob-1", validation_file="file-v"))
    assert not judged_by_own_lines(job_row("ftjob-1", asked={"penstock": {"golden_file": "file-g"}}))
