"""Result folders as the benchmarks leave them, made of calls with known times by the project's own writers."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.calls import Call
from benchmarks.knee import Found
from benchmarks.metrics import Metrics, measure
from benchmarks.origin import origin
from benchmarks.result import markdown, write
from benchmarks.runner import Run
from benchmarks.schedule import Point
from benchmarks.slo_search import Search, Trial
from benchmarks.suite import Load, Slo, load_suite

ARMS = ("bare-vllm", "ray-serve-llm", "penstock")
SLO = Slo(name="chat", ttft_ms=200, tpot_ms=50)
STARTED = 1_790_000_000.0


def calls(clients: int, *, seconds: float, seed: int = 1, slower: float = 1.0, model: str = "demo-large") -> list[Call]:
    """A closed loop whose answers get slower with the number of clients."""
    chance = random.Random(seed)
    return list(_answers(clients, seconds, chance=chance, slower=slower, model=model))


def _answers(clients: int, seconds: float, *, chance: random.Random, slower: float, model: str) -> Iterator[Call]:
    number = 0
    for client in range(clients):
        now = 0.01 * client
        while now < seconds:
            stamps = [now + slower * (0.02 + 0.006 * clients) * chance.lognormvariate(0, 0.4)]
            while len(stamps) < 24:
                stamps.append(stamps[-1] + slower * (0.004 + 0.0015 * clients) * chance.lognormvariate(0, 0.35))
            yield Call(number, None, now, stamps, stamps[-1], 200, None, None, "length", model, None, None, 40, 24, 0)
            now, number = stamps[-1] + 0.001, number + 1


def load(clients: int, *, seconds: float) -> Load:
    """The load of a suite that ships with the project, with other clients and another end."""
    found = load_suite("chat-short").size("cpu").model_dump(mode="json")
    workload = {"kind": "closed", "clients": clients}
    return Load.model_validate({**found, "workload": workload, "duration_s": seconds, "warm_up_s": 1.0})


def store_run(folder: Path, made: Sequence[Call], *, clients: int = 4, **more: Any) -> Metrics:
    """A result of `bench run`; `more`: `stopped`, `cpu_share`, `suite`, `model`, `target`."""
    seconds, stopped, model = 6.0, more.get("stopped"), more.get("model", "demo-large")
    run = Run(list(made), ended_s=seconds + 1, cpu_share=more.get("cpu_share", 0.2), stopped=stopped)
    asked = load(clients, seconds=seconds)
    metrics = measure(run, asked, slos=[SLO])
    config = {
        "suite": more.get("suite", "chat-short"),
        "size": "cpu",
        "slos": [SLO.model_dump(mode="json")],
        "load": asked.model_dump(mode="json"),
        "target": more.get("target", "http://127.0.0.1:8000"),
        "model": model,
    }
    folder.mkdir(parents=True)
    counts = {"requests": len(made), "completed": metrics.completed}
    found = {**origin(config=config, seeds=[7], counts=counts, started=STARTED), "stopped": stopped}
    summary = {"model": model, "stopped": stopped, **metrics.as_json()}
    write(folder, made, summary=summary, table=markdown(metrics, stopped=stopped), found=found)
    return metrics


def store_runs(base: Path, *, detail: str) -> dict[Path, Metrics]:
    """Runs at 1, 4 and 16 clients; the last one with failures of this detail, and with a busy client."""
    found = {}
    for clients in (1, 4, 16):
        made, crowded = calls(clients, seconds=6.0, seed=clients), clients == 16
        for call in made[1::9] if crowded else []:
            call.error, call.detail, call.chunks_s = "status 503", detail, []
        share = 0.95 if crowded else 0.2
        found[base / f"at-{clients}"] = store_run(base / f"at-{clients}", made, clients=clients, cpu_share=share)
    return found


def store_search(folder: Path, *, knee: float = 9.0) -> Found:
    """A result of `bench slo`: the project's own search over a server that can do `knee` requests a second."""
    chance, lines = random.Random(5), []

    def attempt(rate: float) -> Trial:
        share = min(1.0, 0.998 - max(0.0, rate - knee) / knee * 0.7 + chance.uniform(-0.003, 0.002))
        made = calls(max(1, round(rate)), seconds=1.0, seed=int(100 * rate), slower=1 + (rate > knee))
        lines.extend({"trial": len(lines), "rate": rate, **asdict(call)} for call in made)
        why = None if share > 0.9 else "saturated"
        return Trial(rate, round(share * 200), 200, share, met=share >= 0.99, why=why, lag_ms=1.5)

    search = Search(attempt, start=1.0, between=(0.05, 1000.0), precision=0.05)
    assert list(search.steps())
    folder.mkdir(parents=True)
    found = Found(search.knee, None)
    config = {"suite": "chat-short", "model": "demo-large", "target": "http://127.0.0.1:8000", "goodput": 0.99}
    config |= {"objective": SLO.model_dump(mode="json")}
    counts = {"trials": len(search.knee.trials), "requests": len(lines)}
    _store(folder, found.as_json(), lines=lines, config=config, counts=counts)
    return found


