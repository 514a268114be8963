"""`penstock data from-records`: a training file from rated answers. Owns the options and what is printed.

Reads the store itself, as `penstock records export` does: no route of the gateway hands out texts. Which answers teach
something is `finetune/data/from_records.py`.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any

import typer

from finetune.data.from_records import OPTED_OUT, Taken, Taking, Wanted, Written, examples_of
from models.clock import SystemClock
from models.errors import ConfigurationError, InvalidRequest, NotFound
from serving.commands.options import JsonOption, StateOption, environment, span_s, state_of
from serving.commands.target import store_url_of
from serving.commands.terminal import err, print_json
from serving.store.store import Store
from serving.store.training_rows import Selection

app = typer.Typer()


@app.command("from-records")
def from_records(
    *,
    feedback: Annotated[Wanted, typer.Option(help="Opinions on the answers to take.")] = "any",
    since: Annotated[str, typer.Option(help="Begin so long ago, such as 30m, 12h or 7d.")] = "7d",
    until: Annotated[str | None, typer.Option(help="End so long ago.", show_default="now")] = None,
    org: Annotated[str | None, typer.Option(help="Of one org.", show_default="every org that keeps texts")] = None,
    model: Annotated[str | None, typer.Option(help="By one card or adapter.", show_default="all")] = None,
    feature: Annotated[str | None, typer.Option(help="Of one feature.", show_default="all")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="The newest so many.", show_default="all")] = None,
    form: Annotated[Written, typer.Option("--format", help="What the examples teach.")] = "chat",
    to: Annotated[Path | None, typer.Option("--out", help="A new file.", show_default="stdout")] = None,
    redact: Annotated[bool, typer.Option("--redact/--no-redact", help="Take secrets and personal data out.")] = True,
    i_know: Annotated[bool, typer.Option("--i-know", help="With --no-redact: they may be trained and told.")] = False,
    as_json: JsonOption = False,
    state_dir: StateOption = None,
) -> None:
    """Make a training file of answers that users rated or corrected, in orgs that keep texts.

    A correction is the answer to learn, else one rated up is. The newest answer to a prompt counts.
    """
    if environment().get("PENSTOCK_URL"):
        raise ConfigurationError("Records are read only where the store is: without PENSTOCK_URL.")
    if not redact and not i_know:
        raise ConfigurationError(
            "--no-redact leaves secrets and personal data in the file, and a model can tell what it learned: "
            "say --i-know as well."
        )
    if as_json and to is None:
        raise ConfigurationError("--json prints counts on stdout: say with --out where the lines go.")
    if to is not None and to.exists():
        raise ConfigurationError(f"{str(to)!r} is there already: --out names a new file.")
    now = SystemClock().now()
    selection = Selection(
        begin=now - span_s(since, option="since"),
        end=now - (0.0 if until is None else span_s(until, option="until")),
        org=org,
        model=model,
        feature=feature,
    )
    if selection.begin >= selection.end:
        raise InvalidRequest("--since must lie before --until: both count back from now.", param="since")
    taking = Taking(feedback=feedback, format=form, limit=limit, redact=redact)
    with err().status("reading"):
        taken = asyncio.run(_take(selection, taking, url=store_url_of(state_of(state_dir))))
    _write(taken, to, as_json=as_json, taking=taking)


async def _take(selection: Selection, taking: Taking, *, url: str) -> Taken:
    """Everything is read before anything is written: a part would pass for the whole."""
    async with Store.open(url) as store, aclosing(store.training.rated(selection)) as calls:
        return await examples_of(calls, taking)


def _write(taken: Taken, to: Path | None, *, as_json: bool, taking: Taking) -> None:
    if not taken.lines:
        raise NotFound(f"No rated answer of this span makes an example.{_left_out(taken)}{_advice(taken)}")
    if to is None:
        sys.stdout.write(b"".join(taken.lines).decode())
        sys.stdout.flush()
    else:
        with to.open("xb") as file:
            file.writelines(taken.lines)
    if as_json:
        print_json(_facts(taken, to, taking=taking))
        return
    place = "" if to is None else f" in {str(to)!r}"
    err().print(
        f"{len(taken.lines):,} {taking.format} examples{place}, {taken.corrected:,} of them with a correction."
        f"{_left_out(taken)}{_marks(taken)}",
        markup=False,
        soft_wrap=True,
    )


def _facts(taken: Taken, to: Path | None, *, taking: Taking) -> dict[str, Any]:
    return {
        "file": None if to is None else str(to),
        "format": taking.format,
        "examples": len(taken.lines),
        "corrected": taken.corrected,
        "redacted": dict(sorted(taken.marks.items())) if taking.redact else None,
        "left_out": dict(taken.left_out.most_common()),
    }


def _left_out(taken: Taken) -> str:
    if not taken.left_out:
        return ""
    reasons = "; ".join(f"{count:,} × {reason}" for reason, count in taken.left_out.most_common())
    return f" {taken.left_out.total():,} rated answers are left out: {reasons}."


def _marks(taken: Taken) -> str:
    if not taken.marks:
        return ""
    kinds = ", ".join(f"{count:,} × {kind}" for kind, count in sorted(taken.marks.items()))
    return f" Taken out of the texts: {kinds}."


def _advice(taken: Taken) -> str:
    if taken.left_out.keys() - {OPTED_OUT}:
        return ""
    return (
        " Texts are kept for orgs that opted in (`penstock keys keep-text ORG`), opinions come to POST /v1/feedback, "
        "and a longer span is set with --since."
    )
