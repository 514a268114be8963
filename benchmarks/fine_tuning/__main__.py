"""`python -m benchmarks.fine_tuning served | beside --target URL --key KEY --out DIR`.

Each measures one thing on a running stack that fine-tunes. The files, jobs and adapters that it needs it makes itself.
Owns the command line.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.progress import Progress

from benchmarks.adapters.__main__ import Json, Key, Out, State, Target, address_of, card_of, numbers
from benchmarks.adapters.registry import Registry
from benchmarks.calls import Address
from benchmarks.fine_tuning import beside as neighbouring
from benchmarks.fine_tuning import served as serving
from benchmarks.fine_tuning.jobs import Jobs
from benchmarks.json_calls import json_calls
from benchmarks.load import extra_body
from benchmarks.story import Story, tell
from models.catalog import ModelStore

SEED = 20_261_127
PACKAGES = ("trl", "peft", "safetensors", "numpy")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

Base = Annotated[str, typer.Option(help="The card that is trained, and that adapters are made for.")]
Seed = Annotated[int, typer.Option(min=1, help="Of weights, texts and trainings.")]


@app.command("served")
def served(
    target: Target,
    out: Out,
    *,
    key: Key,
    state_dir: State,
    base: Base = "demo-small",
    jobs: Annotated[int, typer.Option(min=2, help="Jobs, one after another.")] = 5,
    repetitions: Annotated[int, typer.Option(min=2, help="Adapters that are pushed by hand.")] = 20,
    rank: Annotated[int, typer.Option(min=1, help="Of those.")] = 16,
    seed: Seed = SEED,
    as_json: Json = False,
) -> None:
    """From a checkpoint to an adapter that answers, by a job and by hand."""
    address, card = address_of(target, key), card_of(base, state_dir)
    order = serving.ServedOrder(address, card, jobs, repetitions, rank, seed)
    config = {"target": address.url, "base": base, "rank": rank, "hyperparameters": dict(serving.HYPERPARAMETERS)}
    counts = {"jobs": jobs, "repetitions": repetitions}

    async def work(progress: Progress) -> dict[str, Any]:
        task = progress.add_task("serving", total=repetitions + 1 + jobs)
        async with json_calls(address) as calls:
            return await serving.measure(
                order, Jobs(calls), registry=Registry(calls), heard=lambda: progress.advance(task)
            )

    tell(Story(out, serving, config, counts, seed, as_json, PACKAGES), work)


@app.command("beside")
def beside(
    target: Target,
    out: Out,
    *,
    key: Key,
    state_dir: State,
    model: Annotated[str, typer.Option(help="The card that is asked.")] = "demo-large",
    base: Base = "demo-large",
    rounds: Annotated[int, typer.Option(min=1, help="Of every arm.")] = 5,
    block_s: Annotated[float, typer.Option(min=0.1, help="Length of a block.")] = 20.0,
    clients: Annotated[str, typer.Option(help="Calls at a time, with commas.")] = "1,8",
    seed: Seed = SEED,
    as_json: Json = False,
) -> None:
    """What a training costs the calls beside it, and they it."""
    stack, card = address_of(target, key), card_of(model, state_dir)
    address, body = Address(stack.url, model, key), extra_body(ModelStore(None).resolve(card))
    order = neighbouring.BesideOrder(address, base, numbers(clients), rounds, block_s, 32, seed, body)
    config = {"target": address.url, "model": model, "base": base, "block_s": block_s, "clients": order.clients}
    config |= {"answer_tokens": order.answer_tokens, "hyperparameters": dict(neighbouring.HYPERPARAMETERS)}

    async def work(progress: Progress) -> dict[str, Any]:
        task = progress.add_task("asking", total=order.blocks)
        async with json_calls(address) as calls:
            return await neighbouring.measure(order, Jobs(calls), heard=lambda: progress.advance(task))

    tell(Story(out, neighbouring, config, {"rounds": rounds}, seed, as_json, PACKAGES), work)


if __name__ == "__main__":
    app()
