"""What becomes of a candidate that was judged. Pure: a verdict and the job's wish in, the next act out.

Owns the decision alone: who judges, loads and points aliases is `serving/tuning` and `serving/adapters`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

AutoPromote = Literal["none", "canary", "promote"]
CANARY_WEIGHT = 10.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """The word of the gate. `report`: JSON, as `finetune.gate.report` makes it."""

    passed: bool
    report: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Release:
    """What is done with a version. `system_alias`: the name `ft:…` that the job gets, None where it is not served.

    `act`: with the adapter's own alias; `canary_weight`: per cent of the callers, where the act is a canary.
    """

    system_alias: str | None
    act: AutoPromote
    sentence: str
    canary_weight: float | None = None


def system_alias(base: str, org: str, *, suffix: str | None, job: str) -> str:
    """The public name of a job's model, `ft:<base>:<org>:<suffix>:<id>`, the suffix empty where there is none."""
    return f"ft:{base}:{org}:{suffix or ''}:{job.removeprefix('ftjob-')}"


def released(
    verdict: Verdict, *, alias: str, wish: AutoPromote, canary_weight: float | None, has_live: bool
) -> Release:
    """Passed: the version is served under `alias`, and released as the job wishes; failed: kept, and served to nobody.

    A canary where nothing is live yet has nothing to be compared with: it is promoted only if that was the wish.
    """
    if not verdict.passed:
        return Release(None, "none", "The gate did not pass the version: it is kept, and not served.")
    if wish == "canary" and has_live:
        weight = CANARY_WEIGHT if canary_weight is None else canary_weight
        return Release(alias, "canary", f"The gate passed the version: {weight:g} % of the callers try it.", weight)
    if wish == "canary":
        words = "The gate passed the version. Nothing is live yet that a canary could be compared with: promote it."
        return Release(alias, "none", words)
    if wish == "promote":
        return Release(alias, "promote", "The gate passed the version: it is live.")
    return Release(alias, "none", "The gate passed the version: it is ready to be promoted.")
