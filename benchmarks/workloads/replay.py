"""Workload `replay`: the times and sizes of a trace file, as BurstGPT (CSV), Mooncake (JSONL) and our records say them.

Reads the file as the run goes on. The texts are not in such traces: the suite's prompts are drawn in these sizes.
"""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from benchmarks.workloads.arrival import Arrival, WorkloadSettings
from models.errors import ConfigurationError

WORDS_PER_TOKEN = 0.75
"""What a token is in English text, roughly: traces count tokens, prompts are drawn in words."""
COLUMNS = (
    ("Timestamp", "Request tokens", "Response tokens", 1.0),  # BurstGPT: seconds
    ("timestamp", "input_length", "output_length", 1000.0),  # Mooncake: milliseconds
    ("started_at", "prompt_tokens", "completion_tokens", 1.0),  # `penstock records export`: seconds
)


class Settings(WorkloadSettings):
    """An open loop at the times of a trace."""

    kind: Literal["replay"] = Field("replay", description="Open loop at recorded times and sizes.")
    file: Path = Field(description="Trace: BurstGPT's CSV, Mooncake's JSON lines, or `penstock records export`.")
    speed: float = Field(1.0, gt=0, description="Twice as fast is 2.")

    @field_validator("file")
    @classmethod
    def _there(cls, file: Path) -> Path:
        if not file.is_file():
            raise ValueError(f"there is no trace {str(file)!r}")
        return file


def arrivals(settings: Settings, chance: random.Random) -> Iterator[Arrival]:  # noqa: ARG001 - of the family
    """Every row, its time counted from the first one."""
    first, number = None, 0
    try:
        for row in _rows(settings.file):
            found = _arrival(row)
            first = found.at_s if first is None else first
            at_s = max(0.0, found.at_s - first) / settings.speed
            number += 1
            yield Arrival(at_s, found.prompt_words, found.answer_tokens)
    except (KeyError, ValueError, TypeError) as error:
        raise ConfigurationError(f"Trace {str(settings.file)!r}: what follows request {number} is none.") from error


def _rows(file: Path) -> Iterator[Mapping[str, Any]]:
    with file.open(newline="", encoding="utf-8") as lines:
        if file.suffix == ".csv":
            yield from csv.DictReader(lines)
        else:
            yield from (json.loads(line) for line in lines if line.strip())


def _arrival(row: Mapping[str, Any]) -> Arrival:
    for time, given, answered, per_second in COLUMNS:
        if time in row:
            words = max(1, round(float(row[given]) * WORDS_PER_TOKEN))
            return Arrival(float(row[time]) / per_second, words, max(1, int(float(row[answered]))))
    raise ValueError("no known column")
