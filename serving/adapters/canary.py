"""The judge of canaries: compares what two versions did since a trial began, and ends a trial that goes badly.

Owns where the figures come from. Does not own when they are bad enough (`evidence.py`) or the way back (`releases.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import structlog

from models.clock import Clock
from models.errors import InvalidRequest
from serving.adapters.evidence import Bounds, Finding, Score, Side, worse, worse_score
from serving.adapters.releases import Actor, Releases
from serving.store.adapters import AdapterRow, AdapterTable, AliasRow, VersionRow
from serving.store.records import RecordTable
from serving.telemetry.record import Trial

NEWEST = 5_000
SELF = "penstock"

log = structlog.get_logger(__name__)


class CanaryJudge:
    """Looks at every trial that is going on."""

    def __init__(self, table: AdapterTable, records: RecordTable, *, releases: Releases, clock: Clock) -> None:
        self._table = table
        self._records = records
        self._releases = releases
        self._clock = clock

    async def look(self) -> None:
        """Roll back what is worse than its bounds admit."""
        snapshot = await self._table.snapshot()
        adapters = {row.id: row for row in snapshot.adapters}
        versions = {(row.adapter, row.number): row for row in snapshot.versions}
        for alias in snapshot.aliases:
            if alias.canary is not None and len(alias.targets) == 2:
                finding = await self.finding(adapters[alias.adapter], alias, versions=versions)
                if finding is not None:
                    await self._end(adapters[alias.adapter], alias, finding=finding)

    async def finding(
        self, adapter: AdapterRow, alias: AliasRow, *, versions: dict[tuple[str, int], VersionRow]
    ) -> Finding | None:
        """What speaks against a canary; None while nothing does."""
        canary = alias.canary or {}
        bounds = Bounds.of(canary.get("bounds", {}))
        live, tried = (number for number, _ in alias.targets)
        trials = await self._records.trials(adapter.org, adapter.name, since=float(canary["since"]), limit=NEWEST)
        if found := worse(side_of(trials, live), side_of(trials, tried), bounds=bounds):
            return found
        rows = versions.get((adapter.id, live)), versions.get((adapter.id, tried))
        for suite, first, second in _scores(*rows):
            if found := worse_score(suite, live=first, canary=second, bounds=bounds):
                return found
        return None

    async def _end(self, adapter: AdapterRow, alias: AliasRow, *, finding: Finding) -> None:
        actor = Actor(adapter.org, SELF)
        try:
            await self._releases.end_canary(actor, adapter, known=alias, evidence=finding.told())
        except InvalidRequest as error:
            log.info("canary_changed_meanwhile", adapter=adapter.name, reason=str(error))
        else:
            log.warning("canary_rolled_back", adapter=adapter.name, alias=alias.name, **finding.told())


def side_of(trials: Sequence[Trial], number: int) -> Side:
    """What a version did. A call that its client broke off or got wrong says nothing of it."""
    own = [one for one in trials if one.adapter_version == number and not 400 <= one.status < 500]
    good = [one for one in own if one.status < 500 and one.error_code is None]
    return Side(len(own), len(own) - len(good), [one.latency_ms for one in good if one.latency_ms is not None])


def _scores(live: VersionRow | None, canary: VersionRow | None) -> Iterator[tuple[Any, ...]]:
    """Suite and both scores, for each suite that both versions were measured on."""
    if live is None or canary is None:
        return
    first, second = live.facts.get("scores", {}), canary.facts.get("scores", {})
    for suite in sorted(first.keys() & second.keys()):
        yield suite, *(Score(int(one[suite]["passed"]), int(one[suite]["count"])) for one in (first, second))
