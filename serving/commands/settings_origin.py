"""Every setting of a stack as one flat list: path, value, and where the value comes from. Secrets never leave masked.

Pure: the environment and the profile's own text are passed in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from serving.settings import Settings

Origin = Literal["default", "profile", "environment"]

PREFIX = "PENSTOCK__"


@dataclass(frozen=True, slots=True)
class SettingOrigin:
    """One value; `path` is its place in the profile, `engines.0.card`."""

    path: str
    value: Any
    origin: Origin


def settings_with_origin(
    settings: Settings, *, profile: Mapping[str, Any], environment: Mapping[str, str]
) -> list[SettingOrigin]:
    """Every leaf of the settings, in their order. `profile` is the parsed YAML file."""
    set_by_environment = {
        tuple(name.removeprefix(PREFIX).lower().split("__")) for name in environment if name.upper().startswith(PREFIX)
    }
    set_by_profile = {path for path, _ in _leaves(profile)}
    found = []
    for path, value in _leaves(settings.model_dump(mode="json")):
        if any(_meet(path, other) for other in set_by_environment):
            origin: Origin = "environment"
        else:
            origin = "profile" if any(_meet(path, other) for other in set_by_profile) else "default"
        found.append(SettingOrigin(".".join(path), value, origin))
    return found


def _leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, Mapping) and value:
        children: Any = value.items()
    elif isinstance(value, list | tuple) and value and isinstance(value[0], Mapping):
        children = enumerate(value)
    else:
        yield path, value
        return
    for name, child in children:
        yield from _leaves(child, (*path, str(name)))


def _meet(path: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether one contains the other: a variable may set a whole section, a leaf may hold a mapping."""
    shorter = min(len(path), len(other))
    return path[:shorter] == other[:shorter]
