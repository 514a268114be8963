"""`penstock data`: training files, before they are uploaded. What is looked for: `finetune/data/survey.py`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from finetune.data.check import Heard, Limits
from finetune.data.report import STATED, Estimate, as_json, sentences
from finetune.data.survey import Finder, Survey, Wanted, survey
from models.catalog import Catalog, ModelStore
from models.errors import ConfigurationError, PenstockError
from serving.commands.data_records import app as from_records
from serving.commands.options import JsonOption, ProfileOption, StateOption, finite, profile_of, state_of
from serving.commands.target import store_url_of
from serving.commands.terminal import err, out, print_json, print_problem
from serving.settings import load_settings
from serving.store.store import Store

SHOW_FROM_BYTES = 2**20

app = typer.Typer(help="Training files: what they hold and teach.", no_args_is_help=True)
app.add_typer(from_records)


@app.callback()
def data() -> None:
    """Training files: what they hold and teach."""


@app.command("check")
def check(
    file: Annotated[Path, typer.Argument(help="JSON lines.", exists=True, dir_okay=False, show_default=False)],
    *,
    model: Annotated[str | None, typer.Option(help="Count its tokens; id of a card.")] = None,
    max_length: Annotated[
        int | None, typer.Option(min=2, help="Cut examples at so many tokens.", show_default="the card's context")
    ] = None,
    golden: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Look for this golden set's questions.")
    ] = None,
    least: Annotated[int, typer.Option(min=1, help="Fewest examples.")] = Limits().least,
    epochs: Annotated[int, typer.Option(min=1, max=100, help="Passes to estimate.")] = 1,
    tokens_per_s: Annotated[
        float | None,
        typer.Option(min=0.001, callback=finite, help="Speed to estimate by.", show_default="the last training's"),
    ] = None,
    private: Annotated[bool, typer.Option(help="Look for secrets and personal data.")] = True,
    plot: Annotated[Path | None, typer.Option(help="Draw the lengths into this PNG.")] = None,
    as_json_object: JsonOption = False,
    profile: ProfileOption = None,
    state_dir: StateOption = None,
) -> None:
    """Check a training file: its lines, lengths, duplicates, leaks, secrets, and what training on it would take.

    Exit code 1 when a training would refuse it; the first 20 bad lines are told.
    """
    if plot is not None and model is None:
        raise ConfigurationError("--plot draws lengths in tokens: name the card with --model.")
    folder, longest = (None, max_length or 2) if model is None else _model(model, max_length, state_dir=state_dir)
    wanted = Wanted(folder, longest, golden, _finder() if private else None, Limits(least=least))
    with _progress(file) as heard:
        found = survey(file, wanted, heard=heard)
    estimate = None
    if found.counted is not None:
        assert model is not None
        price = load_settings(profile_of(profile, state_of(state_dir))).fine_tuning.usd_per_million_tokens
        known = STATED
        if tokens_per_s is None:
            tokens_per_s = asyncio.run(_speed(model, state_dir=state_dir))
            known = f"as the last training of {model!r} here had"
        estimate = Estimate.of(
            found.counted.tokens, epochs, usd_per_million=price, tokens_per_s=tokens_per_s, known=known
        )
    if plot is not None:
        _draw(found, plot, longest=longest)
    _show(found, estimate, as_json_object=as_json_object)
    if not found.valid:
        raise typer.Exit(1)


def _show(found: Survey, estimate: Estimate | None, *, as_json_object: bool) -> None:
    if as_json_object:
        print_json(as_json(found, estimate))
        return
    for sentence in sentences(found, estimate):
        out().print(sentence, markup=False)
    if not found.valid:
        print_problem("The file is not valid: no training would take it.")


def _model(card_id: str, max_length: int | None, *, state_dir: Path | None) -> tuple[Path, int]:
    """The model's folder, and where its examples are cut."""
    state = state_of(state_dir)
    card = Catalog.load(state.cards).card(card_id)
    folder = ModelStore(state.models).find(card)
    if folder is None:
        raise ConfigurationError(f"Model {card_id!r} is not here: penstock models pull {card_id}.")
    if max_length is not None and max_length > card.context:
        raise ConfigurationError(
            f"Model {card_id!r} reads {card.context:,} tokens at most: --max-length asks for more."
        )
    return folder, max_length or card.context


async def _speed(model: str, *, state_dir: Path | None) -> float | None:
    """Of the stack's own trainings; None where there were none, or nobody can say."""
    try:
        async with Store.open(store_url_of(state_of(state_dir))) as store:
            return await store.jobs.speed(model)
    except PenstockError:  # no stack, or no store of it: the survey is worth telling without
        return None


def _finder() -> Finder:
    """The libraries that find things are an extra of their own."""
    try:
        finder: Finder = import_module("finetune.data.private").found
        finder("")
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"Secrets are found with the extra `guard` ({error.name} is missing): make setup, or say --no-private."
        ) from error
    return finder


def _draw(found: Survey, plot: Path, *, longest: int) -> None:
    try:
        picture = import_module("finetune.data.picture")
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "A picture is drawn with matplotlib: install the extra 'bench' of penstock.", detail=error.name
        ) from error
    picture.draw(found.lengths, plot, max_length=longest)


@contextmanager
def _progress(file: Path) -> Iterator[Heard | None]:
    """A bar for long files, where somebody looks."""
    console, size = err(), file.stat().st_size
    if size < SHOW_FROM_BYTES or not console.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("reading", total=size)
        yield lambda done: progress.update(task, completed=done)
