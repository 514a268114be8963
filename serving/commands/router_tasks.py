"""`penstock router train-tasks`: the head that tells what a prompt asks for, trained on the example prompts.

Local: asks no stack. What is done is in `router/training`, which needs the extra `router` and is imported when the
command runs. Owns options and what is printed.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from models.errors import ConfigurationError
from models.privacy import for_owner_alone
from serving.commands.interruption import interruptible
from serving.commands.options import JsonOption, StateOption, state_of
from serving.commands.terminal import err, out, print_json

if TYPE_CHECKING:
    from models.embedders import Embedder

app = typer.Typer()


@app.command("train-tasks")
def train_tasks(
    to: Annotated[Path, typer.Option("--out", help="Folder of the head; made when missing.", show_default=False)],
    *,
    prompts: Annotated[
        Path | None, typer.Option(help="Example prompts, YAML.", show_default="those of router/tasks")
    ] = None,
    unseen: Annotated[
        Path | None, typer.Option(help="Prompts to measure on, YAML.", show_default="those of router/tasks")
    ] = None,
    as_json: JsonOption = False,
    state_dir: StateOption = None,
) -> None:
    """Train the head that tells a prompt's task and need for retrieval, and measure it; a minute or two."""
    source, library = _library("task_prompts"), _library("task_fit")
    file = prompts or source.PROMPTS
    examples, others = source.read_examples(file), source.read_unseen(unseen or source.UNSEEN)
    _make(to)
    state = state_of(state_dir)
    state.create()
    embedder = _embedder()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with interruptible(), Progress(*columns, console=err()) as bars:
        task = bars.add_task("embedding", total=len(examples) + len(others))
        embed = _embedding(embedder, state.embeddings, heard=lambda more: bars.advance(task, more))
        learned, measured_on = embed(examples), embed(others)
        step = bars.add_task("training", total=library.STEPS)
        origin = library.Origin(embedder.id, source.digest(file))
        try:
            head = library.train(learned, measured_on, origin=origin, heard=lambda: bars.advance(step))
        except ValueError as error:
            raise ConfigurationError(f"A task head cannot be trained on {file.name!r}: {error}.") from error
    written = head.write(to)
    if as_json:
        print_json({"head": str(to), **written.model_dump(exclude={"words"})})
    else:
        out().print(_library("task_assess").markdown(written.measured), markup=False, soft_wrap=True)
        out().print(f"\nTrained on {written.prompts:,} prompts: {to}", markup=False)


def _library(name: str) -> ModuleType:
    try:
        return import_module(f"router.training.{name}")
    except ImportError as error:
        raise ConfigurationError(
            f"A task head is trained with the extras `engine` and `router` ({error.name} is missing): make setup."
        ) from error


def _embedder() -> Embedder:
    from models.embedders import build_embedder
    from models.embedders.sentence import SentenceSettings

    return build_embedder(SentenceSettings(kind="sentence"))


def _embedding(embedder: Embedder, cache: Path, *, heard: Callable[[int], None]) -> Callable[[Any], Any]:
    """What turns examples into embedded ones; their vectors are kept."""
    prepare, embedded = _library("prepare").prepare, _library("task_fit").Embedded

    def embed(examples: Any) -> Any:
        texts = tuple(example.text for example in examples)
        with for_owner_alone():
            return embedded(examples, prepare(texts, embedder, cache=cache, heard=heard).sentence)

    return embed


def _make(folder: Path) -> None:
    """Fail now and not behind the last fold."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"No folder can be made at {str(folder)!r}: {error.strerror}.") from error
