"""`penstock router train`, `evaluate` and `calibrate`: a model from labelled prompts, and how good it is on others.

Local: asks no stack. What is done is in `router/training`, which needs the extra `router` and is imported when a
command runs. Owns options and what is printed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.origin import origin
from models.errors import ConfigurationError
from serving.commands.interruption import interruptible
from serving.commands.options import JsonOption, StateOption, state_of
from serving.commands.terminal import err, out, print_json

if TYPE_CHECKING:
    from models.embedders import Embedder
    from router.model import Prompts, RouterModel

DataOption = Annotated[
    list[Path], typer.Option("--data", help="Labelled prompts, JSON lines; give it again for more.", show_default=False)
]
WeakOption = Annotated[str | None, typer.Option(help="Small tier's name in `scores`, where the lines have scores.")]
StrongOption = Annotated[str | None, typer.Option(help="Large tier's name in `scores`.")]
GroupOption = Annotated[str | None, typer.Option(help="Field whose groups are held out as a whole.")]
SeedOption = Annotated[int, typer.Option(min=0, help="Of the folds, the draws and the intervals.")]
RoundsOption = Annotated[int, typer.Option(min=1, max=10_000, help="Trees in each half of a forest.")]
RouterOption = Annotated[Path, typer.Option("--router", help="Folder of a trained model.", show_default=False)]

app = typer.Typer()


@app.command("train")
def train(
    data: DataOption,
    to: Annotated[Path, typer.Option("--out", help="Folder of the model; made when missing.", show_default=False)],
    *,
    weak: WeakOption = None,
    strong: StrongOption = None,
    seed: SeedOption = 0,
    rounds: RoundsOption = 400,
    as_json: JsonOption = False,
    state_dir: StateOption = None,
) -> None:
    """Train a router on labelled prompts; minutes for the embeddings the first time, then seconds."""
    library = _library("training.fit")
    labelled = _labelled(data, weak=weak, strong=strong, group=None)
    _make(to)
    embedder = _embedder()
    with _bars() as bar:
        prompts = _prompts(labelled.prompts, embedder, bar=bar, cache=state_of(state_dir).path / "embeddings")
        step = bar("training", _library("training.folds").FOLDS + 1)
        recipe = library.Recipe(
            embedder.id, embedder.depths, embedder.max_tokens, seed=seed, rounds=rounds, heard=lambda: step(1)
        )
        try:
            trained = library.train(prompts, labelled, recipe=recipe)
        except ValueError as error:
            raise ConfigurationError(f"A router cannot be trained on this data: {error}.") from error
    written = trained.model.write(to)
    said = {"router": str(to), **written.model_dump(exclude={"quantiles"})}
    if as_json:
        print_json(said)
    else:
        out().print(f"Trained on {len(labelled):,} prompts: {to}", markup=False)
        out().print(f"How good it is: penstock router evaluate --router {to} --data OTHER.jsonl", markup=False)


@app.command("evaluate")
def evaluate(
    data: DataOption,
    *,
    router: Annotated[
        Path | None, typer.Option(help="Folder of a trained model.", show_default="5-fold cross-validation")
    ] = None,
    weak: WeakOption = None,
    strong: StrongOption = None,
    group: GroupOption = None,
    seed: SeedOption = 0,
    rounds: RoundsOption = 400,
    to: Annotated[Path | None, typer.Option("--out", help="Folder for the report: JSON, Markdown, pictures.")] = None,
    as_json: JsonOption = False,
    state_dir: StateOption = None,
) -> None:
    """Measure a router on labelled prompts: a trained one on data that it has not seen, or the recipe fold by fold."""
    library, report, started = _library("training.assess"), _library("training.report"), time.time()
    model = None if router is None else _library("model").read_model(router)
    labelled = _labelled(data, weak=weak, strong=strong, group=group)
    if to is not None:
        _make(to)
    embedder = _embedder()
    with _bars() as bar:
        prompts = _prompts(labelled.prompts, embedder, bar=bar, cache=state_of(state_dir).path / "embeddings")
        try:
            if model is not None:
                _require_embedder(model, embedder)
                found = library.judge(model, prompts, labelled=labelled, seed=seed)
            else:
                step = bar("training", library.STEPS)
                recipe = _library("training.fit").Recipe(
                    embedder.id, embedder.depths, embedder.max_tokens, seed=seed, rounds=rounds, heard=lambda: step(1)
                )
                found = library.crossvalidate(prompts, labelled, recipe=recipe)
        except ValueError as error:
            raise ConfigurationError(f"This data cannot be used to judge a router: {error}.") from error
    if to is not None:
        config: dict[str, object] = {
            "data": [file.name for file in data],
            "embedder": embedder.id,
            "weak": weak,
            "strong": strong,
        }
        config |= {"group": group, "data_digest": found.data_digest}
        config |= {"rounds": rounds} if model is None else {"router": model.manifest.weights_digest}
        report.write_report(found, to)
        beside = origin(config=config, seeds=[seed], counts={"prompts": found.prompts}, started=started)
        (to / "origin.json").write_text(json.dumps(beside, indent=1) + "\n")
    if as_json:
        print_json(report.as_json(found))
    else:
        out().print(report.markdown(found), markup=False)


@app.command("calibrate")
def calibrate(
    router: RouterOption,
    *,
    large_share: Annotated[
        float | None, typer.Option(min=0, max=1, help="Wanted share of calls to the large tier.")
    ] = None,
    quality_floor: Annotated[
        float | None, typer.Option(min=0, max=1, help="Least quality, as a share of always-large's; needs --data.")
    ] = None,
    cost_ceiling: Annotated[
        float | None, typer.Option(min=0, help="Most cost, as a share of always-large's; needs --small-price.")
    ] = None,
    small_price: Annotated[
        float | None, typer.Option(min=0, max=1, help="A small call's price, as a share of a large one's.")
    ] = None,
    data: Annotated[list[Path] | None, typer.Option("--data", help="Labelled prompts that it has not seen.")] = None,
    weak: WeakOption = None,
    strong: StrongOption = None,
    as_json: JsonOption = False,
    state_dir: StateOption = None,
) -> None:
    """Turn a target into the threshold that is kept with the model: a share, a quality floor or a cost ceiling."""
    library = _library("training.calibrate")
    if [large_share, quality_floor, cost_ceiling].count(None) != 2:
        raise ConfigurationError("Name one target: --large-share, --quality-floor or --cost-ceiling.")
    model = _library("model").read_model(router)
    if large_share is not None:
        found = library.for_share(model, large_share)
    elif cost_ceiling is not None:
        if small_price is None:
            raise ConfigurationError("A cost ceiling needs the small tier's price: --small-price 0.1.")
        found = library.for_cost(model, cost_ceiling, small_price=small_price)
    else:
        if not data:
            raise ConfigurationError("A quality floor is found on labelled prompts: --data FILE.")
        labelled = _labelled(data, weak=weak, strong=strong, group=None)
        embedder = _embedder()
        _require_embedder(model, embedder)
        with _bars() as bar:
            prompts = _prompts(labelled.prompts, embedder, bar=bar, cache=state_of(state_dir).path / "embeddings")
        found = library.for_quality(model, quality_floor, seen=(prompts, labelled))
    library.with_threshold(model, found.threshold).write(router)
    if as_json:
        print_json(library.as_json(found))
    else:
        out().print(library.markdown(found), markup=False)


def _library(name: str) -> ModuleType:
    try:
        return import_module(f"router.{name}")
    except ImportError as error:
        raise ConfigurationError(
            f"A learned router needs the extras `engine`, `router` and `bench` ({error.name} is missing): make setup."
        ) from error


def _embedder() -> Embedder:
    from models.embedders import build_embedder
    from models.embedders.sentence import SentenceSettings

    return build_embedder(SentenceSettings(kind="sentence"))


def _make(folder: Path) -> None:
    """Fail now and not behind the last fold."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"No folder can be made at {str(folder)!r}: {error.strerror}.") from error


