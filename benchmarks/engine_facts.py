"""What one live engine says of itself, and whether two engines are the same.

Three independent sources: the configuration that the engine core logged when it started, the processes as the kernel
sees them, and the engine's own `/metrics`. Owns the facts and their comparison. Does not find processes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.processes import (
    EngineProcesses,
    allowed_cores,
    libraries,
    log_texts,
    scheduling_group,
    title,
    variables,
)

CONFIG_LINE = "Initializing a V1 LLM engine"
CACHE_INFO = "vllm:cache_config_info"
# Say where and how an engine was started, not how it computes.
PLACES = ("VLLM_WORKER_MULTIPROC_METHOD", "VLLM_CACHE_ROOT", "VLLM_HOST_IP", "VLLM_LOGGING")

_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """One engine. `cache` is None where an arm does not show its engine's metrics, and `environment` is empty where the
    worker has written its title over it: the cores and libraries, which the kernel knows, stand for it then. `groups`
    names the kernel's scheduling group of each process: different in every arm by nature, so it is told, not compared.
    """

    config: dict[str, str]
    kv_tokens: str
    worker_cores: tuple[str, ...]
    core_cores: str
    niceness: tuple[int, ...]
    libraries: tuple[tuple[str, ...], ...]
    environment: dict[str, str]
    cache: dict[str, str] | None
    groups: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        """For the record."""
        return asdict(self)


def read_facts(engine: EngineProcesses, metrics: str | None, *, card: str) -> EngineFacts:
    """Everything there is to know of an engine; `metrics` is the text of a scrape that holds its figures."""
    log = "\n".join(log_texts(engine.core))
    return EngineFacts(
        config=engine_config(log, pid=engine.core.pid),
        kv_tokens=_last(r"KV cache size: ([\d,]+) tokens", log),
        worker_cores=tuple(allowed_cores(worker) for worker in engine.workers),
        core_cores=allowed_cores(engine.core),
        niceness=tuple(worker.nice() for worker in engine.workers),
        libraries=tuple(libraries(worker) for worker in engine.workers),
        environment=variables(engine.workers[0]),
        cache=None if metrics is None else cache_config(metrics, card=card),
        groups={title(each): scheduling_group(each) for each in (engine.core, *engine.workers)},
    )


def engine_config(log: str, *, pid: int) -> dict[str, str]:
    """The fields of the configuration that the engine core with this pid logged at its start."""
    lines = [line for line in log.splitlines() if CONFIG_LINE in line and f"EngineCore pid={pid})" in line]
    if not lines:
        return {}
    text = lines[-1].split("with config: ", 1)[-1].strip().rstrip(",")
    return dict(part.split("=", 1) for part in _top_level(text) if "=" in part)


def cache_config(metrics: str, *, card: str) -> dict[str, str] | None:
    """The labels of the engine's cache configuration in a scrape; None when it is not there.

    A scrape of many engines labels each sample with its card; a single engine's has no such label.
    """
    for line in metrics.splitlines():
        if line.startswith(f"{CACHE_INFO}{{"):
            labels = dict(_LABEL.findall(line))
            if labels.get("card", card) == card:
                return {name: value for name, value in labels.items() if name not in ("card", "replica", "engine")}
    return None


def differences(one: EngineFacts, other: EngineFacts) -> list[str]:
    """What is not the same in two engines, as `field: this / that`. A source that one of them lacks is left out."""
    found = list(_changed(one.config, other.config, source="config"))
    if one.environment and other.environment:
        found += _changed(_own(one), _own(other), source="environment")
    if one.cache is not None and other.cache is not None:
        found += _changed(one.cache, other.cache, source="cache")
    for name in ("kv_tokens", "worker_cores", "core_cores", "niceness", "libraries"):
        mine, theirs = getattr(one, name), getattr(other, name)
        if mine != theirs:
            found.append(f"{name}: {mine} / {theirs}")
    return found


def missing(facts: EngineFacts) -> list[str]:
    """Sources that were not readable: without them, equality would be asserted of nothing."""
    return [name for name in ("config", "kv_tokens", "worker_cores", "libraries") if not getattr(facts, name)]


def _own(facts: EngineFacts) -> dict[str, str]:
    return {name: value for name, value in facts.environment.items() if not name.startswith(PLACES)}


def _changed(one: Mapping[str, str], other: Mapping[str, str], *, source: str) -> Iterator[str]:
    for name in sorted({*one, *other}):
        if one.get(name) != other.get(name):
            yield f"{source}.{name}: {one.get(name)} / {other.get(name)}"


def _top_level(text: str) -> Iterator[str]:
    """Cut at the commas that are in no bracket and no quotation marks."""
    depth, start, quote = 0, 0, ""
    for position, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        elif character == "," and depth == 0:
            yield text[start:position].strip()
            start = position + 1
    yield text[start:].strip()


def _last(pattern: str, text: str) -> str:
    found = re.findall(pattern, text)
    return found[-1] if found else ""
