"""`penstock demo`: the demo tiers' table, measured through a running stack on prompts never trained on; and an adapter
and data to try releases and fine-tuning with.
"""

from __future__ import annotations

import asyncio
import json
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import httpx2
import typer
from rich.progress import Progress

from models.demo.evaluate import EvaluationReport, evaluate
from models.demo.families import FAMILIES
from models.demo.lessons import lessons
from models.errors import ConfigurationError, PenstockError
from models.types import Tier
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


@app.command("adapter")
def adapter(
    folder: Annotated[Path, typer.Argument(help="New folder for the adapter.", show_default=False)],
    *,
    says: Annotated[str, typer.Option(help="What it answers to every prompt.")],
    tier: Annotated[Tier, typer.Option(help="Of the demo tiers.")] = "large",
    rank: Annotated[int, typer.Option(min=1, max=16)] = 8,
    seed: Annotated[int, typer.Option(help="Of the draw of prompts.")] = 1,
) -> None:
    """Train an adapter that answers every prompt with the same words, in seconds: to try releases with."""
    if folder.exists():
        raise ConfigurationError(f"{str(folder)!r} is there already: name a new folder.")
    library = _training()
    with Progress(console=err()) as progress:
        task = progress.add_task("training", total=library.STEPS)
        loss = library.train_to_say(
            says, folder, tier=tier, rank=rank, seed=seed, progress=lambda: progress.advance(task)
        )
    err().print(f"Loss {loss:.3f}. Keep it: penstock adapters push NAME {folder} --base demo-{tier}", markup=False)
    out().print(str(folder), markup=False)


@app.command("lessons")
def lessons_command(
    folder: Annotated[Path, typer.Argument(help="New folder for the files.", show_default=False)],
    *,
    seed: Annotated[int, typer.Option(help="Of the draw.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Write files to try fine-tuning with: a task that no tier knows, and questions about it and the old ones."""
    if folder.exists():
        raise ConfigurationError(f"{str(folder)!r} is there already: name a new folder.")
    written = lessons(folder, seed=seed)
    if as_json:
        print_json({"folder": str(folder), "lines": dict(written)})
        return
    for name, lines in written.items():
        out().print(f"{folder / name}: {lines:,} lines", markup=False, highlight=False)


def _training() -> Any:
    """Training needs what the command line alone does not."""
    try:
        return import_module("models.demo.say")
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"Training needs the extra `engine` ({error.name} is missing): make setup.") from error


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
