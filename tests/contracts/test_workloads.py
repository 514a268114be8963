"""What a run expects of every kind of workload in the table."""

import random
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from benchmarks.workloads import WORKLOADS, AnyWorkload, Arrival, WorkloadSettings, arrivals

SOME: dict[str, dict[str, Any]] = {
    "closed": {"clients": 4},
    "poisson": {"rate": 50},
    "gamma": {"rate": 50, "shape": 0.5},
    "ramp": {"rate_from": 10, "rate_to": 100, "over_s": 5},
    "replay": {"file": "trace.csv"},
}


@pytest.fixture(params=WORKLOADS.kinds)
def settings(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WorkloadSettings:
    monkeypatch.chdir(tmp_path)
    rows = "\n".join(f"{n / 10},ChatGPT,{n + 1},{n + 2},{2 * n + 3},Conversation log" for n in range(200))
    Path("trace.csv").write_text(f"Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n{rows}\n")
    found: WorkloadSettings = TypeAdapter(AnyWorkload).validate_python({"kind": request.param, **SOME[request.param]})
    return found


def some(settings: WorkloadSettings, *, seed: int, count: int = 200) -> list[Arrival]:
    return list(islice(arrivals(settings, random.Random(seed)), count))


def test_requests_come_in_the_order_of_their_times(settings: WorkloadSettings) -> None:
    found = some(settings, seed=1)
    assert len(found) == 200
    assert all(0 <= before.at_s <= after.at_s for before, after in pairwise(found))


def test_one_seed_is_one_course_of_events(settings: WorkloadSettings) -> None:
    assert some(settings, seed=1) == some(settings, seed=1)
    drawn = settings.kind in ("poisson", "gamma", "ramp")
    assert (some(settings, seed=1) != some(settings, seed=2)) is drawn


def test_who_waits_for_answers_has_everything_due_at_once(settings: WorkloadSettings) -> None:
    waits = settings.at_once is not None
    assert all((arrival.at_s == 0.0) is waits for arrival in some(settings, seed=1)[1:])
