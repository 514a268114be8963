"""From an adapter's name to the plan of its call: stage `route` of the gateway's records, beside the base card's.

One client at a time asks for each adapter once, and for the base card as often, in blocks that alternate; a record
belongs to the block in whose time it began. Owns the measure. Reads records through `penstock records export`.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np

from benchmarks.arms.penstock import COMMAND
from benchmarks.calls import Address, Call, Caller
from benchmarks.estimates import CONFIDENCE, RESAMPLES, Estimate
from benchmarks.result import markdown_table
from models.errors import ConfigurationError, Unavailable

GOAL_MS = 0.2
FLUSH_S = 1.0
"""Records are written in batches; after so long the last one is there."""
TIMEOUT_S = 60.0
BASE, ADAPTERS = "base", "adapters"

Records = Callable[[float], Sequence[Mapping[str, Any]]]
"""The stack's records of the last so many seconds."""


@dataclass(frozen=True, slots=True)
class Block:
    """A row of calls of one arm; from and to, in seconds since the epoch."""

    arm: str
    begin: float
    end: float


@dataclass(frozen=True, slots=True)
class CommandRecords:
    """Reads records with the command line, from the stack of a state folder."""

    state_dir: Path

    def __call__(self, since_s: float) -> list[dict[str, Any]]:
        """Raises `ConfigurationError` with the command's last words."""
        command = (COMMAND, "records", "export", "--since", f"{int(since_s) + 1}s", "--state-dir", str(self.state_dir))
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode:
            words = done.stderr.strip().splitlines()[-1:] or ["no word"]
            raise ConfigurationError(f"The records could not be read: {words[0]}")
        return [json.loads(line) for line in done.stdout.splitlines()]


@dataclass(frozen=True, slots=True)
class ResolveOrder:
    """What was asked for. `base`: the card; `names`: the live adapters, each of which is asked for once."""

    address: Address
    base: str
    names: Sequence[str]
    blocks: int
    seed: int


async def measure(order: ResolveOrder, *, records: Records, heard: Callable[[], None]) -> dict[str, Any]:
    """Ask, read the records, count. `heard`: of every answer."""
    started = time.time()
    done = await _asked(order, heard)
    await asyncio.sleep(FLUSH_S)
    found = await asyncio.to_thread(records, time.time() - started + 1)
    return {"goal_ms": GOAL_MS, "names": len(order.names), "arms": figures(done, found, seed=order.seed)}


async def _asked(order: ResolveOrder, heard: Callable[[], None]) -> list[Block]:
    """The blocks in the order of their time: base, adapters, adapters, base and so on."""
    chance = random.Random(order.seed)
    names = chance.sample(list(order.names), len(order.names))
    parts = np.array_split(np.array(names), order.blocks)
    rows = []
    for at, part in enumerate(parts):
        pair = [(BASE, [order.base] * len(part)), (ADAPTERS, [str(name) for name in part])]
        rows += pair if at % 2 == 0 else pair[::-1]
    done = []
    async with aiohttp.ClientSession() as session:
        caller = Caller(session, order.address, timeout_s=TIMEOUT_S)
        for arm, models in rows:
            begin = time.time()
            for model in models:
                await _ask(caller, model, text=f"{chance.randrange(10**6):06d} hello")
                heard()
            done.append(Block(arm, begin, time.time()))
    return done


async def _ask(caller: Caller, model: str, *, text: str) -> None:
    body = {"model": model, "messages": [{"role": "user", "content": text}], "stream": True, "max_tokens": 1}
    call = await caller.send(Call(0), {**body, "stream_options": {"include_usage": True}})
    if call.error is not None:
        raise Unavailable(f"{model!r} did not answer: {call.error} {call.detail or ''}".strip())


def figures(blocks: Sequence[Block], records: Sequence[Mapping[str, Any]], *, seed: int) -> dict[str, Any]:
    """Arm → calls, and p50 and p99 of their `route` in ms. Raises `Unavailable` where an arm has no record."""
    found = {}
    for arm in (BASE, ADAPTERS):
        values = list(_route_ms([block for block in blocks if block.arm == arm], records))
        if not all(values):
            raise Unavailable("The stack kept no record of a block. Is --state-dir the target's?")
        parts = {f"p{share}_ms": asdict(quantile(values, share, seed=seed)) for share in (50, 99)}
        found[arm] = {"calls": sum(map(len, values)), **parts}
    return found


def _route_ms(blocks: Sequence[Block], records: Sequence[Mapping[str, Any]]) -> Iterator[list[float]]:
    for block in blocks:
        inside = (one for one in records if block.begin <= one["started_at"] <= block.end)
        yield [float(one["stages_ms"]["route"]) for one in inside if "route" in one["stages_ms"]]


def quantile(blocks: Sequence[Sequence[float]], percent: float, *, seed: int) -> Estimate:
    """A percentile of all values together, with the bootstrap interval over whole blocks."""
    chance = np.random.default_rng(seed)
    arrays = [np.asarray(block) for block in blocks]
    drawn = [
        np.percentile(np.concatenate([arrays[at] for at in chance.integers(len(arrays), size=len(arrays))]), percent)
        for _ in range(RESAMPLES)
    ]
    low, high = np.percentile(drawn, [50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE)])
    whole = float(np.percentile(np.concatenate(arrays), percent))
    return Estimate(whole, float(low), float(high), len(blocks))


def markdown(found: Mapping[str, Any]) -> str:
    """The table, and whether the goal is met."""
    arms = found["arms"]
    shown = {BASE: "base card, by name", ADAPTERS: f"{found['names']:,} live adapters, each once"}
    cells = [
        [shown[arm], f"{arms[arm]['calls']:,}", *(_cell(arms[arm][part]) for part in ("p50_ms", "p99_ms"))]
        for arm in (BASE, ADAPTERS)
    ]
    p99 = arms[ADAPTERS]["p99_ms"]["median"]
    goal = f"Goal: p99 of adapters ≤ {GOAL_MS:g} ms. {'Met' if p99 <= GOAL_MS else 'Missed'}: {p99:.3f} ms."
    said = "From the name to the plan (stage `route` of the gateway's records), ms (95 % interval over blocks):"
    noise = "Base calls look no adapter up: their p99 is what the machine adds when it takes the processor away."
    return "\n\n".join([said, markdown_table(("calls of", "calls", "p50", "p99"), cells), goal, noise]) + "\n"


def _cell(value: Mapping[str, Any]) -> str:
    return f"{value['median']:.3f} ({value['low']:.3f} … {value['high']:.3f})"
