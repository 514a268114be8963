"""What a trainer's process is told: one attempt at one job. Everything else it reads from the job's row.

Owns the value and how it travels, as JSON. It names the database, with its password: files that hold it are private.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from models.adapters.foundation import BaseModel
from models.artifacts import ArtifactSettings
from models.config import Frozen

Trade = Literal["recipes", "fake"]
"""Who trains: the recipes of `finetune`, or, in tests, something that only looks like them."""


class WorkerPlan(Frozen):
    """One attempt. Paths are of the machine that trains; `fetched` and `work` are made where they are missing."""

    job: str
    attempt: int = Field(ge=1)
    store_url: str = Field(description="Of the database.")
    artifacts: ArtifactSettings
    artifacts_home: Path = Field(description="Folder of the artifact store where its settings name none.")
    fetched: Path = Field(description="Cache of what was read from the artifact store.")
    work: Path = Field(description="Where each attempt has a folder of its own.")
    model: Path = Field(description="Folder with the base model's weights and tokenizer.")
    base: BaseModel
    device: Literal["cpu", "cuda"] = "cpu"
    threads: int | None = Field(None, ge=1)
    gpu_share: float = Field(1, gt=0, le=1, description="Part of a GPU's memory that each process may take.")
    processes: int = Field(1, ge=1, description="Of the training: on GPUs one for each.")
    max_hours: float = Field(24, gt=0, description="Longest training, over all attempts.")
    usd_per_million_tokens: float = Field(0, ge=0)
    beat_s: float = Field(1.0, gt=0, description="Time between two signs of life, and longest delay of an event.")
    trade: Trade = "recipes"
    crash_at: str | None = Field(None, description="For tests: the crash point at which this process ends.")

    @property
    def folder(self) -> Path:
        """The attempt's own folder."""
        return self.work / self.job / f"attempt-{self.attempt}"
