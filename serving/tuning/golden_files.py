"""The questions that a job is judged by, out of the artifact store. Owns which file it is; the format is the gate's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from finetune.gate.golden import Golden, InvalidGolden, golden_of, load_golden
from finetune.gate.split import HELD_OUT_SEED, chosen_of, rank, stripped
from models.artifacts.store import ArtifactStore
from models.errors import InvalidRequest
from models.privacy import private_folder
from serving.store.jobs import JobRow
from serving.tuning.inputs import input_file


def holds_out(job: JobRow) -> bool:
    """Whether a part of the training file is what the job is judged by, so that it must not be trained on."""
    return not (_ours(job.asked).get("golden_file") or job.validation_file)


def written_without_held_out(training: Path, to: Path) -> Path:
    """The lines of a training file that are trained on, as a file in this folder. Blocks."""
    chosen = _chosen(training)
    to.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = to / "training.jsonl"
    with training.open("rb") as file, path.open("wb") as out:
        out.writelines(line + b"\n" for line in stripped(file) if rank(line, HELD_OUT_SEED) not in chosen)
    return path


class StoredGoldenFiles:
    """`work`: a folder for drafts; nothing of a file stays on this machine when it is read."""

    def __init__(self, artifacts: ArtifactStore, *, work: Path) -> None:
        self._artifacts = artifacts
        self._work = work

    async def golden(self, job: JobRow) -> tuple[str, list[Golden]]:
        """The job's golden file, else its validation file, else what was held out of its training file."""
        if holds_out(job):
            found = await asyncio.to_thread(self._read, job.training_file, _held_out)
            return f"held out of {job.training_file}", found
        file = str(_ours(job.asked).get("golden_file") or job.validation_file)
        return file, await asyncio.to_thread(self._read, file, load_golden)

    async def regression(self, job: JobRow) -> tuple[str, list[Golden]] | None:
        """The job's regression file."""
        file = _ours(job.asked).get("regression_file")
        return None if file is None else (file, await asyncio.to_thread(self._read, file, load_golden))

    def _read(self, file: str, read: Callable[[Path], list[Golden]]) -> list[Golden]:
        private_folder(self._work)
        with TemporaryDirectory(dir=self._work, prefix="golden-") as draft:
            found = input_file(self._artifacts, file, to=Path(draft))
            if found is None:
                raise InvalidRequest(
                    f"The file {file[:64]!r} is not there any more.", code="invalid_file", param="file"
                )
            return read(found)


def _chosen(training: Path) -> frozenset[bytes]:
    with training.open("rb") as file:
        return chosen_of(stripped(file), HELD_OUT_SEED)


def _held_out(training: Path) -> list[Golden]:
    """The questions among the lines that are held out."""
    chosen = _chosen(training)
    with training.open("rb") as file:
        lines = dict.fromkeys(line for line in stripped(file) if rank(line, HELD_OUT_SEED) in chosen)
    if not lines:
        raise InvalidRequest(
            "The training file has too few lines to hold any out: name penstock.golden_file.", param="golden_file"
        )
    found = []
    for number, line in enumerate(lines, 1):
        with suppress(InvalidGolden):  # a line may be good to learn from, and ask nothing
            found.append(golden_of(line, number))
    if not found:
        raise InvalidRequest(
            "No line that is held out of the training file is a question: name penstock.golden_file.",
            param="golden_file",
        )
    return found


def _ours(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = asked.get("penstock") or {}
    return found
