"""`python -m benchmarks.agreement --out DIR`: do our figures agree with those of vLLM's own load generator?

One mock server with fixed times (20 ms to the first token, 5 ms per token) is measured by both in turn, round by round:
the same number of requests, clients and tokens. What is compared is the measuring itself. Owns the command.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import track

from benchmarks.arms import ArmFailed, Bench, Target
from benchmarks.arms.mock import MockServer
from benchmarks.calls import Address
from benchmarks.estimates import Estimate, estimate, ratios
from benchmarks.load import OUTPUT_TOKENS, LoadFailed, LoadGenerator, Prompts
from benchmarks.metrics import measure
from benchmarks.origin import origin
from benchmarks.own_loop import in_own_loop
from benchmarks.result import markdown_table
from benchmarks.runner import Runner
from benchmarks.schedule import Block, Point
from benchmarks.suite import Load
from models.catalog import Catalog, ModelStore
from models.errors import PenstockError

SCRIPT = {"ttft_s": 0.02, "tpot_s": 0.005, "tokens": OUTPUT_TOKENS}
CARD = "demo-small"  # its tokenizer counts the prompts for vLLM's generator
SEED = 20_261_125
FIGURES = ("ttft_p50_ms", "tpot_p50_ms", "tokens_per_s")
HEAD = ("clients", "figure", "ours", "vLLM's", "ours ÷ vLLM's")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True, slots=True)
class Row:
    """One figure at so many clients, as both see it; medians over the rounds."""

    clients: int
    figure: str
    ours: float
    theirs: float
    ratio: Estimate


@app.command()
def command(
    out: Annotated[Path, typer.Option(help="Folder of the result; made when missing.")],
    *,
    repetitions: Annotated[int, typer.Option(min=1, help="Rounds.")] = 5,
    clients: Annotated[str, typer.Option(help="Numbers of clients, with commas.")] = "1,8",
) -> None:
    """Measure one mock server with both, and write the ratios and where they come from."""
    console, started = Console(stderr=True), time.time()
    counts = [int(part) for part in clients.split(",")]
    blocks = [
        Block(round, Point(clients=count), "", SEED + 100 * round + count)
        for round in range(repetitions)
        for count in counts
    ]
    try:
        found = _pairs(track(blocks, console=console, description="rounds"))
    except (ArmFailed, LoadFailed, PenstockError) as error:
        console.print(str(error), style="bold red", markup=False, highlight=False, soft_wrap=True)
        if isinstance(error, ArmFailed) and error.log:
            console.print(error.log, markup=False, highlight=False, soft_wrap=True)  # its file goes with the folder
        raise typer.Exit(1) from None
    rows = [_row(clients, figure, pairs=pairs) for (clients, figure), pairs in found.items()]
    config = {"mock": SCRIPT, "clients": counts, "output_tokens": OUTPUT_TOKENS}
    requests = 2 * sum(block.point.requests for block in blocks)
    _write(
        out,
        rows,
        found=origin(
            config=config, seeds=[SEED], counts={"rounds": repetitions, "requests": requests}, started=started
        ),
    )
    console.print((out / "table.md").read_text(), markup=False, highlight=False)


def _pairs(blocks: Iterable[Block]) -> dict[tuple[int, str], list[tuple[float, float]]]:
    """Clients and figure → what both measured, round by round."""
    found: dict[tuple[int, str], list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="agreement-") as scratch, mock(Path(scratch)) as target:
        for block, ours, theirs in both(blocks, target, folder=Path(scratch)):
            for figure in FIGURES:
                found.setdefault((block.point.clients or 0, figure), []).append((ours[figure], theirs[figure]))
    return found


def both(
    blocks: Iterable[Block], target: Target, *, folder: Path
) -> Iterator[tuple[Block, dict[str, Any], dict[str, Any]]]:
    """Every block by our client and by vLLM's."""
    model, file, log = ModelStore(None).resolve(Catalog.load().card(CARD)), folder / "prompts.json", folder / "load.log"
    prompts = Prompts(model)
    with LoadGenerator(folder, environment=os.environ, log=log) as generator:
        prompts.write(file, count=Point(clients=1).requests, seed=SEED)
        generator.run(
            Block(0, Point(clients=1), "", SEED), target, model=model, prompts=file
        )  # its imports, before anything counts
        for block in blocks:
            prompts.write(file, count=block.point.requests, seed=block.seed)
            theirs = asdict(generator.run(block, target, model=model, prompts=file))
            if theirs["fault"] is not None:
                raise LoadFailed(theirs["fault"])
            yield block, measured(block, target), theirs


@contextmanager
def mock(folder: Path) -> Iterator[Target]:
    """The mock server, in a process of its own."""
    model = ModelStore(None).resolve(Catalog.load().card(CARD))
    server = MockServer(Bench(CARD, model, {}, folder, os.environ, mock=json.dumps(SCRIPT)))
    try:
        yield server.start()
    finally:
        server.stop()


def measured(block: Block, target: Target) -> dict[str, Any]:
    """The same block by our own client."""
    load = Load.model_validate(
        {
            "prompts": {"kind": "words", "words": [64, 64]},
            "workload": {"kind": "closed", "clients": block.point.clients},
            "answer_tokens": OUTPUT_TOKENS,
            "requests": block.point.requests,
        }
    )
    address = Address(target.url, target.model, api="completions")
    runner = Runner(address, load, seed=block.seed, heard=lambda _: None)
    figures = measure(in_own_loop(runner.go()), load, slos=())
    assert figures.ttft_ms is not None
    assert figures.tpot_ms is not None
    assert figures.errors == {}
    return {
        "ttft_p50_ms": figures.ttft_ms.p50,
        "tpot_p50_ms": figures.tpot_ms.p50,
        "tokens_per_s": figures.tokens_per_s,
    }


def _row(clients: int, figure: str, *, pairs: list[tuple[float, float]]) -> Row:
    ours, theirs = ([pair[side] for pair in pairs] for side in (0, 1))
    return Row(clients, figure, median(ours), median(theirs), estimate(ratios(ours, theirs), seed=SEED))


def _write(out: Path, rows: list[Row], *, found: dict[str, Any]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    table = markdown_table(HEAD, map(_cells, rows))
    origin_line = f"Commit {found['commit'][:12]}, {found['started']}; {found['hardware']['processor']}."
    (out / "summary.json").write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    (out / "table.md").write_text(f"{table}\n\n{origin_line} Medians over rounds with bootstrap 95 % intervals.\n")
    (out / "origin.json").write_text(json.dumps(found, indent=1) + "\n")


def _cells(row: Row) -> tuple[str, ...]:
    ratio = f"{row.ratio.median:.3f} ({row.ratio.low:.3f} … {row.ratio.high:.3f})"
    return (str(row.clients), row.figure, f"{row.ours:,.2f}", f"{row.theirs:,.2f}", ratio)


if __name__ == "__main__":
    app()
