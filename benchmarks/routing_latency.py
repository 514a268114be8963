"""`python -m benchmarks.routing_latency`: what a routing decision costs, in this process and through a running stack.

In process, one prompt at a time: the embedding by length, and the decision (surface numbers and scores) given it.
Through the stack: the time to the first token of `auto` against that of the model that it chose, asked by name, in
pairs of equally long prompts that share no beginning, in alternating order. Owns the command; talks HTTP to the stack.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import aiohttp
import typer
from rich.console import Console
from rich.progress import track

from benchmarks.calls import Address, Call, Caller
from benchmarks.estimates import Estimate, estimate, gaps
from benchmarks.origin import origin
from benchmarks.priority import ahead
from benchmarks.result import markdown_table
from models.embedders import Embeddings, build_embedder
from models.embedders.sentence import SentenceSettings
from models.errors import PenstockError
from router.model import Prompts, RouterModel, Scores, read_model
from router.surface import surface

SEED = 20_261_127
LENGTHS = (16, 32, 64, 128, 256)
WORDS = ("order", "price", "lamp", "blue", "ship", "note", "team", "plan", "road", "green", "cost", "day", "box", "sum")
TIMEOUT_S = 60.0

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command("routing-latency")
def routing_latency(
    router: Annotated[Path, typer.Option(help="Folder of a trained router.", show_default=False)],
    to: Annotated[Path, typer.Option("--out", help="Folder for the result.", show_default=False)],
    *,
    target: Annotated[str | None, typer.Option(help="URL of a running stack, for the second part.")] = None,
    key: Annotated[str | None, typer.Option(envvar="PENSTOCK_API_KEY", help="A key for it.")] = None,
    repetitions: Annotated[int, typer.Option(min=10, help="Per length, and pairs per block.")] = 100,
    blocks: Annotated[int, typer.Option(min=1, help="Blocks of pairs through the stack.")] = 5,
) -> None:
    """Measure, print, and keep with its origin."""
    started = time.time()
    console = Console()
    try:
        in_process = here(router, repetitions)
        through = asyncio.run(stack(target, key, pairs=repetitions, blocks=blocks)) if target is not None else None
    except PenstockError as error:
        console.print(error.public, markup=False)
        raise typer.Exit(1) from error
    found = {"in_process": in_process, "through_the_stack": through}
    text = markdown(found)
    to.mkdir(parents=True, exist_ok=True)
    (to / "latency.json").write_text(json.dumps(found, indent=1) + "\n")
    (to / "latency.md").write_text(text + "\n")
    counts = {"repetitions": repetitions, "blocks": blocks}
    beside = origin(config={"router": router.name, "lengths": LENGTHS}, seeds=[SEED], counts=counts, started=started)
    (to / "latency-origin.json").write_text(json.dumps(beside, indent=1) + "\n")
    console.print(text, markup=False)


def here(router: Path, repetitions: int) -> list[dict[str, Any]]:
    """Milliseconds by length: embedding, decision given the embedding, both; each prompt is another one."""
    model, embedder = read_model(router), build_embedder(SentenceSettings(kind="sentence", threads=1))
    chance, rows = random.Random(SEED), []
    for tokens in track(LENGTHS, description="in process", transient=True):
        texts = [prompt(tokens, chance) for _ in range(repetitions)]
        embedding, behind, seen = [], [], []
        for text in texts:
            embedded, took = _timed(partial(embedder.embed, [text]))
            embedding.append(took)
            seen.append(embedded)
            behind.append(_timed(partial(_decide, model, text, embedded=embedded))[1])
        # Once more, one decision behind the other: what an embedding leaves of the processor's caches is not their own.
        alone = [_timed(partial(_decide, model, text, embedded=one))[1] for text, one in zip(texts, seen, strict=True)]
        whole = [one + other for one, other in zip(embedding, behind, strict=True)]
        parts = {"embedding": embedding, "decision": alone, "decision_behind": behind, "whole": whole}
        rows.append({"tokens": tokens} | {name: asdict(estimate(each, seed=SEED)) for name, each in parts.items()})
    return rows


async def stack(target: str, key: str | None, *, pairs: int, blocks: int) -> list[dict[str, Any]]:
    """Milliseconds that `auto` adds to the time to the first token, by length: the median over blocks of pairs."""
    address = Address(target, "auto", key)
    with ahead():
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=4)) as session:
            return [await _length(session, address, tokens=tokens, shape=(pairs, blocks)) for tokens in LENGTHS[:3]]


async def _length(
    session: aiohttp.ClientSession, auto: Address, *, tokens: int, shape: tuple[int, int]
) -> dict[str, Any]:
    chance, added, routed, named = random.Random(SEED + tokens), [], [], []
    caller = Caller(session, auto, timeout_s=TIMEOUT_S)
    for _ in track(range(shape[1]), description=f"stack, {tokens} tokens", transient=True):
        ours, theirs = [], []
        for at in range(shape[0]):
            first = await _ask(caller, prompt(tokens, chance), model="auto")
            model = first.model or ""
            # Which of the two comes first alternates: the second of a pair may find a warmer machine.
            order = ("auto", model) if at % 2 else (model, "auto")
            times = {name: _ttft_ms(await _ask(caller, prompt(tokens, chance), model=name)) for name in order}
            ours.append(times["auto"])
            theirs.append(times[model])
        added.append(_median(gaps(ours, theirs)))
        routed.append(_median(ours))
        named.append(_median(theirs))
    parts = {"added": added, "auto": routed, "named": named}
    return {"tokens": tokens} | {name: asdict(estimate(each, seed=SEED)) for name, each in parts.items()}


async def _ask(caller: Caller, text: str, *, model: str) -> Call:
    body = {"model": model, "messages": [{"role": "user", "content": text}], "stream": True, "max_tokens": 2}
    call = await caller.send(Call(0), body)
    if call.error is not None or not call.chunks_s:
        raise PenstockError(f"The stack did not answer: {call.error or 'no content'} {call.detail or ''}".strip())
    return call


def _ttft_ms(call: Call) -> float:
    return (call.chunks_s[0] - call.sent_s) * 1000


def _median(values: Sequence[float]) -> float:
    return estimate(values, seed=SEED).median


def prompt(tokens: int, chance: random.Random) -> str:
    """About so many tokens of the embedder, beginning with a number that no other prompt has."""
    return " ".join([f"{chance.randrange(10**6):06d}", *(chance.choice(WORDS) for _ in range(tokens - 6))])


def _decide(model: RouterModel, text: str, *, embedded: Embeddings) -> Scores:
    return model.score(Prompts(surface([text]), embedded.depths, embedded.sentence))


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What it gives, and its milliseconds."""
    begun = time.perf_counter()
    found = work()
    return found, (time.perf_counter() - begun) * 1000


def markdown(found: dict[str, Any]) -> str:
    """Two tables, milliseconds, medians with their intervals."""
    head = ("tokens", "embedding", "decision, embeddings given", "decision right behind its embedding", "both in a row")
    cells = [
        [str(row["tokens"]), *(_cell(row[part]) for part in ("embedding", "decision", "decision_behind", "whole"))]
        for row in found["in_process"]
    ]
    parts = ["One prompt at a time in one process, milliseconds, p50 (95 % interval):", "", markdown_table(head, cells)]
    if found["through_the_stack"] is not None:
        columns = ("tokens", "`auto` adds", "TTFT of `auto`", "TTFT of the model by name")
        cells = [
            [str(row["tokens"]), *(_cell(row[part]) for part in ("added", "auto", "named"))]
            for row in found["through_the_stack"]
        ]
        parts += [
            "",
            "Time to the first token through the stack at one client, milliseconds:",
            "",
            markdown_table(columns, cells),
        ]
    return "\n".join(parts)


def _cell(value: dict[str, Any]) -> str:
    shown = Estimate(**value)
    return f"{shown.median:.2f} ({shown.low:.2f} … {shown.high:.2f})"


if __name__ == "__main__":
    app()
