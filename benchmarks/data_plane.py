"""`python -m benchmarks.data_plane --out benchmarks/results/NAME`: bare vLLM, Ray Serve LLM and Penstock in one run.

All arms serve one model with the same engine arguments on the same core, are up at the same time and are asked in
turn, round by round. Owns the command. What each arm is, what is sent and how it is counted have files of their own;
docs/benchmarks.md says how to read the result.
"""

from __future__ import annotations

import json
import os
import signal
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks.arms import ArmFailed, Bench
from benchmarks.arms.penstock import Penstock, engine_overrides, profile_settings
from benchmarks.comparison import Comparison, Unequal
from benchmarks.load import INPUT_TOKENS, OUTPUT_TOKENS, LoadFailed, LoadGenerator, Prompts
from benchmarks.origin import origin
from benchmarks.schedule import Block, schedule
from benchmarks.summary import Summary, markdown, summarise
from models.catalog import Catalog, ModelStore, engine_arguments
from models.errors import PenstockError

QUIET = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}
SEED = 20_261_123
BUSY = 1.0

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True, slots=True)
class Order:
    """What was asked for."""

    out: Path
    repetitions: int
    clients: tuple[int, ...]
    card: str
    profile: str
    state_dir: Path | None
    profile_gateway: bool


@app.command("data-plane")
def command(
    out: Annotated[Path, typer.Option(help="Folder of the result; made when missing.")],
    *,
    repetitions: Annotated[int, typer.Option(min=1, help="Rounds over all arms.")] = 5,
    clients: Annotated[str, typer.Option(help="Numbers of clients, with commas.")] = "1,16,64",
    card: Annotated[str, typer.Option(help="Model card under test; one of the profile's engines.")] = "demo-large",
    profile: Annotated[str, typer.Option(help="Profile of the Penstock arm: a name or a YAML file.")] = "cpu-demo",
    state_dir: Annotated[Path | None, typer.Option(help="Use this state folder, and the stack running in it.")] = None,
    profile_gateway: Annotated[bool, typer.Option(help="Also sample the gateway under 16 clients.")] = False,
) -> None:
    """Compare the data planes, and write the table and where it comes from."""
    counts = tuple(int(part) for part in clients.split(","))
    order = Order(out, repetitions, counts, card, profile, state_dir, profile_gateway)
    console = Console(stderr=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        measure(order, console)
    except (ArmFailed, Unequal, LoadFailed, PenstockError) as error:
        console.print(str(error), style="bold red", markup=False, highlight=False)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        console.print("Interrupted. Everything is stopped; a result without its origin does not count.", style="red")
        raise typer.Exit(130) from None


def measure(order: Order, console: Console) -> None:
    """The whole run. `origin.json` is written last: without it a result folder is not a result."""
    order.out.mkdir(parents=True, exist_ok=True)
    (order.out / "origin.json").unlink(missing_ok=True)
    started, load = time.time(), round(os.getloadavg()[0], 2)
    if load > BUSY:
        console.print(f"The machine is busy (load {load}): read the ratios, not the times.", style="yellow")
    blocks = list(schedule(order.repetitions, order.clients, seed=SEED))
    with tempfile.TemporaryDirectory(prefix="data-plane-", ignore_cleanup_errors=True) as scratch:
        bench = _bench(order, Path(scratch))
        config = _config(order, bench)
        with Comparison(bench, console=console, out=order.out) as comparison:
            _compare(comparison, order, bench=bench, blocks=blocks)
    counts = {"rounds": order.repetitions, "blocks": len(comparison.measured)}
    counts |= {"requests": sum(one.completed for one in comparison.measured)}
    found = origin(config=config, seeds=[block.seed for block in blocks], counts=counts, started=started)
    summary = summarise(comparison.measured, comparison.failed, seed=SEED)
    _write(order.out, summary, found={**found, "load_before": load})
    console.print(markdown(summary, found), markup=False, highlight=False, soft_wrap=True)


def _compare(comparison: Comparison, order: Order, *, bench: Bench, blocks: list[Block]) -> None:
    penstock = Penstock(bench, profile=order.profile, state=order.state_dir or bench.folder / "state")
    comparison.start(penstock, fallback_cores=str(max(os.sched_getaffinity(0))))
    prompts, log = Prompts(bench.model), bench.folder / "generator.log"
    with LoadGenerator(bench.folder, environment=bench.environment, log=log) as generator:
        comparison.measure(blocks, generator, prompts=prompts)
        if order.profile_gateway:
            comparison.profile_gateway(generator, prompts=prompts, seed=SEED)


def _write(out: Path, summary: Summary, *, found: dict[str, Any]) -> None:
    (out / "summary.json").write_text(json.dumps(summary.as_json(), indent=1) + "\n")
    (out / "table.md").write_text(markdown(summary, found))
    (out / "origin.json").write_text(json.dumps(found, indent=1) + "\n")


def _bench(order: Order, folder: Path) -> Bench:
    state = order.state_dir
    catalog = Catalog.load(state / "models.yaml" if state is not None else None)
    card = catalog.card(order.card)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "VLLM_"))} | QUIET
    overrides = engine_overrides(profile_settings(order.profile, environment), card.id)
    return Bench(
        card=card.id,
        model=ModelStore(state / "models" if state is not None else None).resolve(card),
        arguments=engine_arguments(card, overrides),
        folder=folder,
        environment=environment,
    )


def _config(order: Order, bench: Bench) -> dict[str, Any]:
    return {
        "card": order.card,
        "profile": Path(order.profile).stem,
        "settings": profile_settings(order.profile, bench.environment),
        "engine_arguments": bench.arguments,
        "clients": order.clients,
        "input_tokens": INPUT_TOKENS,
        "output_tokens": OUTPUT_TOKENS,
    }


if __name__ == "__main__":
    app()
