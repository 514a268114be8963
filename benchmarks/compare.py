"""`penstock bench compare`: several servers of one engine, measured in turn in one run.

Owns the story: what is common to all arms, start, warm-up, the points, the blocks, what is written. What an arm is
lives in `arms/`, what is up and measured in `comparison.py`, how figures are counted in `summary.py`.
"""

from __future__ import annotations

import gzip
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.arms import Bench
from benchmarks.arms.catalog import NULL, PENSTOCK, in_order, label
from benchmarks.arms.penstock import Penstock, engine_overrides, profile_settings
from benchmarks.comparison import Comparison, call_line
from benchmarks.load import extra_body
from benchmarks.measuring import Sender
from benchmarks.origin import origin
from benchmarks.profiling import recording, shares, table
from benchmarks.prompts import Order as Asked
from benchmarks.prompts import ask
from benchmarks.result import prepare
from benchmarks.saturation import saturated
from benchmarks.schedule import Block, Plan, Point
from benchmarks.stages import Seen, Stages, paired, stages
from benchmarks.suite import Load, Suite
from benchmarks.summary import Row, Summary, client_of, faults_of, markdown, rows_of
from models.catalog import Catalog, ModelStore, engine_arguments
from models.errors import ConfigurationError

QUIET = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}
SEED = 20_261_125
BUSY = 1.0
MOCK = "mock"
MOCK_TTFT_S, MOCK_TPOT_S = 0.02, 0.005
WARM_UP = Point(clients=8)
PROFILED = Point(clients=16)
PROFILED_BLOCKS = 3
ALONE = Point(clients=1)


@dataclass(frozen=True, slots=True)
class CompareOrder:
    """What was asked for. `card`: the model under test, or `mock`. `points`: where every arm is measured.

    `half_saturation`: each arm also at half of the rate at which it saturates, and the reference at the same rate.
    """

    name: str
    suite: Suite
    size: str
    arms: tuple[str, ...]
    out: Path
    environment: Mapping[str, str]
    card: str = "demo-large"
    mock: bool = False
    profile: str = "cpu-demo"
    state_dir: Path | None = None
    key: str | None = None
    points: tuple[Point, ...] = (Point(clients=1), Point(clients=16), Point(clients=64))
    repetitions: int = 5
    null: bool = True
    half_saturation: bool = False
    profile_gateway: bool = False
    seed: int = SEED

    @property
    def load(self) -> Load:
        """What is sent."""
        return self.suite.size(self.size)


def compare(order: CompareOrder, console: Console) -> Summary:
    """The whole run. Ctrl-C ends it: what was measured is written and marked. `origin.json` is written last."""
    names = in_order(order.arms, mock=order.mock)
    if len(names) < 2 and not order.null:
        raise ConfigurationError("A comparison needs two arms, or the null arm.")
    prepare(order.out)
    started, busy = time.time(), round(os.getloadavg()[0], 2)
    if busy > BUSY:
        console.print(f"The machine is busy (load {busy}): read the ratios, not the times.", style="yellow")
    with tempfile.TemporaryDirectory(prefix="compare-", ignore_cleanup_errors=True) as scratch:
        bench = bench_of(order, Path(scratch))
        with Comparison(bench, console=console, out=order.out) as comparison:
            comparison.start(names, null=order.null)
            stopped = _measure(comparison, order, sender=sender_of(order, bench))
            summary = _summary(comparison, order, stopped=stopped, since_s=time.time() - started)
    counts = {"rounds": order.repetitions, "blocks": len(comparison.measured)}
    counts |= {"requests": sum(one.metrics.completed for one in comparison.measured)}
    found = origin(config=_config(order, bench), seeds=[order.seed], counts=counts, started=started)
    _write(order.out, summary, found={**found, "load_before": busy, "stopped": stopped})
    return summary


def bench_of(order: CompareOrder, folder: Path) -> Bench:
    """What all arms have in common: model, engine arguments, environment."""
    state = order.state_dir
    catalog = Catalog.load(state / "models.yaml" if state is not None else None)
    card = catalog.card(order.card)
    inherited = {n: value for n, value in order.environment.items() if not n.startswith(("RAY_", "VLLM_"))}
    environment = inherited | QUIET
    overrides = engine_overrides(profile_settings(order.profile, environment), card.id)
    script = {"ttft_s": MOCK_TTFT_S, "tpot_s": MOCK_TPOT_S, "tokens": order.load.answer_tokens}
    return Bench(
        card=card.id,
        model=ModelStore(state / "models" if state is not None else None).resolve(card),
        arguments=engine_arguments(card, overrides),
        folder=folder,
        environment=environment,
        profile=order.profile,
        state=None if order.mock else state,  # a stack that runs has its engines already
        cores=str(max(os.sched_getaffinity(0))),
        mock=json.dumps(script) if order.mock else None,
        key=order.key,
    )


