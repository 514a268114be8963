"""One request to come, and what all workloads have in common."""

from __future__ import annotations

from dataclasses import dataclass

from models.config import PluginSettings


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request that is due `at_s` seconds after the start; a trace also gives its sizes (words in, tokens out)."""

    at_s: float
    prompt_words: int | None = None
    answer_tokens: int | None = None


class WorkloadSettings(PluginSettings):
    """Of any kind."""

    @property
    def at_once(self) -> int | None:
        """Requests in flight at most, where the workload waits for answers; None where it does not (open loop)."""
        return None
