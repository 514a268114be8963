"""How the learned router does: what is live, what it decided lately, how far its prompts have moved, what to do.

Pure: turns decisions, releases and drift figures into one mapping. Asks nobody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from router.drift import Shift
from serving.store.releases import ReleaseRow
from serving.telemetry.record import Decision

ENOUGH = 200
"""Decisions below which a share says little: its standard error is 3 points and more."""
SHARE_POINTS = 5.0
DEFAULTS_SHARE = 0.01


def status(
    history: Sequence[ReleaseRow],
    decisions: Sequence[Decision],
    *,
    causes: Mapping[str | None, int],
    shifts: Mapping[str, Shift],
    policy: str,
    about: Mapping[str, str],
) -> dict[str, Any]:
    """`decisions`: the last ones of the live version under this policy; `causes`: how many calls of the last hour a
    model decided about (None) or was left out of; `shifts`: by quantity, of the live version; `about`: what a
    classifier that has it in memory tells of its model.
    """
    live = history[0] if history else None
    at_threshold = [one for one in decisions if live is not None and one.route_threshold == live.threshold]
    found = {
        "object": "router.status",
        "policy": policy,
        "live": None if live is None else asdict(live),
        "model": dict(about) or None,
        "history": [asdict(row) for row in history[1:]],
        "decisions": _counts(at_threshold),
        "defaults": {cause: count for cause, count in causes.items() if cause is not None},
        "shadow": _shadow(decisions, live),
        "drift": {
            name: {"psi": shift.psi, "prompts": shift.prompts, "verdict": shift.verdict}
            for name, shift in shifts.items()
        },
    }
    return {**found, "warnings": _warnings(found, looked_at=sum(causes.values()))}


def _counts(decisions: Sequence[Decision]) -> dict[str, Any]:
    """Where the live threshold sends prompts. A conversation that stays on large counts as what its prompt got."""
    large = sum(
        one.route_score is not None and one.route_threshold is not None and one.route_score >= one.route_threshold
        for one in decisions
    )
    routed = sum(one.routed_tier == "large" for one in decisions)
    count = len(decisions)
    return {
        "count": count,
        "large_share": large / count if count else None,
        "routed_large_share": routed / count if count else None,
    }


def _shadow(decisions: Sequence[Decision], live: ReleaseRow | None) -> dict[str, Any] | None:
    """How often the candidate would have done the same, and how often it would have taken the large tier."""
    if live is None or live.shadow is None:
        return None
    both = [one for one in decisions if one.shadow is not None and one.shadow["version"] == live.shadow]
    agree = sum(one.shadow["tier"] == _tier(one) for one in both if one.shadow is not None)
    large = sum(one.shadow["tier"] == "large" for one in both if one.shadow is not None)
    return {
        "version": live.shadow,
        "count": len(both),
        "agreement": agree / len(both) if both else None,
        "large_share": large / len(both) if both else None,
    }


def _tier(decision: Decision) -> str:
    score, threshold = decision.route_score, decision.route_threshold
    return "large" if score is not None and threshold is not None and score >= threshold else "small"


def _warnings(found: Mapping[str, Any], *, looked_at: int) -> list[str]:
    warnings = []
    if found["live"] is None:
        return ["No router version is live: the default tier serves `auto`. `penstock router promote VERSION`."]
    moved = [f"{name} {one['psi']:.2f}" for name, one in found["drift"].items() if one["verdict"] == "shifted"]
    if moved:
        warnings.append(
            f"The prompts are not those of the training any more (PSI: {', '.join(moved)}). Label some of today's"
            " (`penstock router label`), evaluate the live version on them, and train and promote another one."
        )
    meant, decided = found["live"]["share"], found["decisions"]
    if meant is not None and decided["count"] >= ENOUGH and abs(decided["large_share"] - meant) * 100 > SHARE_POINTS:
        warnings.append(
            f"{decided['large_share']:.0%} of the prompts go to the large tier, {meant:.0%} were meant: the prompts"
            " have changed. Calibrate anew, or move the threshold: `penstock router set-threshold`."
        )
    defaults = sum(count for cause, count in found["defaults"].items() if cause != "declined")
    if looked_at and defaults / looked_at > DEFAULTS_SHARE:
        causes = ", ".join(f"{cause} {count}" for cause, count in sorted(found["defaults"].items()))
        warnings.append(
            f"{defaults} of the {looked_at} decisions of the last hour were left to the default tier ({causes}):"
            " `penstock logs --only classifier`."
        )
    return warnings
