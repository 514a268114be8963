"""What the gate looks at where nobody names a condition. Owns the factors; judges nothing.

Counted costs do not move with the machine's load, so they block at small factors. Times do, so they advise. Docs:
docs/benchmarks.md, with how far each figure moves by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.gate import Condition, Stored

RUN_BLOCKS = ("errors > 0",)
RUN_ADVISES = (
    "ttft_ms_p50 > 1.10x",
    "tpot_ms_p50 > 1.10x",
    "itl_ms_p99 > 1.25x",
    "e2e_ms_p50 > 1.10x",
    "tokens_per_s < 0.90x",
    "requests_per_s < 0.90x",
)
COUNTED = {"calls": 1.05, "allocations": 1.05, "allocated_bytes": 1.10}
BYTES = 1.01
CPU_BLOCKS = {"cpu_us_min": 1.35}
CPU_ADVISES = {"cpu_us_min": 1.20, "cpu_us_p50": 1.35}


def blocks(run: Stored, baseline: Stored) -> list[Condition]:
    """The conditions that fail the gate. Processor time of another processor does not, nor calls of another Python."""
    if not _is_cost(baseline):
        return [Condition.read(text) for text in RUN_BLOCKS]
    cpu = CPU_BLOCKS if _same_processor(run, baseline) and _has_cpu(run) else {}
    factors = (COUNTED if _same_python(run, baseline) else {}) | cpu
    return [*_cost_conditions(baseline, factors), *_byte_conditions(baseline)]


def advises(run: Stored, baseline: Stored) -> list[Condition]:
    """The conditions that warn; those on what neither of the two has measured are left out."""
    if _is_cost(baseline):
        factors = (CPU_ADVISES if _has_cpu(run) else {}) | ({} if _same_python(run, baseline) else COUNTED)
        return list(_cost_conditions(baseline, factors))
    measured = {*run.figures, *baseline.figures}
    return [one for one in map(Condition.read, RUN_ADVISES) if one.figure in measured]


def _cost_conditions(baseline: Stored, factors: Mapping[str, float]) -> Iterator[Condition]:
    for scenario, costs in _scenarios(baseline):
        for figure, factor in factors.items():
            if figure in costs:
                yield Condition(f"{scenario}_{figure}", ">", factor, relative=True)


def _byte_conditions(baseline: Stored) -> Iterator[Condition]:
    for scenario, costs in _scenarios(baseline):
        yield from (
            Condition(f"{scenario}_{figure}", ">", BYTES, relative=True) for figure in costs if figure[:6] == "bytes_"
        )


def _scenarios(stored: Stored) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield from ((name, costs) for name, costs in stored.summary.items() if name != "spread")


def _is_cost(stored: Stored) -> bool:
    return bool(stored.origin["config"].get("kind") == "cost")


def _has_cpu(stored: Stored) -> bool:
    """A quick count has none."""
    return any(figure.endswith("cpu_us_min") for figure in stored.figures)


def _same_python(run: Stored, baseline: Stored) -> bool:
    ours, theirs = (str(one.origin.get("python")).rsplit(".", 1)[0] for one in (run, baseline))
    return ours == theirs


def _same_processor(run: Stored, baseline: Stored) -> bool:
    ours, theirs = (one.origin.get("hardware", {}).get("processor") for one in (run, baseline))
    return bool(ours == theirs)
