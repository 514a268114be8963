"""What a training tells, on its way from the thread that trains to the rows of its job.

Owns what waits to be written, how far the training is, and whether it is to stop. Writes nothing itself (`worker.py`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from finetune.order import Stop
from models.clock import Clock
from serving.store.jobs import EventRow, JobRow

HOUR_S = 3600.0
MILLION = 1e6

Keep = Callable[..., None]
"""`(step, folder, metrics=…)`: keeps a checkpoint before it returns; called from the thread that trains."""


@dataclass(frozen=True, slots=True)
class Caps:
    """What a job may take at most, over all its workers. `usd`: None for no limit."""

    hours: float
    usd: float | None
    usd_per_million_tokens: float

    @classmethod
    def of(cls, job: JobRow, *, max_hours: float, usd_per_million_tokens: float) -> Caps:
        """The stack's, and the narrower ones that the job asks for."""
        asked = job.asked.get("penstock") or {}
        hours = min(max_hours, float(asked.get("max_hours") or max_hours))
        usd = asked.get("max_cost_usd")
        return cls(hours, None if usd is None else float(usd), usd_per_million_tokens)

    def usd_of(self, tokens: int) -> float:
        """What so many trained tokens cost."""
        return tokens / MILLION * self.usd_per_million_tokens


class Reports:
    """The reporter of one attempt. `keep`: where checkpoints go; `job`: the row as the attempt began."""

    def __init__(self, job: JobRow, caps: Caps, *, keep: Keep, clock: Clock) -> None:
        self._job = job
        self._caps = caps
        self._keep = keep
        self._clock = clock
        self._began = clock.monotonic()
        self._lock = threading.Lock()
        self._waiting: list[EventRow] = []
        self._stop: Stop | None = None
        self.reached = ""
        """Which cap, in words, once one is reached."""
        self.step, self.steps, self.tokens = job.step, job.steps, 0

    @property
    def trained_s(self) -> float:
        """Seconds of training, over all attempts."""
        return self._job.trained_s + self._clock.monotonic() - self._began

    def event(self, message: str, *, level: Literal["info", "warn"] = "info", **data: Any) -> None:
        """A sentence for the job's log."""
        self._add(message, level=level, type="message", data=data)

    def planned(self, *, steps: int, tokens: int) -> None:
        """How long the training is; one that costs more than it may is not begun."""
        self.steps = steps
        self.event(f"{steps:,} steps, {tokens:,} trained tokens.", steps=steps, tokens=tokens)
        usd = self._caps.usd_of(tokens)
        if self._caps.usd is not None and usd > self._caps.usd:
            self._cap(f"about {usd:.2f} US dollars, of which `max_cost_usd` admits {self._caps.usd:.2f}")

    def metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        """Figures of a step; `tokens` are those of the training so far."""
        self.step = step
        self.tokens = int(metrics.get("tokens", self.tokens))
        loss = metrics.get("train_loss")
        said = f"Step {step}/{self.steps or '?'}" + (f": training loss={loss:.4f}" if loss is not None else "")
        self._add(said, level="info", type="metrics", data={"step": step, "attempt": self._job.attempt, **metrics})

    def checkpoint(self, step: int, folder: Path, *, metrics: Mapping[str, float]) -> None:
        """Keep a checkpoint; training goes on when it is kept, or when that failed."""
        self._keep(step, folder, metrics=metrics)

    def stop(self) -> Stop | None:
        """Whether to end now: somebody's wish, or a cap."""
        if self._stop is None and self.trained_s > self._caps.hours * HOUR_S:
            self._cap(f"{self._caps.hours:g} hours")
        if self._stop is None and self._caps.usd is not None and self._caps.usd_of(self.tokens) > self._caps.usd:
            self._cap(f"{self._caps.usd:.2f} US dollars")
        return self._stop

    def ask(self, stop: Stop) -> None:
        """End after this step. What is another worker's is stronger than its owner's wish, and that than a cap."""
        if self._stop != "lost":
            self._stop = stop

    def drain(self) -> list[EventRow]:
        """What has to be written, oldest first; whoever cannot write it gives it `back`."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
            return waiting

    def back(self, rows: list[EventRow]) -> None:
        """These could not be written yet."""
        with self._lock:
            self._waiting[:0] = rows

    def _cap(self, reached: str) -> None:
        self.reached = reached
        self._stop = "cap"

    def _add(self, message: str, *, level: str, type: str, data: Mapping[str, Any]) -> None:
        row = EventRow(self._job.id, self._clock.now(), message, level=level, type=type, data=data)
        with self._lock:
            self._waiting.append(row)
