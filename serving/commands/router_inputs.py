"""What the commands that train and judge a router have in common: their options, labelled prompts and their features.

Loads `router/training` and the embedder when a command asks for them, so that the command line starts without the extra
`router`. Owns no command.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from models.catalog import ModelStore
from models.errors import ConfigurationError
from models.privacy import for_owner_alone, private_folder
from router.manifest import PolicyName
from router.policies import ClassifierSettings, classifier_of
from serving.commands.interruption import interruptible
from serving.commands.options import environment, profile_of
from serving.commands.terminal import err
from serving.settings import load_settings
from serving.state import StateDir

if TYPE_CHECKING:
    from models.embedders import Embedder
    from router.model import Prompts

DataOption = Annotated[
    list[Path], typer.Option("--data", help="Labelled prompts, JSON lines; give it again for more.", show_default=False)
]
WeakOption = Annotated[str | None, typer.Option(help="Small tier's name in `scores`, where the lines have scores.")]
StrongOption = Annotated[str | None, typer.Option(help="Large tier's name in `scores`.")]
GroupOption = Annotated[
    str | None, typer.Option(help="Field whose groups stay whole: held out, and drawn for intervals.")
]
SeedOption = Annotated[int, typer.Option(min=0, help="Of the folds, the draws and the intervals.")]
RoundsOption = Annotated[int, typer.Option(min=1, max=10_000, help="Trees in each half of a forest.")]
RouterOption = Annotated[Path, typer.Option("--router", help="Folder of a trained model.", show_default=False)]
PolicyOption = Annotated[
    PolicyName, typer.Option(help="Whose scores: what the model learned, or its nearest labelled prompts (knn).")
]
Bar = Callable[[str, int], Callable[[int], None]]
"""Begins a bar of a name and a length, and gives what moves it."""


def library(name: str) -> ModuleType:
    """A module of `router`; `ConfigurationError` where its libraries are not installed."""
    try:
        return import_module(f"router.{name}")
    except ImportError as error:
        raise ConfigurationError(
            f"A learned router needs the extras `engine`, `router` and `bench` ({error.name} is missing): make setup."
        ) from error


def embedder_of(state: StateDir) -> Embedder:
    """The embedder that the stack's classifier has by its profile; without one, that of the extra `router`.

    Makes the state folder, where a pulled model and the vectors lie.
    """
    from models.catalog.pull import Puller, access_of
    from models.embedders import build_embedder

    classifier = classifier_of(load_settings(profile_of(None, state)).router) or ClassifierSettings()
    state.create()
    puller = Puller(ModelStore(state.models), access_of(environment()), wait=True)
    return build_embedder(classifier.embedder.model_copy(update={"threads": None}), puller=puller)


def make_folder(folder: Path) -> None:
    """Make the folder, for its owner alone, and see that it can be written: fail now and not behind the last fold."""
    try:
        private_folder(folder)
    except OSError as error:
        raise ConfigurationError(f"No folder can be made at {str(folder)!r}: {error.strerror}.") from error
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ConfigurationError(
            f"The folder {str(folder)!r} cannot be written: {error.strerror}. Name another one."
        ) from error


def labelled_prompts(files: list[Path], *, weak: str | None, strong: str | None, group: str | None) -> Any:
    """A `Labelled`, read and checked."""
    data = library("training.data")
    return data.read_labelled(files, data.Columns(weak, strong, group))


def features(texts: tuple[str, ...], embedder: Embedder, *, bar: Bar, cache: Path) -> Prompts:
    """What a router sees of these texts; embedded once, then kept in the folder `cache`."""
    done = bar("embedding", len(texts))
    with for_owner_alone():
        found: Prompts = library("training.prepare").prepare(texts, embedder, cache=cache, heard=done)
    return found


@contextmanager
def bars() -> Iterator[Bar]:
    """Progress on stderr."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with interruptible(), Progress(*columns, console=err()) as progress:

        def begin(name: str, total: int) -> Callable[[int], None]:
            task = progress.add_task(name, total=total)
            return lambda more: progress.advance(task, more)

        yield begin


def warn(sentences: Iterable[str]) -> None:
    """One yellow line on stderr for each."""
    for sentence in sentences:
        err().print(f"Warning: {sentence}", style="yellow", markup=False)
