"""A suite: what is asked, when, for how long, and what counts as good. Read from YAML, strict and frozen.

Owns the schema and where suites are found. Sends nothing.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from benchmarks.many_models import ManyModels
from benchmarks.prompts import AnyPrompts
from benchmarks.workloads import AnyWorkload
from models.config import Frozen
from models.errors import ConfigurationError

SUITES = Path(__file__).parent / "suites"


class Slo(Frozen):
    """A service level objective; a request is good when it meets every limit that is set."""

    name: str = Field(min_length=1, max_length=40, description="How the report calls it.")
    ttft_ms: float | None = Field(None, gt=0, description="Limit of the time to the first content token.")
    tpot_ms: float | None = Field(None, gt=0, description="Limit of the time per output token after the first.")
    e2e_ms: float | None = Field(None, gt=0, description="Limit of the whole answer's time.")

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if self.ttft_ms is None and self.tpot_ms is None and self.e2e_ms is None:
            raise ValueError("a limit is needed: ttft_ms, tpot_ms or e2e_ms")
        return self


class Load(Frozen):
    """One size of a suite: for a CPU machine, or for a GPU."""

    prompts: AnyPrompts = Field(description="What is asked; see benchmarks/prompts.")
    workload: AnyWorkload = Field(description="When it is asked; see benchmarks/workloads.")
    models: ManyModels | None = Field(None, description="Ask for many of the target's models, not for one.")
    answer_tokens: int = Field(ge=1, le=100_000, description="`max_tokens` of every request.")
    requests: int | None = Field(None, ge=1, description="Stop sending after so many.")
    duration_s: float | None = Field(None, gt=0, description="Stop sending after so long.")
    warm_up_s: float = Field(0.0, ge=0, description="Requests sent before this count in no figure.")
    timeout_s: float = Field(120.0, gt=0, description="A request that takes longer is a miss.")
    body: dict[str, Any] = Field(default_factory=dict, description="More fields of every request.")

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if self.requests is None and self.duration_s is None and self.workload.kind != "replay":
            raise ValueError("requests or duration_s is needed, or the run would never end")
        if self.duration_s is not None and self.warm_up_s >= self.duration_s:
            raise ValueError("warm_up_s must be shorter than duration_s")
        return self


class Suite(Frozen):
    """A named load with its objectives, in one or more sizes."""

    about: str = Field(min_length=1, description="One sentence: what it stands for.")
    api: Literal["chat", "completions"] = Field("chat", description="Which endpoint is asked.")
    seed: int | None = Field(None, ge=0, description="Of every text and time; unset: new ones in every run.")
    slos: tuple[Slo, ...] = Field((), description="Objectives of which the goodput is counted.")
    sizes: dict[str, Load] = Field(min_length=1, description="Size → load; `cpu` and `gpu` in the shipped suites.")

    def size(self, name: str) -> Load:
        """The load of this size."""
        if name not in self.sizes:
            raise ConfigurationError(f"The suite has no size {name!r}. It has: {', '.join(self.sizes)}.")
        return self.sizes[name]


def suite_names() -> list[str]:
    """The suites that ship with the project."""
    return sorted(path.stem for path in SUITES.glob("*.yaml"))


def load_suite(name: str) -> Suite:
    """A suite by its name, or from a YAML file of one's own."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else SUITES / f"{name}.yaml"
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(f"Unknown suite {name!r}. Shipped: {', '.join(suite_names())}.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"Suite {name!r} cannot be read as YAML.", detail=str(error)) from error
    try:
        return Suite.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ConfigurationError(f"Suite {name!r}: {where}: {first['msg']}.") from None


def seconds(text: str) -> float:
    """A duration as people write it: `500ms`, `30s`, `2m`; a bare number is seconds. Raises `ConfigurationError`."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h)?", text.strip())
    if found is None:
        raise ConfigurationError(f"{text!r} is no duration. Write 500ms, 30s or 2m.")
    return float(found[1]) * {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}[found[2]]
