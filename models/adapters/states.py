"""The life of a version of an adapter: its states and the steps between them. Owns no row and no time."""

from __future__ import annotations

from enum import StrEnum

from models.errors import InvalidRequest


class VersionState(StrEnum):
    """Where a version stands; docs/decisions/0021-adapters.md tells the story."""

    UPLOADED = "uploaded"
    VALIDATED = "validated"
    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    RETIRED = "retired"
    FAILED = "failed"


STEPS: dict[VersionState, frozenset[VersionState]] = {
    VersionState.UPLOADED: frozenset({VersionState.VALIDATED, VersionState.FAILED}),
    VersionState.VALIDATED: frozenset({VersionState.LOADING, VersionState.RETIRED}),
    VersionState.LOADING: frozenset({VersionState.READY, VersionState.VALIDATED, VersionState.FAILED}),
    VersionState.READY: frozenset({VersionState.DRAINING}),
    VersionState.DRAINING: frozenset({VersionState.READY, VersionState.RETIRED}),
    VersionState.RETIRED: frozenset({VersionState.LOADING}),
    VersionState.FAILED: frozenset(),
}
"""From a state, the states that may follow. `loading → validated` takes a release back; `draining → ready` is a
rollback while the version is still warm; nothing follows `failed`."""

LOADED = frozenset({VersionState.READY, VersionState.DRAINING})
"""The states in which replicas hold the weights and calls may be running."""


def require_step(old: VersionState, new: VersionState) -> None:
    """`InvalidRequest` with what could follow instead, unless `new` may follow `old`."""
    if new in STEPS[old]:
        return
    possible = " or ".join(repr(state.value) for state in VersionState if state in STEPS[old])
    raise InvalidRequest(
        f"A version that is {old.value!r} cannot become {new.value!r}; {possible or 'nothing'} can follow.",
        param="state",
    )
