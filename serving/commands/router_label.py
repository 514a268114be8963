"""`penstock router label`: prompts to both tiers of a running stack, graded, as lines that `router train` reads.

Owns options and what is printed. What is asked comes from `benchmarks/quality/questions.py` and `serving/opinions.py`;
how it is asked, graded and written is in `benchmarks/quality/labels.py`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks.calls import Address
from benchmarks.quality.answers import asking, tiers_of
from benchmarks.quality.labels import LabelFile, Labeller, Pair, Tally
from benchmarks.quality.questions import DemoDraw, Question, demo_questions, file_questions
from models.clock import SystemClock
from models.demo.evaluate import MAX_TOKENS
from models.demo.families import FAMILIES, Split
from models.errors import ConfigurationError, NotFound, PenstockError
from serving.commands.interruption import INTERRUPTED, interruptible
from serving.commands.options import JsonOption, StateOption, environment, finite, span_s, state_of
from serving.commands.target import store_url_of, target_of
from serving.commands.terminal import err, out, print_json
from serving.opinions import questions_of
from serving.settings import load_settings
from serving.state import StateDir
from serving.store.store import Store

app = typer.Typer()


@dataclass(slots=True)
class _Report:
    """What is printed: of this run, and of the whole file."""

    file: Path
    pair: Pair
    tally: Tally = field(default_factory=Tally)
    kinds: dict[str, Any] = field(default_factory=dict)
    unused: Counter[str] = field(default_factory=Counter)
    stopped: str | None = None

    def as_json(self) -> dict[str, Any]:
        """As `--json` prints it; qualities are means, 0…1."""
        kinds = {
            name: {"prompts": one.prompts, "small": one.small / one.prompts, "large": one.large / one.prompts}
            for name, one in sorted(self.kinds.items())
        }
        models = {"small": self.pair.small, "large": self.pair.large}
        more = {"unused": dict(self.unused), "stopped": self.stopped}
        return {"file": str(self.file), "models": models, **self.tally.as_json(), **more, "kinds": kinds}

    def sentences(self) -> Iterator[str]:
        """For people."""
        tally = self.tally
        yield f"{tally.labelled:,} prompts are labelled in {self.file}; {tally.skipped:,} were before."
        if tally.failed:
            reasons = ", ".join(f"{count:,} × {reason}" for reason, count in tally.failed.most_common())
            yield f"{tally.failed.total():,} got no answer and no label ({reasons}). The same command asks them again."
        if tally.cut:
            yield f"{tally.cut:,} answers were cut at the length limit and graded as they are: --max-tokens."
        if self.unused:
            reasons = ", ".join(f"{count:,} × {reason}" for reason, count in self.unused.most_common())
            yield f"{self.unused.total():,} rated answers make no label: {reasons}."
        if self.stopped is not None:
            yield f"Not complete: {self.stopped}."


@app.command("label")
def label(
    to: Annotated[Path, typer.Option("--out", help="File that gets the lines; they are added.", show_default=False)],
    *,
    demo: Annotated[int | None, typer.Option(min=1, help="So many prompts of the demo tiers' families.")] = None,
    data: Annotated[Path | None, typer.Option(help="JSON lines with `prompt` and `answer`.")] = None,
    records: Annotated[
        bool, typer.Option("--records", help="Rated answers of the stack whose texts were kept.")
    ] = False,
    split: Annotated[Split, typer.Option(help="Wordings and values of --demo.")] = Split.TRAIN,
    easy_share: Annotated[
        float | None,
        typer.Option(min=0, max=1, callback=finite, help="Part of --demo that is easy.", show_default="families alike"),
    ] = None,
    family: Annotated[list[str] | None, typer.Option(help="Of --demo; again for more.", show_default="all")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw of --demo.")] = 1,
    grade: Annotated[
        str | None, typer.Option(help="exact, contains or f1.", show_default="--data: exact, --records: f1")
    ] = None,
    since: Annotated[str, typer.Option(help="--records: begin so long ago.")] = "30d",
    org: Annotated[str | None, typer.Option(help="--records: of this org alone.", show_default="all")] = None,
    small: Annotated[str | None, typer.Option(help="Card of the small tier.", show_default="the stack's")] = None,
    large: Annotated[str | None, typer.Option(help="Card of the large tier.", show_default="the stack's")] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest answer.", show_default="--demo: 64, else 512")
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=256, help="Prompts at a time; each is two calls.")] = 8,
    as_json: JsonOption = False,
    state_dir: StateOption = None,
) -> None:
    """Ask both tiers the same prompts, grade the answers, and write what `penstock router train` learns from.

    Ctrl-C keeps what is labelled; the same command goes on from there.
    """
    if [demo is None, data is None, not records].count(False) != 1:
        raise ConfigurationError("Name one source of prompts: --demo N, --data FILE or --records.")
    state = state_of(state_dir)
    address, pair = _stack(state, Pair(small or "", large or ""))
    report, longest = _Report(to, pair), max_tokens or (512 if demo is None else MAX_TOKENS)
    if demo is not None:
        questions = demo_questions(DemoDraw(demo, split, easy_share, seed, tuple(family or FAMILIES)))
    elif data is not None:
        questions = file_questions(data, grade or "exact")
    else:
        span = span_s(since, option="since")
        questions = _rated(state, report, span=span, org=org, grade=grade or "f1")
    _run(questions, report, address=address, max_tokens=longest, concurrency=concurrency)
    if as_json:
        print_json(report.as_json())
    else:
        _show(report)
    if report.stopped is not None:
        raise typer.Exit(INTERRUPTED if report.stopped == "interrupted" else 1)


def _stack(state: StateDir, named: Pair) -> tuple[Address, Pair]:
    """Where the stack is, and who its tiers are: as named, by its profile, or by its list of models."""
    target = target_of(state, environment())
    address = Address(target.url, "", target.key)
    if all(named):
        return address, named
    if environment().get("PENSTOCK_URL"):
        tiers = asyncio.run(tiers_of(address))
    else:
        settings = load_settings(state.running().profile).tiers
        tiers = {"small": settings.small, "large": settings.large}
    small, large = named.small or tiers.get("small"), named.large or tiers.get("large")
    if not small or not large:
        raise ConfigurationError(f"{target.url} does not list one card per tier. Name them: --small CARD --large CARD.")
    return address, Pair(small, large)


def _rated(state: StateDir, report: _Report, *, span: float, org: str | None, grade: str) -> list[Question]:
    if environment().get("PENSTOCK_URL"):
        raise ConfigurationError("Records are read only where the store is: without PENSTOCK_URL.")
    now = SystemClock().now()

    async def read() -> list[Question]:
        async with (
            Store.open(store_url_of(state)) as store,
            aclosing(store.feedback.rated(now - span, now, org=org)) as rated,
        ):
            found = await questions_of(rated, report.pair, grade=grade)
        report.unused = found.unused
        return found.questions

    questions = asyncio.run(read())
    if not questions:
        why = f" {report.unused.total():,} make none." if report.unused else ""
        raise NotFound(
            f"No rated answer with its texts makes a label.{why} Texts are kept for orgs that opted in"
            " (`penstock keys keep-text ORG`); opinions come to POST /v1/feedback."
        )
    return questions


def _run(questions: list[Question], report: _Report, *, address: Address, max_tokens: int, concurrency: int) -> None:
    """Label them all, or as many as an interruption or a failing stack lets through; both are told, not raised."""
    models = " and ".join(report.pair)
    err().print(f"Asking {models} at {address.url}: {len(questions):,} prompts.", style="dim", markup=False)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with _labels(report) as file, interruptible(), Progress(*columns, console=err()) as progress:
        task = progress.add_task("labelling", total=len(questions))

        async def go() -> None:
            async with asking(address, max_tokens=max_tokens) as asker:
                labeller = Labeller(asker, report.pair, file=file)
                report.tally = labeller.tally
                await labeller.label(questions, concurrency=concurrency, heard=lambda: progress.advance(task))

        try:
            asyncio.run(go())
        except KeyboardInterrupt:
            report.stopped = "interrupted"
        except PenstockError as error:
            if not report.tally.labelled:
                raise
            report.stopped = error.public.rstrip(".")


@contextmanager
def _labels(report: _Report) -> Iterator[LabelFile]:
    """The file of the labels; one that was made for nothing goes again."""
    with LabelFile.open(report.file, report.pair) as file:
        report.kinds = file.kinds
        try:
            yield file
        finally:
            if not file.kinds:
                report.file.unlink()


def _show(report: _Report) -> None:
    table = Table("prompts of", "prompts", f"{report.pair.small} right", f"{report.pair.large} right", box=None)
    for name, one in report.as_json()["kinds"].items():
        table.add_row(name, f"{one['prompts']:,}", f"{one['small']:.1%}", f"{one['large']:.1%}")
    out().print(table)
    for sentence in report.sentences():
        err().print(sentence, markup=False)
    if report.stopped is None:
        err().print(f"Learn from them: penstock router train --data {report.file} --out my-router", markup=False)
