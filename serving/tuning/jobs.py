"""The desk of fine-tuning jobs: what an org may ask for and see. Nothing here trains.

A wish is one transaction: it happens whole, together with the event that tells it, or not at all. Owns the checks of a
new job that need rows. Does not own what follows from a row (`job_rules.py`) or the wire (`serving/api`).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetune.gate.split import of_training, of_validation
from finetune.hyperparameters import asked as hyperparameters
from finetune.jobs import ENDED, STEPS
from models.adapters.foundation import BaseModel
from models.adapters.names import adapter_of
from models.clock import Clock
from models.errors import InvalidRequest, NotFound
from models.types import Principal
from serving.settings import FineTuningSettings
from serving.store.adapters import AdapterTable
from serving.store.jobs import CheckpointRow, EventRow, JobChange, JobRow, JobTable
from serving.tuning import job_rules as rules

SEEDS = 2**31
OPEN = tuple(sorted(set(STEPS) - ENDED))


@dataclass(frozen=True, slots=True)
class Seen:
    """A job as its owner sees it. `place`: in the queue, from 1; `finish`: estimated, in epoch seconds."""

    row: JobRow
    place: int | None
    finish: float | None
    cost_usd: float


@dataclass(frozen=True, slots=True)
class Terms:
    """What jobs may be. `bases`: what adapters can be trained for, by card; `taken`: names that models have."""

    bases: Mapping[str, BaseModel]
    taken: frozenset[str]
    settings: FineTuningSettings


Wish = Callable[[JobRow], rules.Step]


class JobDesk:
    """Jobs of orgs. Another org's job is as good as none."""

    def __init__(self, table: JobTable, adapters: AdapterTable, *, terms: Terms, clock: Clock) -> None:
        self._table = table
        self._adapters = adapters
        self._terms = terms
        self._clock = clock

    async def create(self, caller: Principal, asked: Mapping[str, Any]) -> Seen:
        """A new job from a request whose shape was checked; its files are read again before it is queued.

        Raises `InvalidRequest`, or `NotFound` for a file that the org does not have.
        """
        row = await self._made(caller, {name: value for name, value in asked.items() if value is not None})
        async with self._table.changing() as change:
            await self._require(change, row)
            await change.put(row)
            await change.tell(EventRow(row.id, row.created_at, "The job is created; its files are checked next."))
            if (count := await self._questions(change, row)) < rules.FEW:
                await change.tell(EventRow(row.id, row.created_at, rules.few_questions(count), level="warn"))
        return await self._seen(row)

    async def list(
        self, org: str, *, after: str | None, limit: int, metadata: Mapping[str, str] | None = None
    ) -> tuple[list[Seen], bool]:
        """Jobs, newest first, and whether there are more."""
        found = await self._table.page(org, after=after, limit=limit, metadata=metadata or {})
        if found is None:
            raise NotFound("There is no such fine-tuning job.", param="after")
        rows, more = found
        line = await self._line()
        return [self._shown(row, line) for row in rows], more

    async def show(self, org: str, job: str) -> Seen:
        """One job."""
        return await self._seen(rules.require_job(await self._table.find(job, org=org)))

    async def cancel(self, org: str, job: str) -> Seen:
        """End a job. One that a worker has runs on until that obeys."""
        return await self._wished(org, job, wish=lambda row: rules.cancelled(row, now=self._clock.now()))

    async def pause(self, org: str, job: str) -> Seen:
        """Let a job wait, with what it has learned."""
        return await self._wished(org, job, wish=lambda row: rules.paused(row, now=self._clock.now()))

    async def resume(self, org: str, job: str) -> Seen:
        """Queue a paused or failed job again, to go on at its last checkpoint."""
        return await self._wished(org, job, wish=lambda row: rules.resumed(row, now=self._clock.now()))

    async def events(
        self, org: str, job: str, *, after: int | None, limit: int, newest_first: bool = True
    ) -> tuple[Sequence[EventRow], bool]:
        """What happened to a job, and whether there is more. `after`: an event's id."""
        rules.require_job(await self._table.find(job, org=org))
        rows = await self._table.events(job, after=after, limit=limit + 1, newest_first=newest_first)
        return rows[:limit], len(rows) > limit

    async def checkpoints(
        self, org: str, job: str, *, after: int | None, limit: int
    ) -> tuple[JobRow, Sequence[CheckpointRow], bool]:
        """A job, its checkpoints, newest first, and whether there are more. `after`: the step of one."""
        row = rules.require_job(await self._table.find(job, org=org))
        rows = [one for one in await self._table.checkpoints(job) if after is None or one.step < after]
        return row, rows[:limit], len(rows) > limit

    async def report(self, org: str, job: str) -> Mapping[str, Any]:
        """What the gate found."""
        row = rules.require_job(await self._table.find(job, org=org))
        if row.report is None:
            raise NotFound(f"The job {row.id!r} has no report: none is made before its training has ended.")
        return row.report

    async def _made(self, caller: Principal, asked: Mapping[str, Any]) -> JobRow:
        """The new row, as far as the request alone says what it is."""
        now, job = self._clock.now(), f"ftjob-{secrets.token_hex(12)}"
        own = await self._adapters.find(caller.org, asked["model"]) is not None
        base = rules.require_base(asked["model"], bases=self._terms.bases, own=own)
        rules.require_suffix(asked.get("suffix"))
        self._require_training(asked, self._terms.bases[base])
        await self._require_judge(asked, org=caller.org)
        seed = secrets.randbelow(SEEDS) if asked.get("seed") is None else asked["seed"]
        return JobRow(
            id=job,
            org=caller.org,
            user=caller.user,
            created_by=caller.key_id,
            created_at=now,
            status="validating_files",
            phase="waiting",
            state_at=now,
            base=base,
            asked={**asked, "seed": seed},
            training_file=asked["training_file"],
            validation_file=asked.get("validation_file"),
            adapter=rules.adapter_name(asked.get("suffix"), base=base, job=job),
        )

    def _require_training(self, asked: Mapping[str, Any], base: BaseModel) -> None:
        """How it is to be trained and released can be."""
        given, place = rules.hyperparameters_of(asked)
        told = hyperparameters(given, recipe=rules.recipe_of(asked), param=place)
        rules.require_served(told, base=base, place=place)
        rules.require_rule(asked, self._terms.settings.gate_floor)
        rules.require_release(asked.get("penstock") or {})

    async def _require_judge(self, asked: Mapping[str, Any], *, org: str) -> None:
        """The model that is to grade is one of the stack's, or an adapter, version or alias of the org's."""
        judge = rules.rule_of(asked, self._terms.settings.gate_floor).judge
        if judge is None or judge in self._terms.taken or await self._adapters.alias(org, judge) is not None:
            return
        if await self._adapters.find(org, adapter_of(judge)) is None:
            raise InvalidRequest(f"There is no model {judge[:64]!r} to judge with.", param="penstock.gate.judge")

    async def _require(self, change: JobChange, row: JobRow) -> None:
        """The files are there, the name is free, and there is room for one more job."""
        await self._require_files(change, row)
        known = await self._adapters.find(row.org, row.adapter)
        others = [*([known.base] if known else ()), *await change.bases_of(row.org, adapter=row.adapter)]
        rules.require_adapter(row.adapter, base=row.base, taken=self._terms.taken, others=others)
        rules.require_room(await change.count(row.org, *OPEN), most=self._terms.settings.org_max_jobs)

    async def _require_files(self, change: JobChange, row: JobRow) -> None:
        method, ours = rules.method_of(row.asked), row.asked.get("penstock") or {}
        for param, file in (("training_file", row.training_file), ("validation_file", row.validation_file)):
            if file is not None:
                found = await change.files.find(file, org=row.org)
                kept = rules.require_file(found, param=param, now=self._clock.now())
                rules.require_format(kept, method=method, param=param)
        for name in ("golden_file", "regression_file"):
            if ours.get(name) is not None:
                found = await change.files.find(ours[name], org=row.org)
                param = f"penstock.{name}"
                rules.require_file(found, param=param, now=self._clock.now(), purposes=rules.JUDGING)

    async def _questions(self, change: JobChange, row: JobRow) -> int:
        """How many questions the gate will have, at most: of a file for it, or kept back from the training's."""
        named = (row.asked.get("penstock") or {}).get("golden_file")
        found = await change.files.find(named or row.validation_file or row.training_file, org=row.org)
        examples = int((found.facts if found is not None else {}).get("examples", 0))
        if named:
            return examples
        return of_training(examples) if row.validation_file is None else of_validation(examples) or examples

    async def _wished(self, org: str, job: str, *, wish: Wish) -> Seen:
        async with self._table.changing() as change:
            row = rules.require_job(await change.find(job, org=org))
            step = wish(row)
            if step.message is not None:
                if row.status == "failed":
                    await self._require(change, step.row)
                await change.put(step.row)
                await change.tell(EventRow(row.id, self._clock.now(), step.message))
        return await self._seen(step.row)

    async def _seen(self, row: JobRow) -> Seen:
        return self._shown(row, await self._line() if row.status == "queued" else ())

    async def _line(self) -> Sequence[JobRow]:
        rows = await self._table.in_status("queued", "running")
        running = [row for row in rows if row.status == "running"]
        return rules.in_line((row for row in rows if row.status == "queued"), running)

    def _shown(self, row: JobRow, line: Sequence[JobRow]) -> Seen:
        price = self._terms.settings.usd_per_million_tokens
        return Seen(
            row,
            rules.place_of(row.id, line),
            rules.estimated_finish(row, now=self._clock.now()),
            rules.cost_usd(row, usd_per_million_tokens=price),
        )