def sender_of(order: CompareOrder, bench: Bench) -> Sender:
    """What sends the blocks. Answers are made as long as they may be, where nothing speaks against it."""
    shaped = "response_format" in ask(order.load.prompts, Asked(order.seed, 0, None)).body
    foreign = any("=" in name for name in order.arms)
    whole = not shaped and not foreign
    body = extra_body(bench.model) if whole and not order.mock else {}
    return Sender(order.suite, order.load, body, whole=whole)


def _measure(comparison: Comparison, order: CompareOrder, *, sender: Sender) -> str | None:
    """Warm up, find the points, measure; the reason where it was cut short."""
    try:
        for arm in comparison.up:
            comparison.once(Block(0, WARM_UP, arm, seed=order.seed + (arm == NULL)), sender)
        points: dict[Point, Sequence[str]] = dict.fromkeys(order.points, comparison.up)
        if order.half_saturation:
            points |= saturated(comparison, sender, seed=order.seed)
        blocks = list(Plan(order.repetitions, points, comparison.engines, seed=order.seed).blocks())
        with gzip.open(order.out / "calls.jsonl.gz", "wt", encoding="utf-8") as raw:
            comparison.measure(blocks, sender, heard=lambda block, call: print(call_line(block, call), file=raw))
        if order.profile_gateway and PENSTOCK in comparison.up:
            _profile(comparison, order, sender=sender)
    except KeyboardInterrupt:
        return "interrupted"
    return None


def _profile(comparison: Comparison, order: CompareOrder, *, sender: Sender) -> None:
    """Sample the gateways under load and keep where their time goes."""
    arm = comparison.arm(PENSTOCK)
    assert isinstance(arm, Penstock)
    for process in arm.gateways():
        stacks = order.out / "gateway.stacks"
        with recording(process.pid, stacks):
            for number in range(PROFILED_BLOCKS):
                comparison.once(Block(0, PROFILED, PENSTOCK, order.seed + number + 1), sender)
        found = shares(stacks.read_text())
        (order.out / "gateway-profile.txt").write_text(table(found))
        (order.out / "gateway-profile.json").write_text(json.dumps([asdict(one) for one in found], indent=1) + "\n")


def _summary(comparison: Comparison, order: CompareOrder, *, stopped: str | None, since_s: float) -> Summary:
    memory = {name: watched.memory_bytes() for name, watched in comparison.watched.items()}
    rows = rows_of(comparison.measured, memory=memory, seed=order.seed)
    return Summary(
        suite=order.name,
        engine=MOCK if order.mock else order.card,
        reference=comparison.reference,
        rows=rows,
        client=client_of(comparison.measured),
        cores={name: watched.cores() for name, watched in comparison.watched.items() if watched.known},
        failed=comparison.failed,
        faulty=faults_of(comparison.measured),
        stages=_stages(comparison, order.out, rows=rows, since_s=since_s) if PENSTOCK in comparison.up else None,
        stopped=stopped,
    )


def _stages(comparison: Comparison, out: Path, *, rows: Sequence[Row], since_s: float) -> Stages | None:
    """The budget of what the stack adds for one client; None where that was not measured."""
    arm, reference = comparison.arm(PENSTOCK), comparison.reference
    assert isinstance(arm, Penstock)
    seen = {row.arm: row.ttft_ms_p50 for row in rows if row.load == ALONE.name}
    if PENSTOCK not in seen or reference not in seen or reference == PENSTOCK:
        return None
    blocks = {
        one.block.round: one.span
        for one in comparison.measured
        if one.block == replace(one.block, point=ALONE, arm=PENSTOCK)
    }
    calls = list(_alone(out, blocks))
    pairs = list(paired(arm.records(since_s), calls, spans=list(blocks.values())))
    return stages(pairs, load=ALONE.name, through_ms=seen[PENSTOCK], direct_ms=seen[reference])


def _alone(out: Path, spans: Mapping[int, tuple[float, float]]) -> Iterator[Seen]:
    """The calls of one client to the stack, on the clock of the machine. `spans`: of each round."""
    with gzip.open(out / "calls.jsonl.gz", "rt", encoding="utf-8") as raw:
        for call in map(json.loads, raw):
            if (call["arm"], call["load"]) == (PENSTOCK, ALONE.name) and call["chunks_s"]:
                zero = spans[call["round"]][0]
                yield Seen(zero + call["sent_s"], zero + call["chunks_s"][0])


def _write(out: Path, summary: Summary, *, found: dict[str, Any]) -> None:
    (out / "summary.json").write_text(json.dumps(summary.as_json(), indent=1) + "\n")
    (out / "table.md").write_text(markdown(summary, found))
    (out / "origin.json").write_text(json.dumps(found, indent=1) + "\n")


def _config(order: CompareOrder, bench: Bench) -> dict[str, Any]:
    return {
        "suite": order.name,
        "size": order.size,
        "load": order.load.model_dump(mode="json"),
        "arms": [label(name) for name in order.arms],
        "points": [asdict(point) for point in order.points],
        "half_saturation": order.half_saturation,
        "card": order.card,
        "mock": bench.mock,
        "profile": Path(order.profile).stem,
        "settings": profile_settings(order.profile, bench.environment),
        "engine_arguments": bench.arguments,
    }
