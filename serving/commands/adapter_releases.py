"""`penstock adapters promote`, `canary`, `rollback` and `retire`: what serves, and for whom.

Owns the words on the terminal; the rules are `serving/adapters/releases.py`'s.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from benchmarks.calls import Address
from benchmarks.quality.answers import NoAnswer, asking, side_by_side
from benchmarks.quality.questions import Question, file_questions
from models.errors import ConfigurationError, PenstockError
from serving.commands.adapter_calls import AdapterCalls
from serving.commands.options import JsonOption, StateOption
from serving.commands.terminal import err, out, print_json

GOLDEN_CONCURRENCY = 4

NameArgument = Annotated[str, typer.Argument(help="Name of an adapter.", show_default=False)]
VersionOption = Annotated[int, typer.Option(min=1, help="As `penstock adapters show` lists it.", show_default=False)]
AliasOption = Annotated[str | None, typer.Option(help="Public name.", show_default="the adapter's name")]

app = typer.Typer()


@app.command("promote")
def promote(
    name: NameArgument,
    *,
    version: VersionOption,
    alias: AliasOption = None,
    as_json: JsonOption = False,
    state_dir: StateOption = None,
) -> None:
    """Load a version on every replica, then move the alias to it. When this returns, every gateway answers with it."""
    body = {"version": version, "alias": alias}
    _released(AdapterCalls.of(state_dir).ask("POST", name, "promote", body=body), as_json=as_json)


@app.command("load")
def load(
    name: NameArgument,
    *,
    version: VersionOption,
    warm_s: Annotated[float, typer.Option(min=1, max=86_400, help="How long it stays, unless it is released.")] = 600.0,
    as_json: JsonOption = False,
    state_dir: StateOption = None,
) -> None:
    """Load a version on every replica to be called by its own name; what is live stays as it is."""
    body = {"version": version, "warm_s": warm_s}
    made = AdapterCalls.of(state_dir).ask("POST", name, "load", body=body)
    if as_json:
        print_json(made)
    else:
        err().print(f"Version {version} of {name} is on {len(made['replicas'])} replica(s). Call it as:", markup=False)
        out().print(made["model"], markup=False)


@app.command("canary")
def canary(
    name: NameArgument,
    *,
    version: VersionOption,
    weight: Annotated[float, typer.Option(min=0, max=99, help="Percent of sessions, users or keys.")] = 10.0,
    alias: AliasOption = None,
    max_error_rate: Annotated[float | None, typer.Option(help="Failures in a call more than live.")] = None,
    max_latency_ratio: Annotated[float | None, typer.Option(help="Median latency over that of live.")] = None,
    max_score_loss: Annotated[float | None, typer.Option(help="Right answers on --golden less than live.")] = None,
    min_calls: Annotated[int | None, typer.Option(min=10, help="Calls of each side before it is judged.")] = None,
    golden: Annotated[
        Path | None, typer.Option(help="JSON lines with `prompt` and `answer`: asked of both versions, and judged.")
    ] = None,
    grade: Annotated[str, typer.Option(help="Of --golden: exact, contains or f1.")] = "exact",
    as_json: JsonOption = False,
    state_dir: StateOption = None,
) -> None:
    """Let a part of the callers try a version. It goes back by itself when it is worse beyond the bounds."""
    calls = AdapterCalls.of(state_dir)
    questions = None if golden is None else file_questions(golden, grade)
    bounds = {
        "error_rate": max_error_rate,
        "latency_ratio": max_latency_ratio,
        "score": max_score_loss,
        "min_calls": min_calls,
    }
    given = {key: value for key, value in bounds.items() if value is not None}
    body = {"version": version, "weight": weight, "alias": alias, "bounds": given or None}
    made = calls.ask("POST", name, "canary", body=body)
    scores = {}
    if golden is not None and questions is not None:
        for target in made["targets"]:
            scores[str(target["version"])] = _scored(
                calls, name, version=target["version"], questions=questions, suite=golden.name
            )
    _released({**made, "scores": scores}, as_json=as_json)


@app.command("rollback")
def rollback(
    name: NameArgument, *, alias: AliasOption = None, as_json: JsonOption = False, state_dir: StateOption = None
) -> None:
    """End a canary, or else go back to the version before: at once while it is warm."""
    _released(AdapterCalls.of(state_dir).ask("POST", name, "rollback", body={"alias": alias}), as_json=as_json)


@app.command("retire")
def retire(name: NameArgument, *, as_json: JsonOption = False, state_dir: StateOption = None) -> None:
    """Take an adapter's aliases away; its versions are unloaded when their last calls have ended."""
    found = AdapterCalls.of(state_dir).ask("POST", name, "retire", body={})
    if as_json:
        print_json(found)
    else:
        out().print(f"{name} has no alias any more.", markup=False)


def _released(made: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(made)
    else:
        targets = ", ".join(f"version {one['version']} at {one['weight']:g} %" for one in made["targets"])
        replicas = len(made["replicas"])
        on = f", loaded on {replicas} replica{'s' if replicas != 1 else ''}" if replicas else ""
        out().print(f"{made['alias']}: {targets}{on}.", markup=False)
        for version, score in made.get("scores", {}).items():
            out().print(f"version {version}: {score['passed']} of {score['count']} right.", markup=False)
    if made["waiting"]:
        raise PenstockError(
            f"{len(made['waiting'])} of the gateways have not confirmed it within 15 s: {', '.join(made['waiting'])}."
        )


def _scored(calls: AdapterCalls, name: str, *, version: int, questions: list[Question], suite: str) -> dict[str, Any]:
    """Ask one version every question of a suite, and give the stack the score."""
    model = calls.ask("GET", name, "versions", str(version))["model"]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    grades: list[float] = []
    with Progress(*columns, console=err()) as progress:
        task = progress.add_task(f"version {version}", total=len(questions))

        async def go() -> None:
            address = Address(calls.target.url, "", calls.target.key)
            async with asking(address, max_tokens=256) as asker:

                async def one(question: Question) -> None:
                    try:
                        grades.append(question.grade((await asker.ask(model, question.prompt)).text))
                    except NoAnswer:
                        grades.append(0.0)
                    progress.advance(task)

                await side_by_side(questions, one, concurrency=GOLDEN_CONCURRENCY)

        asyncio.run(go())
    if not grades:
        raise ConfigurationError("The file of --golden holds no question.")
    score = {"suite": suite[:64], "passed": sum(grade >= 1 for grade in grades), "count": len(grades)}
    calls.ask("POST", name, "versions", str(version), "scores", body=score)
    return score
