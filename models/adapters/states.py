"""The life of a version of an adapter: its states and the steps between them. Owns no row and no time."""

from __future__ import annotations

from types import MappingProxyType
from typing import Literal, get_args

from models.errors import InvalidRequest

VersionState = Literal["uploaded", "validated", "loading", "ready", "draining", "retired", "failed"]

STATES: tuple[VersionState, ...] = get_args(VersionState)

STEPS: MappingProxyType[VersionState, frozenset[VersionState]] = MappingProxyType(
    {
        "uploaded": frozenset({"validated", "failed"}),
        "validated": frozenset({"loading", "retired"}),
        "loading": frozenset({"ready", "validated", "failed"}),
        "ready": frozenset({"draining"}),
        "draining": frozenset({"ready", "retired"}),
        "retired": frozenset({"loading"}),
        "failed": frozenset(),
    }
)
"""From a state, the states that may follow. `loading → validated` takes a release back; `draining → ready` is a
rollback while the version is still warm; nothing follows `failed`."""

LOADED: frozenset[VersionState] = frozenset({"ready", "draining"})
"""The states in which replicas hold the weights and calls may be running."""


def require_step(old: VersionState, new: VersionState) -> None:
    """`InvalidRequest` with what could follow instead, unless `new` may follow `old`."""
    if new in STEPS[old]:
        return
    possible = " or ".join(repr(state) for state in STATES if state in STEPS[old])
    raise InvalidRequest(
        f"A version that is {old!r} cannot become {new!r}; {possible or 'nothing'} can follow.", param="state"
    )