def _labelled(files: list[Path], *, weak: str | None, strong: str | None, group: str | None) -> Any:
    library = _library("training.data")
    return library.read_labelled(files, library.Columns(weak, strong, group))


def _require_embedder(model: RouterModel, embedder: Embedder) -> None:
    manifest = model.manifest
    if (manifest.embedder, manifest.depths, manifest.max_tokens) != (
        embedder.id,
        embedder.depths,
        embedder.max_tokens,
    ):
        raise ConfigurationError(
            f"The router was trained with embedder {manifest.embedder} at depths {manifest.depths} and"
            f" {manifest.max_tokens} tokens; here it is {embedder.id} at {embedder.depths} and {embedder.max_tokens}."
        )


Bar = Callable[[str, int], Callable[[int], None]]


def _prompts(texts: tuple[str, ...], embedder: Embedder, *, bar: Bar, cache: Path) -> Prompts:
    done = bar("embedding", len(texts))
    found: Prompts = _library("training.prepare").prepare(texts, embedder, cache=cache, heard=done)
    return found


@contextmanager
def _bars() -> Iterator[Bar]:
    """Progress on stderr; gives what begins a bar, which gives what moves it."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with interruptible(), Progress(*columns, console=err()) as progress:

        def begin(name: str, total: int) -> Callable[[int], None]:
            task = progress.add_task(name, total=total)
            return lambda more: progress.advance(task, more)

        yield begin
