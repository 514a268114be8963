"""The questions that a job is judged by, out of the artifact store. Owns which file it is; the format is the gate's."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finetune.gate.golden import Golden, golden_of, load_golden
from finetune.gate.split import HELD_OUT_SEED, held_out
from models.artifacts.store import ArtifactStore
from models.errors import InvalidRequest
from serving.store.jobs import JobRow
from serving.tuning.inputs import input_file


def holds_out(job: JobRow) -> bool:
    """Whether a part of the training file is what the job is judged by, so that it must not be trained on."""
    return not (_ours(job.asked).get("golden_file") or job.validation_file)


def written_without_held_out(training: Path, to: Path) -> Path:
    """The lines of a training file that are trained on, as a file in this folder. Blocks."""
    lines, _ = held_out(training.read_bytes().splitlines(), HELD_OUT_SEED)
    to.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = to / "training.jsonl"
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


class StoredGoldenFiles:
    """`fetched`: a folder for files that were fetched."""

    def __init__(self, artifacts: ArtifactStore, *, fetched: Path) -> None:
        self._artifacts = artifacts
        self._fetched = fetched

    async def golden(self, job: JobRow) -> tuple[str, list[Golden]]:
        """The job's golden file, else its validation file, else what was held out of its training file."""
        if holds_out(job):
            found = await asyncio.to_thread(self._held_out, job.training_file)
            return f"held out of {job.training_file}", found
        file = str(_ours(job.asked).get("golden_file") or job.validation_file)
        return file, await asyncio.to_thread(self._load, file)

    async def regression(self, job: JobRow) -> tuple[str, list[Golden]] | None:
        """The job's regression file."""
        file = _ours(job.asked).get("regression_file")
        return None if file is None else (file, await asyncio.to_thread(self._load, file))

    def _load(self, file: str) -> list[Golden]:
        return load_golden(self._path(file))

    def _held_out(self, file: str) -> list[Golden]:
        _, golden = held_out(self._path(file).read_bytes().splitlines(), HELD_OUT_SEED)
        if not golden:
            raise InvalidRequest(
                "The training file has too few lines to hold any out: name penstock.golden_file.", param="golden_file"
            )
        return [golden_of(line, number) for number, line in enumerate(golden, 1)]

    def _path(self, file: str) -> Path:
        found = input_file(self._artifacts, file, to=self._fetched)
        if found is None:
            raise InvalidRequest(f"The file {file[:64]!r} is not there any more.", code="invalid_file", param="file")
        return found


def _ours(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = asked.get("penstock") or {}
    return found
