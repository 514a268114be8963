"""The arms of a comparison: servers of the same engine, started and stopped alike.

Owns the protocol and the words. Each arm is one file; none knows the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import psutil

from benchmarks.processes import EngineProcesses

__all__ = ["Arm", "ArmFailed", "Bench", "Target"]


@dataclass(frozen=True, slots=True)
class Bench:
    """What all arms have in common. `folder` takes their logs, `environment` is what their processes inherit."""

    card: str
    model: Path
    arguments: dict[str, Any]
    folder: Path
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Target:
    """Where an arm answers."""

    url: str
    model: str
    key: str | None = None


class ArmFailed(Exception):
    """An arm did not start. `log` holds its last lines."""

    def __init__(self, arm: str, reason: str, *, log: str = "") -> None:
        super().__init__(f"Arm {arm!r} did not start: {reason}")
        self.arm = arm
        self.reason = reason
        self.log = log


class Arm(Protocol):
    """One server of the engine. `stop` may be called at any time, and ends what `start` had started by then."""

    name: str

    def start(self) -> Target:
        """Start and return when it answers; raises `ArmFailed`."""

    def engine(self) -> EngineProcesses | None:
        """The live processes of its engine."""

    def front(self) -> list[psutil.Process]:
        """The processes between client and engine, without the engine's own."""

    def metrics(self) -> str | None:
        """The text of a scrape with the engine's figures, where the arm has one."""

    def stop(self) -> None:
        """End everything that was started."""
