"""`penstock demo evaluate`: the demo tiers' table, measured through a running stack on prompts never trained on."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated

import httpx2
import typer
from rich.progress import Progress

from models.demo.evaluate import EvaluationReport, evaluate
from models.demo.families import FAMILIES
from models.errors import PenstockError
from serving.commands.options import JsonOption, StateOption, environment, state_of
from serving.commands.target import Target, target_of
from serving.commands.terminal import err, out, print_json

app = typer.Typer(help="The two demo tiers that ship with Penstock.", no_args_is_help=True)

DEFAULT_MODELS = ("demo-small", "demo-large")


@app.callback()
def demo() -> None:
    """The two demo tiers that ship with Penstock."""


@app.command("evaluate")
def evaluate_command(
    model: Annotated[list[str] | None, typer.Option(help="Model to ask; give it again for more.")] = None,
    per_family: Annotated[int, typer.Option(min=1, help="Prompts of each task family.")] = 100,
    *,
    seed: Annotated[int, typer.Option(help="Seed of the prompts.")] = 1,
    write_to: Annotated[Path | None, typer.Option("--out", help="Also write the report to this JSON file.")] = None,
    as_json: JsonOption = False,
    state_dir: StateOption = None,
) -> None:
    """Ask both tiers the held-out prompts, greedily, and count the exact answers."""
    if write_to is not None:
        _require_writable(write_to)
    target = target_of(state_of(state_dir), environment())
    models = tuple(model or DEFAULT_MODELS)
    err().print(f"[dim]Asking {', '.join(models)} at {target.url}, {per_family} prompts of each family.[/dim]")
    report = _measure(target, models, per_family=per_family, seed=seed)
    if write_to is not None:
        write_to.write_text(report.to_json() + "\n")
    if as_json:
        print_json(json.loads(report.to_json()))
    else:
        out().print(report.table())


def _require_writable(path: Path) -> None:
    """Fail now and not behind the last answer. A report that is there stays as it is, and none is made yet."""
    is_new = not path.exists()
    path.open("a").close()
    if is_new:
        path.unlink()


def _measure(target: Target, models: tuple[str, ...], *, per_family: int, seed: int) -> EvaluationReport:
    try:
        with Progress(console=err()) as progress:
            task = progress.add_task("answers", total=len(models) * len(FAMILIES) * per_family)
            return asyncio.run(
                evaluate(
                    f"{target.url}/v1",
                    target.key,
                    models=models,
                    per_family=per_family,
                    seed=seed,
                    answered=lambda: progress.advance(task),
                )
            )
    except httpx2.HTTPStatusError as error:
        raise PenstockError(
            f"The stack refused a request with status {error.response.status_code}.", detail=error.response.text[:300]
        ) from error
    except httpx2.HTTPError as error:
        raise PenstockError(f"{target.url} does not answer.", detail=str(error)) from error
