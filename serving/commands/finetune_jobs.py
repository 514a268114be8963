"""`penstock finetune jobs`, `show`, `logs`, `report`, `checkpoints`, `cancel`, `pause`, `resume`: of jobs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Column, Table

from finetune.gate.report import markdown
from models.errors import NotFound
from serving.commands.finetune_calls import TuningCalls
from serving.commands.finetune_curve import curve_of, drawn, save_png
from serving.commands.finetune_follow import Follower, stage
from serving.commands.interruption import INTERRUPTED
from serving.commands.options import JsonOption, StateOption
from serving.commands.terminal import err, out, print_json, print_table, write

app = typer.Typer(no_args_is_help=True)

JobArgument = Annotated[str, typer.Argument(help="Id of a job, such as ftjob-1a2b.", show_default=False)]


@app.command("jobs")
def list_jobs(
    *,
    most: Annotated[int, typer.Option("--most", min=1, help="At most so many.")] = 50,
    as_json: JsonOption = False,
    state_dir: StateOption = None,
) -> None:
    """The org's jobs, newest first: status, step, place in the queue, model."""
    found = TuningCalls.of(state_dir).jobs(most=most)
    if as_json:
        print_json(found)
        return
    copied = [Column("job", no_wrap=True), Column("model", overflow="fold")]
    table = Table(*copied, "status", Column("made", min_width=len("2026-01-01")), box=None)
    for job in found:
        table.add_row(*map(escape, _row(job)))
    print_table(table, empty="There is no job: `penstock finetune run RECIPE --data FILE` starts one.")


@app.command("show")
def show(
    job: JobArgument,
    *,
    plot: Annotated[Path | None, typer.Option(help="Also draw the loss into this PNG.", show_default=False)] = None,
    as_json: JsonOption = False,
    state_dir: StateOption = None,
) -> None:
    """One job: how far it is, with which numbers, and its loss over the steps."""
    calls = TuningCalls.of(state_dir)
    found = calls.job(job)
    curve = curve_of(calls.events(job)) if plot is not None or not as_json else None
    if plot is not None and curve is not None:
        save_png(curve, plot, title=f"{found['penstock']['adapter']} ({job})")
        err().print(f"The loss is drawn in {plot}.", markup=False)
    if as_json:
        print_json(found)
        return
    for name, value in _facts(found):
        out().print(f"{name}: {value}", markup=False)
    if curve:
        out().print(drawn(curve), markup=False)


@app.command("logs")
def logs(
    job: JobArgument,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends, or Ctrl-C.")] = False,
    as_json: JsonOption = False,
    state_dir: StateOption = None,
) -> None:
    """What happened to a job, oldest first, with the figures of every step."""
    calls = TuningCalls.of(state_dir)
    if as_json:
        print_json(list(calls.events(job)))
        return
    follower = Follower(calls, job, console=out(), figures=True)
    if not follow:
        follower.show_events()
        return
    try:
        follower.follow()
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


@app.command("report")
def report(job: JobArgument, *, as_json: JsonOption = False, state_dir: StateOption = None) -> None:
    """What the gate found, as Markdown."""
    found = TuningCalls.of(state_dir).report(job)
    if found is None:
        raise NotFound(f"There is no report of {job!r}: none is made before a training has ended.")
    print_json(found) if as_json else write(markdown(found))


@app.command("cancel")
def cancel(job: JobArgument, *, as_json: JsonOption = False, state_dir: StateOption = None) -> None:
    """End a job. One that trains ends after its current step."""
    _wished(job, "cancel", as_json=as_json, state_dir=state_dir)


@app.command("pause")
def pause(job: JobArgument, *, as_json: JsonOption = False, state_dir: StateOption = None) -> None:
    """Let a job wait; one that trains keeps what it has learned."""
    _wished(job, "pause", as_json=as_json, state_dir=state_dir)


@app.command("resume")
def resume(job: JobArgument, *, as_json: JsonOption = False, state_dir: StateOption = None) -> None:
    """Let a paused or failed job go on at its last checkpoint."""
    _wished(job, "resume", as_json=as_json, state_dir=state_dir)


@app.command("checkpoints")
def checkpoints(
    job: JobArgument,
    *,
    serve: Annotated[
        int | None, typer.Option(help="Serve the checkpoint of this step, beside whatever is live.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
    state_dir: StateOption = None,
) -> None:
    """What a job has kept on its way: losses by step, and under which model name each can be served."""
    calls = TuningCalls.of(state_dir)
    found = calls.checkpoints(job)
    if serve is not None:
        wanted = next((one for one in found if one["step_number"] == serve), None)
        if wanted is None:
            steps = ", ".join(str(one["step_number"]) for one in found) or "none"
            raise NotFound(f"{job} keeps no checkpoint of step {serve}. Kept: {steps}.")
        calls.serve(job, wanted["id"])
        found = calls.checkpoints(job)
    if as_json:
        print_json(found)
        return
    table = Table("step", "valid loss", "served", Column("model", overflow="fold"), box=None)
    for one in found:
        loss = one["metrics"].get("valid_loss")
        served = "no" if one["penstock"]["adapter_version"] is None else "yes"
        model = escape(one["fine_tuned_model_checkpoint"])
        table.add_row(str(one["step_number"]), "" if loss is None else f"{loss:.4f}", served, model)
    print_table(table, empty=f"{job} keeps no checkpoint.")


def _wished(job: str, wish: str, *, as_json: bool, state_dir: Path | None) -> None:
    found = TuningCalls.of(state_dir).wish(job, wish)
    if as_json:
        print_json(found)
    else:
        err().print(f"{job}: {stage(found)}.", markup=False)


def _row(job: dict[str, Any]) -> list[str]:
    ours = job["penstock"]
    steps = "" if ours["steps"] is None else f" {ours['step']}/{ours['steps']}"
    model = job["fine_tuned_model"] or f"of {job['model']}"
    return [job["id"], model, f"{stage(job)}{steps}", _moment(job["created_at"])]


def _facts(job: dict[str, Any]) -> list[tuple[str, Any]]:
    ours, method = job["penstock"], job["method"]
    numbers = method[method["type"]]["hyperparameters"]
    facts = [
        ("job", job["id"]),
        ("status", stage(job)),
        ("base", job["model"]),
        ("model", job["fine_tuned_model"]),
        ("adapter", _adapter(ours)),
        ("recipe", ours["recipe"]),
        ("training file", job["training_file"]),
        ("validation file", job["validation_file"]),
        ("made", _moment(job["created_at"])),
        ("ended", job["finished_at"] and _moment(job["finished_at"])),
        ("attempt", ours["attempt"] or None),
        ("step", None if ours["steps"] is None else f"{ours['step']} of {ours['steps']}"),
        ("trained tokens", ours["trained_tokens"] and f"{ours['trained_tokens']:,}"),
        ("cost", f"{ours['cost_usd']:g} USD" if ours["cost_usd"] else None),
        ("numbers", ", ".join(f"{name} {value}" for name, value in numbers.items())),
        ("error", job["error"] and job["error"]["message"]),
    ]
    return [(name, value) for name, value in facts if value is not None]


def _adapter(ours: dict[str, Any]) -> str:
    version = ours["adapter_version"]
    return str(ours["adapter"]) if version is None else f"{ours['adapter']} version {version}"


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")
