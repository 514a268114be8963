"""How the learned router does, in one mapping, and when it warns."""

from dataclasses import replace
from typing import Any

import pytest

from router.drift import Shift
from serving.classifier.status import status
from serving.store.releases import ReleaseRow
from serving.telemetry.record import Decision

LIVE = ReleaseRow("default", "learned", "promote", "aaa", 0.5, 1.0, share=0.25, basis="training prompts", id=2)
BEFORE = replace(LIVE, version="old", id=1)
SMALL = Decision(1.0, "aaa", 0.5, 0.25, "small", None)
LARGE = replace(SMALL, route_score=0.75, routed_tier="large")
STABLE = {"distance": Shift(0.01, 500, "stable")}


def told(
    decisions: list[Decision],
    shifts: Any = STABLE,
    live: ReleaseRow | None = LIVE,
    *,
    causes: dict[str | None, int] | None = None,
    about: dict[str, str] | None = None,
) -> dict[str, Any]:
    return status(
        [live, BEFORE] if live else [],
        decisions,
        causes=causes or {None: 1},
        shifts=shifts,
        policy="learned",
        about=about or {},
    )


def test_what_is_live_and_what_was_before_are_told() -> None:
    found = told([])
    assert (found["live"]["version"], [row["version"] for row in found["history"]]) == ("aaa", ["old"])
    assert (found["model"], told([], about={"embedder": "e@1"})["model"]) == (None, {"embedder": "e@1"})
    assert found["decisions"] == {"count": 0, "large_share": None, "routed_large_share": None}
    assert found["warnings"] == []


def test_the_share_is_that_of_the_live_version_at_its_live_threshold() -> None:
    others = [replace(LARGE, route_threshold=0.1)]
    stayed = replace(SMALL, routed_tier="large")
    found = told([SMALL, SMALL, LARGE, stayed, *others])["decisions"]
    assert (found["count"], found["large_share"], found["routed_large_share"]) == (4, 0.25, 0.5)


def test_a_shadow_is_held_against_what_the_live_version_said() -> None:
    live = replace(LIVE, shadow="bbb", shadow_threshold=0.1)
    beside = {"version": "bbb", "score": 0.2, "threshold": 0.1, "tier": "large"}
    other = {**beside, "version": "ccc"}
    decisions = [replace(SMALL, shadow=beside), replace(LARGE, shadow=beside), replace(LARGE, shadow=other), LARGE]
    assert told(decisions, live=live)["shadow"] == {
        "version": "bbb",
        "count": 2,
        "agreement": 0.5,
        "large_share": 1.0,
    }
    assert told(decisions)["shadow"] is None


def test_without_a_release_that_is_all_there_is_to_say() -> None:
    assert "No router version is live" in told([], live=None)["warnings"][0]


@pytest.mark.parametrize(
    ("decisions", "shifts", "words"),
    [
        ([SMALL] * 160 + [LARGE] * 40, STABLE, None),
        ([SMALL] * 100 + [LARGE] * 100, STABLE, "50% of the prompts go to the large tier, 25% were meant"),
        ([SMALL] * 50 + [LARGE] * 50, STABLE, None),
        ([], {"distance": Shift(0.4, 500, "shifted"), "axis 1": Shift(0.2, 500, "shifting")}, "PSI: distance 0.40)"),
    ],
)
def test_a_warning_says_what_is_wrong_and_what_to_do(decisions: list[Decision], shifts: Any, words: str | None) -> None:
    warnings = " ".join(told(decisions, shifts)["warnings"])
    if words is None:
        assert warnings == ""
    else:
        assert words in warnings
        assert "`penstock " in warnings


@pytest.mark.parametrize(
    ("causes", "words"),
    [
        ({None: 980, "late": 20}, "20 of the 1000 decisions of the last hour were left to the default tier (late 20)"),
        ({None: 995, "late": 5}, None),
        ({None: 10, "declined": 90}, None),
    ],
)
def test_decisions_that_were_left_to_the_default_tier_are_told(causes: Any, words: str | None) -> None:
    found = told([], causes=causes)
    assert found["defaults"] == {cause: count for cause, count in causes.items() if cause}
    assert (words in " ".join(found["warnings"])) if words else found["warnings"] == []
