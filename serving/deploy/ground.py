"""What a running stack stands on until it ends: the settings that Ray, Serve and HAProxy read once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from models.errors import ConfigurationError
from serving.deploy.environment import Ground
from serving.settings import HttpSettings, RaySettings, Settings, TimerSettings
from serving.state import StackInfo


def fixed_at_start(settings: Settings) -> dict[str, Any]:
    """What Ray, Serve and HAProxy read once, when they start: only a new start changes it."""
    node = {f"ray.{name}": value for name, value in settings.ray.model_dump(mode="json").items()}
    edge = {"http.host": settings.http.host, "http.max_header_bytes": settings.http.max_header_bytes}
    return {**node, **edge, "timers.total_s": settings.timers.total_s}


def refuse_new_ground(current: StackInfo | None, settings: Settings) -> None:
    """A running stack stays on the ground that it was started on."""
    kept = current.fixed if current is not None else {}
    for name, value in fixed_at_start(settings).items():
        if value != kept.get(name, value):
            raise ConfigurationError(
                f"{name} is {kept[name]!r} since this stack started: `penstock down`, `penstock up` make it {value!r}."
            )


def ground_of(info: StackInfo) -> Ground:
    """What the stack was started on, whatever its profile says by now; what was not remembered has its default."""
    address = info.address if info.pid is None else None
    return Ground(
        http=HttpSettings(**_remembered(info, "http", fields=HttpSettings.model_fields)),
        timers=TimerSettings(**_remembered(info, "timers", fields=TimerSettings.model_fields)),
        ray=RaySettings(**{**_remembered(info, "ray", fields=RaySettings.model_fields), "address": address}),
    )


def _remembered(info: StackInfo, section: str, *, fields: Iterable[str]) -> dict[str, Any]:
    names = {field: f"{section}.{field}" for field in fields}
    return {field: info.fixed[name] for field, name in names.items() if name in info.fixed}
