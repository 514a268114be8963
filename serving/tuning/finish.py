"""What comes after training: the adapter into the registry, its judgement, and its release.

The story reads in `rest`, one step a phase. Each is done in full before the row says so, and can be done again: the
same files are the same version, a judged job is not judged twice, and an alias that points there already stays.
Cancelled at any point, it leaves a version that nobody is served. Does not judge (`judge.py`) or know replicas.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from finetune.release import CANARY_WEIGHT, Release, Verdict, released
from models.adapters.archive import pack
from models.adapters.states import LOADED
from models.artifacts.store import ArtifactStore
from models.clock import Clock
from models.crash import CrashPoints
from models.errors import InvalidRequest, NotFound, Unavailable
from models.privacy import private_folder
from serving.adapters.registry import AdapterRegistry, Received, Shown
from serving.adapters.releases import Actor, Releases, Taken
from serving.adapters.rules import engine_name_of
from serving.store.jobs import CheckpointRow, JobRow, JobTable
from serving.tuning.checkpoints import FINAL, Checkpoints
from serving.tuning.inputs import digest_of
from serving.tuning.job_rules import checkpoint_name, public_name
from serving.tuning.moves import Moves
from serving.tuning.verdict import Judge

GATE_FAILED = "gate_failed"


class Results(Protocol):
    """Keeps the figures of a training as files of its org."""

    async def keep(self, job: JobRow) -> str:
        """The id of the file, the same for one job whenever it is kept. Raises `PenstockError`."""
        ...


@dataclass(frozen=True, slots=True)
class Way:
    """What adapters go through on their way to be served. `work`: a folder for drafts."""

    registry: AdapterRegistry
    releases: Releases
    judge: Judge
    artifacts: ArtifactStore
    work: Path
    crash: CrashPoints
    results: Results | None = None


class Finish:
    """Takes trained jobs to their end."""

    def __init__(self, table: JobTable, way: Way, *, clock: Clock) -> None:
        self._table = table
        self._way = way
        self._move = Moves(table, clock=clock)
        self._clock = clock
        self._checkpoints = Checkpoints(table, way.artifacts, clock=clock)

    async def rest(self, job: JobRow) -> None:
        """Every step that is left. Raises what may go away by itself."""
        steps: Mapping[str, Callable[[JobRow], Awaitable[JobRow | None]]] = {
            "publishing": self._publish,
            "judging": self._judge,
            "releasing": self._release,
        }
        now: JobRow | None = job
        while now is not None and now.status == "running" and now.phase in steps:
            now = await steps[now.phase](now)

    async def serve_checkpoint(self, job: JobRow, step: int) -> CheckpointRow:
        """Serve the adapter of a checkpoint as a version under a name of its own, to be held against others.

        Raises `NotFound` for a step of which nothing is kept.
        """
        rows = await self._table.checkpoints(job.id)
        row = next((row for row in rows if row.step == step), None)
        if row is None:
            raise NotFound(f"No checkpoint of step {step} is kept.", param="step")
        if row.adapter_version is None:
            row = replace(row, adapter_version=await self._pushed(job, row))
            async with self._table.changing() as change:
                await change.put_checkpoint(row)
        number, actor = row.adapter_version, Actor(job.org, job.created_by)
        assert number is not None
        await self._way.releases.serve(actor, job.adapter, number=number, system_alias=checkpoint_name(job, step))
        return row

    async def _publish(self, job: JobRow) -> JobRow | None:
        """The adapter becomes a version of its name."""
        row = await self._checkpoints.trained(job.id)
        if row is None:
            said = "What the training left behind is not there any more. Make a new job."
            return await self._move.ended(job, code="internal_error", said=said)
        try:
            number = await self._pushed(job, row)
        except Taken:
            raise
        except InvalidRequest as error:
            said = (
                f"The adapter {job.adapter!r} was refused: {error.public} What was trained is kept as the job's last"
                " checkpoint: mend that and resume the job, and it is published without another training."
            )
            return await self._move.ended(job, code=error.code, said=said, param=error.param)
        self._way.crash.reach("tuning.pushed")
        kept = job.result_files or (() if self._way.results is None else (await self._way.results.keep(job),))
        self._way.crash.reach("tuning.figures_kept")
        said = f"The adapter is version {number} of {job.adapter!r}. It is judged next."
        return await self._move(job, said=said, phase="judging", adapter_version=number, result_files=kept)

    async def _pushed(self, job: JobRow, row: CheckpointRow) -> int:
        """The number of the version with these files: of the one that there is, if they came before."""
        way = self._way
        digest = await asyncio.to_thread(digest_of, way.artifacts, job.training_file)
        about = {"job": job.id, "step": row.step, "data_digest": digest, "metrics": shown(row.metrics)}
        await asyncio.to_thread(private_folder, way.work)
        with TemporaryDirectory(dir=way.work, prefix="tuned-") as draft:
            folder = await self._checkpoints.fetched(row, to=Path(draft))
            if folder is None:
                raise Unavailable("The files of the adapter cannot be read from the artifact store.")
            archive = Path(draft, "adapter.zip")
            came = await asyncio.to_thread(_packed, folder, archive)
            actor = Actor(job.org, job.created_by)
            _, version = await way.registry.push(actor, job.adapter, archive=came, base=job.base, about=about)
        return version.number

    async def _judge(self, job: JobRow) -> JobRow | None:
        """The verdict, which is kept whatever it is."""
        assert job.adapter_version is not None
        try:
            verdict = await self._way.judge.judge(job, job.adapter_version)
        except Taken:
            raise
        except InvalidRequest as error:
            return await self._move.ended(job, code=error.code, said=error.public, param=error.param)
        self._way.crash.reach("tuning.judged")
        report = dict(verdict.report)
        if verdict.passed:
            passed = await self._move(job, said="The gate is passed.", phase="releasing", report=report)
            if passed is not None and passed.wanted == "cancel":  # nothing is released yet
                return await self._move.obeyed(passed)
            return passed
        said = f"The gate is not passed: version {job.adapter_version} is kept, and served to nobody. See the report."
        return await self._move.ended(job, code=GATE_FAILED, said=said, report=report)

    async def _release(self, job: JobRow) -> JobRow | None:
        """The name that is the job's own, then what its owner wanted of the adapter's; the model's name comes last."""
        assert job.adapter_version is not None
        name, actor = public_name(job), Actor(job.org, job.created_by)
        shown = await self._way.registry.show(job.org, job.adapter)
        decided = _decided(job, name, shown=shown)
        if decided.act != "none" and _is_outdated(job, shown):
            return await self._move(job, said="Another version is live by now: it is judged anew.", phase="judging")
        try:
            await self._way.releases.serve(actor, job.adapter, number=job.adapter_version, system_alias=name)
            self._way.crash.reach("tuning.named")
            await self._promote(job, actor, decided=decided)
        except Taken:
            raise
        except (InvalidRequest, NotFound) as error:
            return await self._move.ended(job, code=error.code, said=error.public)
        self._way.crash.reach("tuning.released")
        over: dict[str, Any] = {
            "status": "succeeded",
            "phase": "done",
            "finished_at": self._clock.now(),
            "wanted": None,
        }
        return await self._move(job, said=f"The job succeeded: {name!r} is served.", fine_tuned_model=name, **over)

    async def _promote(self, job: JobRow, actor: Actor, *, decided: Release) -> None:
        """As the job's owner wished. What the adapter's own alias does not admit is said, and fails nothing."""
        number, releases = int(job.adapter_version or 0), self._way.releases
        try:
            if decided.act == "promote":
                await releases.promote(actor, job.adapter, number=number)
            elif decided.act == "canary":
                weight = CANARY_WEIGHT if decided.canary_weight is None else decided.canary_weight
                await releases.canary(actor, job.adapter, number=number, weight=weight)
        except Taken:
            raise
        except InvalidRequest as error:
            said = f"The gate passed the version, and the {decided.act} could not be made: {error.public}"
            await self._move.say(job, said, level="warn")
        else:
            await self._move.say(job, decided.sentence)


def _decided(job: JobRow, name: str, *, shown: Shown) -> Release:
    live = _live(job, shown)
    asked = job.asked.get("penstock") or {}
    return released(
        Verdict(True, job.report or {}),
        alias=name,
        wish=asked.get("auto_promote") or "none",
        canary_weight=asked.get("canary_weight"),
        has_live=live not in (None, job.adapter_version),
    )


def _is_outdated(job: JobRow, shown: Shown) -> bool:
    """Whether the version that would be replaced is another than the one that this one was held against."""
    live = next((row for row in shown.versions if row.number == _live(job, shown)), None)
    if live is None or live.number == job.adapter_version or live.state not in LOADED:
        return False
    judged = (job.report or {}).get("models")
    return judged is not None and judged.get("live") != engine_name_of(shown.adapter, live)


def _live(job: JobRow, shown: Shown) -> int | None:
    return next((alias.targets[0][0] for alias in shown.aliases if alias.name == job.adapter), None)


def _packed(folder: Path, archive: Path) -> Received:
    pack(folder, archive)
    return Received(archive, archive.stat().st_size)


def shown(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint's metrics without our own mark."""
    return {name: value for name, value in metrics.items() if name != FINAL}
