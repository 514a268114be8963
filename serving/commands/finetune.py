"""`penstock finetune run`: from a recipe and a file to a model, in one command. The others are in `finetune_jobs.py`.

Owns the words on the terminal; the rules are `serving/tuning`'s.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from models.errors import ConfigurationError, PenstockError
from serving.commands.finetune_calls import TuningCalls
from serving.commands.finetune_follow import Follower
from serving.commands.finetune_jobs import app as jobs
from serving.commands.finetune_recipe import left_out, model_of, read_recipe, request_of
from serving.commands.interruption import INTERRUPTED
from serving.commands.options import JsonOption, StateOption
from serving.commands.terminal import err, out, print_json

app = typer.Typer(help="Fine-tune models on your own data.", no_args_is_help=True)
app.add_typer(jobs)


@app.callback()
def finetune() -> None:
    """Fine-tune models on your own data."""


@app.command("run")
def run(
    recipe: Annotated[Path, typer.Argument(help="A recipe's YAML, such as finetune/recipes/lora_sft.yaml.")],
    *,
    data: Annotated[Path, typer.Option(help="Training file, JSON lines; or the id of one.", show_default=False)],
    validation: Annotated[Path | None, typer.Option(help="File whose loss decides which step is kept.")] = None,
    golden: Annotated[
        Path | None, typer.Option(help="Questions that the gate asks; cut from the data unless given.")
    ] = None,
    regression: Annotated[
        Path | None, typer.Option(help="Questions that must not be answered worse than before.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Card to train for.", show_default="the recipe's")] = None,
    suffix: Annotated[str | None, typer.Option(help="Name of the adapter, 1 to 63 of a-z, 0-9, '.', '_', '-'.")] = None,
    auto_promote: Annotated[bool, typer.Option("--auto-promote", help="Make it live if the gate passes it.")] = False,
    canary: Annotated[
        float | None, typer.Option(help="Let so many per cent of the callers try it if the gate passes it.")
    ] = None,
    max_hours: Annotated[float | None, typer.Option(help="Longest training.", show_default="the stack's")] = None,
    max_cost_usd: Annotated[float | None, typer.Option(help="Most that it may cost.", show_default="no limit")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="Such as hyperparameters.n_epochs=3; again for more.")
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Print the job's id and come back at once.")] = False,
    as_json: JsonOption = False,
    state_dir: StateOption = None,
) -> None:
    """Send the files, make a job, follow it, and print the name of the model that came out."""
    found = read_recipe(recipe)
    ours = {"auto_promote": _promotion(auto_promote, canary), "canary_weight": canary}
    ours |= {"max_hours": max_hours, "max_cost_usd": max_cost_usd}
    body = request_of(found, model=model_of(found, model), ours=ours, sets=setting or ())
    if dropped := left_out(found):
        err().print(f"The stack decides by itself: {', '.join(dropped)}.", style="dim", markup=False)
    calls = TuningCalls.of(state_dir)
    body |= {"suffix": suffix, **_sent(calls, training_file=data, validation_file=validation)}
    body["penstock"] |= _sent(calls, purpose="evals", golden_file=golden, regression_file=regression)
    job = calls.create(body)
    if detach:
        print_json(job) if as_json else out().print(job["id"], markup=False)
        return
    err().print(f"{job['id']} trains an adapter for {job['model']}.", markup=False)
    _told(calls, _followed(calls, job["id"]), as_json=as_json)


def _promotion(promote: bool, canary: float | None) -> str | None:
    if promote and canary is not None:
        raise ConfigurationError("Choose one of --auto-promote and --canary.")
    return "promote" if promote else None if canary is None else "canary"


def _sent(calls: TuningCalls, *, purpose: str = "fine-tune", **files: Path | None) -> dict[str, str]:
    """The ids of these files, by the request's fields."""
    sent = {}
    for name, file in files.items():
        if file is not None:
            sent[name] = calls.upload(file, purpose=purpose)
            err().print(f"{file.name} is {sent[name]}.", style="dim", markup=False)
    return sent


def _followed(calls: TuningCalls, job: str) -> dict[str, Any]:
    try:
        return Follower(calls, job, console=err()).follow()
    except KeyboardInterrupt:
        err().print(
            f"The job goes on. Follow it: penstock finetune logs {job} --follow."
            f" End it: penstock finetune cancel {job}",
            markup=False,
        )
        raise typer.Exit(INTERRUPTED) from None


def _told(calls: TuningCalls, job: dict[str, Any], *, as_json: bool) -> None:
    """How it ended: the model's name on stdout, or a sentence and exit code 1."""
    if as_json:
        print_json(job)
    report, status = calls.report(job["id"]), job["status"]
    if report is not None and isinstance(report.get("passed"), bool):
        verdict = "passed" if report["passed"] else "did not pass"
        err().print(f"The gate {verdict} it.", markup=False)
        for reason in (*report.get("reasons", ()), *report.get("warnings", ())):
            err().print(f"  {reason}", markup=False)
        err().print(f"The whole report: penstock finetune report {job['id']}", style="dim", markup=False)
    if status == "failed":
        error = job["error"] or {}
        raise PenstockError(error.get("message") or f"The job {job['id']} failed.", code=error.get("code"))
    if status == "cancelled":
        raise PenstockError(f"The job {job['id']} was cancelled.")
    if status == "paused":
        err().print(f"The job is paused. Go on: penstock finetune resume {job['id']}", markup=False)
    elif not as_json:
        out().print(job["fine_tuned_model"] or "", markup=False)
