"""A job while one watches: its log as it grows, a bar for its steps, and how it ended.

Owns what is shown. Asks the stack again and again: a gateway may go meanwhile, and another answers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from models.errors import Unavailable
from serving.commands.finetune_calls import TuningCalls

POLL_S = 1.0
PATIENCE_S = 60.0
"""How long no gateway may answer before one gives up looking; the job goes on."""
LINE_S = 10.0
"""Between two lines of figures where no bar can be shown."""
OVER = ("succeeded", "failed", "cancelled", "paused")
COLOURS: Mapping[str, str] = {"warn": "yellow", "error": "red"}


class Follower:
    """Follows one job. `figures`: whether each step's figures are lines of the log; else they move the bar."""

    def __init__(
        self,
        calls: TuningCalls,
        job: str,
        *,
        console: Console,
        figures: bool = False,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._calls = calls
        self._job = job
        self._console = console
        self._figures = figures
        self._sleep = sleep
        self._after: str | None = None
        self._told_at = 0.0
        self._seen: Mapping[str, Any] = {}
        self._bar, self._task = _bar(console)

    def follow(self) -> dict[str, Any]:
        """Show everything until the job has ended or is paused; the job then."""
        with self._shown():
            while (job := self._looked())["status"] not in OVER:
                self._sleep(POLL_S)
            return job

    def _looked(self) -> dict[str, Any]:
        """The job now, and what has happened to it. Waits for a gateway that answers."""
        silent_s = 0.0
        while True:
            try:
                job = self._calls.job(self._job)
                self.show_events()
                self._place(job)
                return job
            except Unavailable:
                silent_s += POLL_S
                if silent_s > PATIENCE_S:
                    raise
            self._sleep(POLL_S)

    def show_events(self) -> None:
        """What has happened since the last look."""
        for event in self._calls.events(self._job, after=self._after):
            self._after = event["id"]
            self._show(event)

    def _show(self, event: Mapping[str, Any]) -> None:
        if event["type"] == "metrics":
            self._seen = event["data"] or {}
            if not (self._figures or "valid_loss" in self._seen or self._is_due()):
                return
        colour = COLOURS.get(event["level"], "dim" if event["type"] == "metrics" else "")
        words = escape(_line(event))
        self._console.print(f"[{colour}]{words}[/{colour}]" if colour else words)

    def _is_due(self) -> bool:
        """Whether a line of figures comes where no bar is shown."""
        now = time.monotonic()
        if self._console.is_terminal or now - self._told_at < LINE_S:
            return False
        self._told_at = now
        return True

    def _place(self, job: Mapping[str, Any]) -> None:
        """Move the bar."""
        ours = job["penstock"]
        self._bar.update(self._task, description=stage(job), completed=ours["step"], total=ours["steps"])
        self._bar.update(self._task, figures=figures(self._seen, left_s=_left_s(job)))

    def _shown(self) -> AbstractContextManager[Any]:
        return self._bar if self._console.is_terminal and not self._figures else nullcontext()


def stage(job: Mapping[str, Any]) -> str:
    """What a job does, in a word or two."""
    ours, status = job["penstock"], str(job["status"])
    if status == "queued" and ours["queue_position"] is not None:
        return f"queued, place {ours['queue_position']}"
    if status == "running":
        asked = {"cancel": ", is being cancelled", "pause": ", is being paused"}.get(ours["wanted"] or "", "")
        return f"{ours['phase']}{asked}"
    return status.replace("_", " ")


def figures(seen: Mapping[str, Any], *, left_s: float | None) -> str:
    """The last step's figures, and how long it will take."""
    parts = []
    if isinstance(seen.get("train_loss"), (int, float)):
        parts.append(f"loss {seen['train_loss']:.4f}")
    if isinstance(seen.get("tokens_per_s"), (int, float)):
        parts.append(f"{seen['tokens_per_s']:,.0f} tokens/s")
    if left_s is not None:
        parts.append(f"{_span(left_s)} left")
    return "  ".join(parts)


def _line(event: Mapping[str, Any]) -> str:
    if event["type"] != "metrics":
        return str(event["message"])
    data = event["data"] or {}
    names = ("train_loss", "valid_loss", "learning_rate", "tokens_per_s")
    told = (f"{name} {data[name]:.4g}" for name in names if isinstance(data.get(name), (int, float)))
    return f"step {data.get('step', '?')}: {', '.join(told) or event['message']}"


def _bar(console: Console) -> tuple[Progress, TaskID]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}"),
    )
    bar = Progress(*columns, TimeElapsedColumn(), console=console, transient=True)
    return bar, bar.add_task("", total=None, figures="")


def _left_s(job: Mapping[str, Any]) -> float | None:
    finish = job["estimated_finish"]
    return None if finish is None else max(0.0, finish - time.time())


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
