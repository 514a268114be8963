"""What may be done with adapters, on rows alone: which step leads where, and what an alias points to afterwards.

Pure: every function takes rows and gives rows, or raises. Does not write (`registry.py`, `releases.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from models.adapters.names import engine_name
from models.adapters.states import LOADED, VersionState, require_step
from models.artifacts.artifact import is_name
from models.errors import InvalidRequest, NotFound
from serving.store.adapters import AdapterRow, AliasRow, VersionRow

WHOLE = 100.0

_SYSTEM_NAME = re.compile(
    r"ft:[a-z0-9][a-z0-9._-]{0,62}:[A-Za-z0-9._-]{1,64}:[A-Za-z0-9._-]{0,64}:[A-Za-z0-9_-]{1,64}(:ckpt-step-[0-9]{1,9})?"
)
"""`ft:<base>:<org>:<suffix>:<job>`, and of a checkpoint its step."""


def require_free_name(name: Any, *, taken: Iterable[str], param: str) -> str:
    """A name that an adapter or an alias may have: the grammar, and none that a model has already."""
    if not isinstance(name, str) or not is_name(name):
        raise InvalidRequest(
            f"{param} must be 1 to 63 characters of a-z, 0-9, '.', '_' and '-', start with a letter or a digit, and"
            " hold no '..'.",
            param=param,
        )
    if name in taken:
        raise InvalidRequest("A model of this stack has this name already.", code="already_exists", param=param)
    return name


def is_system_name(name: str) -> bool:
    """Whether a fine-tuned model, or a checkpoint of its, may be called so."""
    return _SYSTEM_NAME.fullmatch(name) is not None


def require_system_name(name: str) -> str:
    """A name that only the stack makes: its colons keep it apart from every name that a client can choose."""
    if not is_system_name(name):
        raise InvalidRequest(f"{name[:64]!r} is no name of a fine-tuned model.", param="alias")
    return name


def served(alias: AliasRow | None, adapter: AdapterRow, *, name: str, number: int, now: float) -> AliasRow:
    """A system alias: once it points to a version it stays there."""
    if alias is not None and (alias.adapter, alias.targets) != (adapter.id, ((number, WHOLE),)):
        raise InvalidRequest("This name belongs to another version for good.", code="already_exists", param="alias")
    return alias or AliasRow(adapter.org, name, adapter.id, ((number, WHOLE),), now)


def stepped(row: VersionRow, state: VersionState, *, now: float, **values: Any) -> VersionRow:
    """The version in its next state; who held it and how long it stays warm end with the old one."""
    require_step(row.state, state)
    return replace(row, **{"state": state, "state_at": now, "holder": None, "warm_until": None, **values})


def require_base(adapter: AdapterRow, row: VersionRow, *, revisions: Mapping[str, str]) -> None:
    """Refuse what was made for a base that this stack does not serve, and say the way out."""
    current = revisions.get(adapter.base)
    if current is None:
        raise InvalidRequest(
            f"The stack serves no card {adapter.base!r}, on which {adapter.name!r} stands: add it to the profile's"
            " engines.",
            code="adapter_invalid",
            param="base",
        )
    if row.base_revision != current:
        raise InvalidRequest(
            f"Version {row.number} was made for revision {str(row.base_revision)[:12]} of {adapter.base!r}; the stack"
            f" serves {current[:12]}. Train it again on that one, or serve the old revision under a card of its own.",
            code="adapter_invalid",
            param="version",
        )


def pointed(alias: AliasRow | None, adapter: AdapterRow, *, name: str, number: int, now: float) -> AliasRow:
    """The alias when this version is live alone."""
    if alias is None:
        return AliasRow(adapter.org, name, adapter.id, ((number, WHOLE),), now)
    require_own(alias, adapter)
    live = alias.targets[0][0]
    previous = alias.previous if live == number else live
    return replace(alias, targets=((number, WHOLE),), previous=previous, canary=None, changed_at=now)


def tried(
    alias: AliasRow | None, adapter: AdapterRow, *, number: int, weight: float, terms: Mapping[str, Any], now: float
) -> AliasRow:
    """The alias when a part of its callers tries this version."""
    if alias is None:
        raise InvalidRequest("Nothing is live yet: promote a first version before you try another.", param="version")
    require_own(alias, adapter)
    live = alias.targets[0][0]
    if live == number:
        raise InvalidRequest(f"Version {number} is live already.", param="version")
    targets = ((live, WHOLE - weight), (number, weight))
    return replace(alias, targets=targets, canary=dict(terms), changed_at=now)


def bounds_of(alias: AliasRow | None, number: int) -> Mapping[str, Any]:
    """The bounds of a trial of this version that is going on, so that another weight alone does not lose them."""
    canary = (alias and alias.canary) or {}
    bounds: Mapping[str, Any] = canary.get("bounds", {}) if canary.get("version") == number else {}
    return bounds


def untried(alias: AliasRow, *, now: float) -> AliasRow:
    """The alias without its canary."""
    return replace(alias, targets=((alias.targets[0][0], WHOLE),), canary=None, changed_at=now)


def require_own(alias: AliasRow, adapter: AdapterRow) -> None:
    """An alias of another adapter is not moved by accident."""
    if alias.adapter != adapter.id:
        raise InvalidRequest(
            f"The alias {alias.name!r} belongs to another adapter. Retire that one first, or choose another name.",
            code="already_exists",
            param="alias",
        )


def unnamed(versions: Iterable[VersionRow], aliases: Iterable[AliasRow]) -> list[VersionRow]:
    """The versions that are ready though no alias points to them: theirs is to drain."""
    named = {number for alias in aliases for number, _ in alias.targets}
    return [row for row in versions if row.state == "ready" and row.number not in named]


def way_back(alias: AliasRow | None) -> int:
    """The version that was live before this one."""
    if alias is None or alias.previous is None:
        raise NotFound("No version was live before this one: there is nothing to go back to.")
    return alias.previous


def require_adapter(adapter: AdapterRow | None) -> AdapterRow:
    """The adapter, or that the org has none of this name."""
    if adapter is None:
        raise NotFound("There is no such adapter.", param="name")
    return adapter


def require_row(row: VersionRow | None, number: int) -> VersionRow:
    """The version, or that there is none."""
    if row is None:
        raise NotFound(f"There is no version {number} of this adapter.", param="version")
    return row


def require_unloaded(row: VersionRow) -> None:
    """What replicas hold, or are about to, is not deleted."""
    if row.state in (*LOADED, "loading"):
        raise InvalidRequest(
            f"Version {row.number} is {row.state}: retire it first, then delete it.", code="file_in_use"
        )


def engine_name_of(adapter: AdapterRow, row: VersionRow) -> str | None:
    """What engines call this version, once it has files."""
    return None if row.digest is None else engine_name(adapter.name, row.digest)
