"""Which lines of which file a job learns from, which pick its best look, and which judge it: none does two of these
where that can be helped. Owns neither the shares (`finetune/gate/split.py`) nor the format (`finetune/gate/golden.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from finetune.gate.golden import Golden, InvalidGolden, golden_of, load_golden
from finetune.gate.split import LEAST, Share, bare, chosen_of, numbered, of_training, of_validation, rank
from models.artifacts.store import ArtifactStore
from models.errors import InvalidRequest
from models.privacy import private_folder
from serving.store.jobs import JobRow
from serving.tuning.inputs import input_file
from serving.tuning.workshop import Inputs

T = TypeVar("T")

BOTH = (
    f"The validation file has fewer than {2 * LEAST} different lines: the same ones pick the best look and judge it,"
    " which flatters it. Name penstock.golden_file."
)


@dataclass(frozen=True, slots=True)
class GoldenSet:
    """Questions. `file`: what they are called in a report; `warning`: what its reader must know of them."""

    file: str
    examples: list[Golden]
    warning: str | None = None


def inputs_of(job: JobRow, *, training: Path, validation: Path | None, to: Path) -> Inputs:
    """The lines that a job is trained on, and looked at with, without those that it will be judged by; what is written
    anew lies in this folder. Blocks.
    """
    if _named(job, "golden_file") is not None:
        return Inputs(training, training, validation)
    to.mkdir(mode=0o700, parents=True, exist_ok=True)
    if validation is None:
        rest, _ = _without_chosen(training, to / "training.jsonl", share=of_training)
        return Inputs(rest, training)
    rest, kept = _without_chosen(validation, to / "validation.jsonl", share=of_validation)
    said = f"{kept:,} lines of the validation file are kept for the gate: no look at the training uses them."
    return Inputs(training, training, rest, told=(said if kept else BOTH,))


class StoredGoldenFiles:
    """`work`: a folder for drafts; nothing of a file stays on this machine when it is read."""

    def __init__(self, artifacts: ArtifactStore, *, work: Path) -> None:
        self._artifacts = artifacts
        self._work = work

    async def golden(self, job: JobRow) -> GoldenSet:
        """The job's golden file, else what was kept of its validation file, else of its training file."""
        named = _named(job, "golden_file")
        if named is not None:
            return GoldenSet(named, await self._read(named, load_golden))
        if job.validation_file is None:
            found = await self._read(job.training_file, lambda path: _held_out(path, of_training))
            return _kept_of(job.training_file, found)
        found = await self._read(job.validation_file, lambda path: _held_out(path, of_validation))
        if found is not None:
            return _kept_of(job.validation_file, found)
        return GoldenSet(job.validation_file, await self._read(job.validation_file, load_golden), BOTH)

    async def regression(self, job: JobRow) -> GoldenSet | None:
        """The job's regression file."""
        file = _named(job, "regression_file")
        return None if file is None else GoldenSet(file, await self._read(file, load_golden))

    async def _read(self, file: str, read: Callable[[Path], T]) -> T:
        return await asyncio.to_thread(self._fetched, file, read)

    def _fetched(self, file: str, read: Callable[[Path], T]) -> T:
        private_folder(self._work)
        with TemporaryDirectory(dir=self._work, prefix="golden-") as draft:
            found = input_file(self._artifacts, file, to=Path(draft))
            if found is None:
                raise InvalidRequest(
                    f"The file {file[:64]!r} is not there any more.", code="invalid_file", param="file"
                )
            return read(found)


def _without_chosen(path: Path, to: Path, *, share: Share) -> tuple[Path, int]:
    """The file without the lines that are kept for the gate, and how many of them there are. The others keep their
    numbers, by which an error names them.
    """
    chosen = _chosen(path, share)
    if not chosen:
        return path, 0
    with path.open("rb") as file, to.open("wb") as out:
        out.writelines(b"\n" if rank(line := bare(raw)) in chosen else line + b"\n" for raw in file)
    return to, len(chosen)


def _chosen(path: Path, share: Share) -> frozenset[bytes]:
    with path.open("rb") as file:
        return chosen_of(file, share)


def _held_out(path: Path, share: Share) -> list[Golden] | None:
    """The questions among the lines that are kept for the gate; None where no line is."""
    chosen = _chosen(path, share)
    with path.open("rb") as file:
        firsts: dict[bytes, int] = {}
        for number, line in numbered(file):
            if rank(line) in chosen:
                firsts.setdefault(line, number)
    return list(_questions(firsts)) if firsts else None


def _questions(lines: dict[bytes, int]) -> Iterator[Golden]:
    for line, number in lines.items():
        with suppress(InvalidGolden):  # a line may be good to learn from, and ask nothing
            yield golden_of(line, number)


def _kept_of(file: str, found: list[Golden] | None) -> GoldenSet:
    if found:
        name = f"held out of {file}"
        return GoldenSet(name, found, f"No golden file: judged by {name}.")
    told = "has too few lines to hold any out" if found is None else "has no question among the lines held out of it"
    raise InvalidRequest(f"The file {file[:64]!r} {told}: name penstock.golden_file.", param="golden_file")


def _named(job: JobRow, name: str) -> str | None:
    file = (job.asked.get("penstock") or {}).get(name)
    return None if file is None else str(file)
