"""The arms of a comparison: servers of the same engine, started and stopped alike.

Owns the protocol and the words. Each arm is one file; none knows the others. Which names there are: `catalog.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import psutil

from benchmarks.processes import EngineProcesses

__all__ = ["ENGINE_CLASS", "Arm", "ArmFailed", "Bench", "Target"]

ENGINE_CLASS = "RAYLLM_VLLM_ENGINE_CLS"  # Ray Serve LLM's own switch, in Penstock's replicas too
MOCK_ENGINE = "serving.engines.mock_engine.MockEngine"
MOCK_SCRIPT = "PENSTOCK_MOCK_SCRIPT"


@dataclass(frozen=True, slots=True)
class Bench:
    """What all arms have in common. `folder` takes their logs, `environment` is what their processes inherit.

    `cores`: where the engine computes, as `0,1`. `mock`: the script of the mock engine in place of vLLM, as JSON.
    `upstream`: the arm with an engine, for an arm that has none of its own.
    """

    card: str
    model: Path
    arguments: dict[str, Any]
    folder: Path
    environment: Mapping[str, str]
    profile: str = "cpu-demo"
    state: Path | None = None
    cores: str = "0"
    mock: str | None = None
    key: str | None = field(default=None, repr=False)
    upstream: Arm | None = None

    @property
    def mock_variables(self) -> dict[str, str]:
        """What puts the mock engine into a replica of Ray Serve LLM's server; nothing where vLLM is meant."""
        return {} if self.mock is None else {ENGINE_CLASS: MOCK_ENGINE, MOCK_SCRIPT: self.mock}


@dataclass(frozen=True, slots=True)
class Target:
    """Where an arm answers."""

    url: str
    model: str
    key: str | None = field(default=None, repr=False)


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

    @property
    def target(self) -> Target:
        """Where it answers; known at the latest when `start` has returned."""

    def start(self) -> Target:
        """Start and return when it answers; raises `ArmFailed`."""

    def engine(self) -> EngineProcesses | None:
        """The live processes of its engine; None where they cannot be seen."""

    def front(self) -> list[psutil.Process]:
        """The processes that a request passes between client and engine, without the engine's own."""

    def processes(self) -> list[psutil.Process]:
        """Everything that lives because of this arm; empty for a server that somebody else started."""

    def metrics(self) -> str | None:
        """The text of a scrape with the engine's figures, where the arm has one."""

    def stop(self) -> None:
        """End everything that was started."""