def comparison(**more: Any) -> dict[str, Any]:
    """The summary of `bench compare`, as its writer documents it."""
    rows = [_row(arm, clients) for clients in (1, 4, 16) for arm in ARMS]
    stages = [("parse", 0.21), ("key", 0.34), ("route", 0.12), ("plan", 0.08), ("forward", 0.95), ("frames", 0.41)]
    budget = {
        "load": Point(clients=1).name,
        "calls": 160,
        "rows": [{"stage": stage, "ms": ms, "what": f"the {stage}"} for stage, ms in stages],
        "sum_ms": 2.11,
        "through_minus_direct_ms": 2.2,
        "closes_within": 0.041,
    }
    lag = {"lag_ms_p99": 2.0, "cpu_share": 0.2}
    whole = {
        "client": lag,
        "suite": "chat-short",
        "reference": "bare-vllm",
        "engine": "demo-large",
        "rows": rows,
        "stages": budget,
    }
    return {**whole, "failed": {}, "faulty": [], **more}


def _row(arm: str, clients: int) -> dict[str, Any]:
    slower = {"bare-vllm": 1.0, "ray-serve-llm": 1.18, "penstock": 1.05}[arm]
    speed = 260 * clients**0.55 / slower
    ratio = {"median": 1 / slower, "low": 0.97 / slower, "high": 1.02 / slower, "count": 5}
    gap = {"median": 9 * (slower - 1), "low": 6 * (slower - 1), "high": 14 * (slower - 1), "count": 5}
    against = {} if arm == "bare-vllm" else {"bare-vllm": {"throughput": ratio, "ttft_gap_ms": gap}}
    latencies = {"ttft_ms_p50": 9 * slower + clients, "ttft_ms_p99": 21 * slower + 4 * clients}
    costs = {
        "front_cpu_ms_per_request": None,
        "requests": 160,
        "cpu_s_per_1000_requests": 4.1 * slower,
        "memory_bytes": 2**30,
        "gpu_s_per_1000_requests": None,
    }
    figures = {"blocks": 5, "tokens_per_s": speed, "requests_per_s": speed / 24, "tpot_ms_p50": 3.1 * slower}
    front = {"front_cpu_us_per_chunk": None if arm == "bare-vllm" else 41.5 * slower}
    place = {"arm": arm, "load": Point(clients=clients).name, "clients": clients, "rate": None}
    return {**place, **figures, **latencies, **costs, **front, "versus": against}


def store_comparison(folder: Path, summary: dict[str, Any]) -> None:
    """A result of `bench compare`."""
    slower = {"bare-vllm": 1.0, "ray-serve-llm": 1.4, "penstock": 1.1}
    lines = [
        {"arm": arm, "round": round_, "load": Point(clients=clients).name, **asdict(call)}
        for arm in ARMS
        for clients in (1, 4, 16)
        for round_ in (0, 1)
        for call in calls(clients, seconds=0.5, seed=round_, slower=slower[arm])
    ]
    folder.mkdir(parents=True)
    _store(folder, summary, lines=lines, config={"suite": "chat-short"}, counts={"blocks": 45})


def _store(
    folder: Path, summary: Any, *, lines: list[dict[str, Any]], config: dict[str, Any], counts: dict[str, int]
) -> None:
    with gzip.open(folder / "calls.jsonl.gz", "wt", encoding="utf-8") as raw:
        raw.writelines(json.dumps(line) + "\n" for line in lines)
    (folder / "summary.json").write_text(json.dumps(summary))
    found = origin(config=config, seeds=[7], counts=counts, started=STARTED)
    (folder / "origin.json").write_text(json.dumps({**found, "stopped": None}))
