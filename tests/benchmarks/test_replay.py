"""The traces that `replay` reads: each in its own columns and its own unit of time."""

import json
import random
from pathlib import Path

import pytest

from benchmarks.workloads import WORKLOADS, Arrival, arrivals
from models.errors import ConfigurationError

BURSTGPT = """Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,GPT-4,8,3,11,API
6.5,GPT-4,80,30,110,API
"""
MOONCAKE = (
    {"timestamp": 5000, "input_length": 8, "output_length": 3, "hash_ids": [1]},
    {"timestamp": 6500, "input_length": 80, "output_length": 30, "hash_ids": [1, 2]},
)
RECORDS = (
    {"started_at": 1_800_000_005.0, "kind": "chat", "prompt_tokens": 8, "completion_tokens": 3, "ttft_ms": 20.5},
    {"started_at": 1_800_000_006.5, "kind": "chat", "prompt_tokens": 80, "completion_tokens": 30, "ttft_ms": None},
)


def replayed(file: Path, text: str, speed: float = 1.0) -> list[Arrival]:
    file.write_text(text)
    return list(arrivals(WORKLOADS.module("replay").Settings(file=file, speed=speed), random.Random(1)))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("burstgpt.csv", BURSTGPT),
        ("mooncake.jsonl", "\n".join(map(json.dumps, MOONCAKE))),
        ("records.jsonl", "\n".join(map(json.dumps, RECORDS))),
    ],
)
def test_every_trace_is_the_same_load_in_other_words(tmp_path: Path, name: str, text: str) -> None:
    assert replayed(tmp_path / name, text) == [Arrival(0.0, 6, 3), Arrival(1.5, 60, 30)]
    assert replayed(tmp_path / name, text, speed=3)[1] == Arrival(0.5, 60, 30)


@pytest.mark.parametrize(
    "line", ['{"started_at": 1, "prompt_tokens": 4}', '{"at": 1}', "[]", '{"started_at": null, "prompt_tokens": 4}']
)
def test_a_line_that_is_none_ends_the_trace_with_its_number(tmp_path: Path, line: str) -> None:
    with pytest.raises(ConfigurationError, match="what follows request 2 is none"):
        replayed(tmp_path / "records.jsonl", "\n".join([*map(json.dumps, RECORDS), line]))
