"""What comes after training, step by step, where somebody else is in the way."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from finetune.release import Verdict
from models.artifacts.folder import FolderSettings
from models.artifacts.store import open_artifacts
from models.clock import SystemClock
from models.crash import CrashPoints
from models.errors import NotFound
from serving.adapters.registry import AdapterRegistry
from serving.adapters.releases import Taken
from serving.store.adapters import VersionRow
from serving.store.jobs import CheckpointRow, JobRow
from serving.tuning.finish import Finish, Way
from serving.tuning.job_rules import checkpoint_name
from tests.serving.adapters.stand import SMALL, Stand, opened_stand, third_gateway
from tests.serving.adapters.third import releases_of
from tests.serving.tuning.yard import job_row


@dataclass
class ScriptedJudge:
    """Passes every version; says first what it is told to."""

    raises: list[Exception] = field(default_factory=list)
    wishes: list[str] = field(default_factory=list)
    stand: Stand | None = None
    report: dict[str, object] = field(default_factory=dict)
    judged: int = 0

    async def judge(self, job: JobRow, adapter_version: int) -> Verdict:
        if self.raises:
            raise self.raises.pop()
        if self.wishes:
            assert self.stand is not None
            await self.stand.ask("POST", f"/v1/fine_tuning/jobs/{job.id}/{self.wishes.pop()}")
        self.judged += 1
        return Verdict(True, self.report)


@dataclass
class Desk:
    """A stand with two versions of an adapter, and the end of its jobs in the test's hands."""

    stand: Stand
    finish: Finish
    judge: ScriptedJudge

    async def put(self, **values: object) -> JobRow:
        row = replace(
            job_row("ftjob-" + "1" * 24), **{"status": "running", "adapter": "bot", "adapter_version": 1, **values}
        )
        async with self.stand.store.jobs.changing() as change:
            await change.put(row)
        return row

    async def row(self) -> JobRow:
        row = await self.stand.store.jobs.find("ftjob-" + "1" * 24)
        assert row is not None
        return row

    async def held(self, holder: str | None) -> None:
        """Version 1 as another gateway has it in hand; None: as nobody has."""
        async with self.stand.store.adapters.changing() as change:
            adapter = await change.adapter("acme", "bot")
            assert adapter is not None
            row = await change.version(adapter.id, 1)
            assert isinstance(row, VersionRow)
            await change.put_version(replace(row, state="loading" if holder else "validated", holder=holder))


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    artifacts = open_artifacts(FolderSettings(path=tmp_path / "artifacts"), home=tmp_path)
    around = third_gateway(tmp_path, artifacts)
    async with opened_stand(tmp_path, gateways=1, replicas=1, gone_s=600) as stand, releases_of(stand) as releases:
        for seed in (1, 2):
            await stand.push(seed)
        registry = AdapterRegistry(stand.store.adapters, around, clock=SystemClock())
        judge = ScriptedJudge(stand=stand)
        way = Way(registry, releases, judge, artifacts, tmp_path, CrashPoints(None))
        yield Desk(stand, Finish(stand.store.jobs, way, clock=SystemClock()), judge)


async def test_a_version_that_a_dead_gateway_was_loading_is_released_as_soon_as_it_is_given_back(desk: Desk) -> None:
    job = await desk.put(phase="releasing")
    await desk.held("dead")
    with pytest.raises(Taken):
        await desk.finish.rest(job)
    assert ((await desk.row()).status, (await desk.row()).phase) == ("running", "releasing")
    await desk.held(None)
    await desk.finish.rest(job)
    assert (await desk.row()).status == "succeeded"


async def test_a_judge_that_finds_the_version_in_other_hands_fails_no_job(desk: Desk) -> None:
    job = await desk.put(phase="judging")
    desk.judge.raises.append(Taken("Version 1 is being loaded by another call."))
    with pytest.raises(Taken):
        await desk.finish.rest(job)
    assert ((await desk.row()).status, (await desk.row()).phase) == ("running", "judging")
    await desk.finish.rest(job)
    assert (await desk.row()).status == "succeeded"


async def test_a_job_that_is_cancelled_while_its_judge_ends_is_served_to_nobody(desk: Desk) -> None:
    job = await desk.put(phase="judging")
    desk.judge.wishes.append("cancel")
    await desk.finish.rest(job)
    row = await desk.row()
    assert (row.status, row.wanted, row.fine_tuned_model) == ("cancelled", None, None)
    assert (await desk.stand.chat("ft:demo-small:acme::" + "1" * 24)).status_code == 404


async def test_a_promotion_that_is_refused_is_said_and_fails_no_job_whose_model_is_served(desk: Desk) -> None:
    await desk.stand.push(3, "other")
    assert (await desk.stand.promote(1, "other", alias="bot")).status_code == 200
    asked = {"model": SMALL, "seed": 7, "penstock": {"auto_promote": "promote"}}
    await desk.finish.rest(await desk.put(phase="releasing", asked=asked))
    row = await desk.row()
    assert (row.status, row.error, row.fine_tuned_model) == ("succeeded", None, "ft:demo-small:acme::" + "1" * 24)
    assert (await desk.stand.chat(row.fine_tuned_model)).status_code == 200
    events = await desk.stand.store.jobs.events(row.id, limit=10)
    assert [one.level for one in events if "could not be made" in one.message] == ["warn"]


async def test_a_checkpoint_is_served_under_its_own_name_beside_whatever_is_live(desk: Desk) -> None:
    job = await desk.put()
    async with desk.stand.store.jobs.changing() as change:
        await change.put_checkpoint(CheckpointRow(job.id, 40, 1.0, "0" * 64, {"valid_loss": 0.5}, adapter_version=2))
    row = await desk.finish.serve_checkpoint(job, 40)
    assert row.adapter_version == 2
    answer = await desk.stand.chat(checkpoint_name(job, 40))
    assert (answer.status_code, answer.headers["x-penstock-adapter-version"]) == (200, "2")
    with pytest.raises(NotFound, match="step 41"):
        await desk.finish.serve_checkpoint(job, 41)


async def test_a_version_is_judged_anew_when_another_one_went_live_after_its_judgement(desk: Desk) -> None:
    """Two jobs of one adapter: the second one to end was never held against what the first one made."""
    assert (await desk.stand.promote(2)).status_code == 200
    shown = (await desk.stand.ask("GET", "/v1/adapters/bot")).json()
    live = next(one["model"] for one in shown["versions"] if one["version"] == 2)
    desk.judge.report = {"models": {"live": live}}
    asked = {"model": SMALL, "seed": 7, "penstock": {"auto_promote": "promote"}}
    report = {"models": {"candidate": "bot@1", "base": SMALL}}
    await desk.finish.rest(await desk.put(phase="releasing", asked=asked, report=report))
    assert ((await desk.row()).status, desk.judge.judged) == ("succeeded", 1)
    assert (await desk.stand.chat()).headers["x-penstock-adapter-version"] == "1"
