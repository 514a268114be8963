"""What LoRA costs an engine: a few active adapters, and the base alone, against the same weights without LoRA.

Two cards of one stack serve the same weights, one with `lora.enabled: false`. In rounds, the arms in turning order. The
card without LoRA stands in twice: its ratio against itself shows what the machine alone moves. Owns the measure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.calls import Address, Call
from benchmarks.estimates import estimate, ratios
from benchmarks.metrics import measure as counted
from benchmarks.result import markdown_table
from benchmarks.runner import Runner
from benchmarks.suite import Load
from models.errors import Unavailable

GOAL = 0.92
"""Of a GPU; on a CPU there is none."""
PLAIN, AGAIN, BASE, ADAPTERS = "without LoRA", "without LoRA, again", "base on the LoRA engine", "adapters"
ARMS = (PLAIN, ADAPTERS, BASE, AGAIN)


@dataclass(frozen=True, slots=True)
class ThroughputOrder:
    """What was asked for. `address.models`: the active adapters of card `base`; `plain`: the card without LoRA.

    `body`: fields of every request, which keep answers at their length.
    """

    address: Address
    base: str
    plain: str
    clients: tuple[int, ...]
    rounds: int
    requests: int
    answer_tokens: int
    seed: int
    body: Mapping[str, Any]

    def load(self, clients: int, *, many: bool, requests: int) -> Load:
        """One block's."""
        return Load.model_validate(
            {
                "models": {"like": self.address.model, "zipf": 0.0} if many else None,
                "prompts": {"kind": "words", "words": [20, 60]},
                "workload": {"kind": "closed", "clients": clients},
                "answer_tokens": self.answer_tokens,
                "requests": requests,
                "body": dict(self.body),
            }
        )

    def asked(self, arm: str) -> Address:
        """Whom an arm asks."""
        if arm == ADAPTERS:
            return self.address
        return Address(self.address.url, self.base if arm == BASE else self.plain, self.address.key)


async def measure(order: ThroughputOrder, *, heard: Callable[[Call], None]) -> dict[str, Any]:
    """All rounds. A warm-up of each arm counts nowhere."""
    for arm in ARMS:
        await _block(order, arm, clients=max(order.clients), seed=order.seed - 1, requests=2 * max(order.clients))
    blocks: list[dict[str, Any]] = []
    for number, clients, arm in blocks_of(order):
        seed = order.seed + 1 + len(blocks)
        rate = await _block(order, arm, clients=clients, seed=seed, heard=heard)
        blocks.append({"round": number, "clients": clients, "arm": arm, **rate})
    points = [_point(blocks, clients, seed=order.seed) for clients in order.clients]
    return {"goal_on_a_gpu": GOAL, "adapters": len(order.address.models), "points": points, "blocks": blocks}


def blocks_of(order: ThroughputOrder) -> Iterator[tuple[int, int, str]]:
    """Round, clients and arm in the order of their time; each round begins with another arm."""
    for number in range(order.rounds):
        turned = ARMS[number % len(ARMS) :] + ARMS[: number % len(ARMS)]
        yield from ((number, clients, arm) for clients in order.clients for arm in turned)


async def _block(
    order: ThroughputOrder,
    arm: str,
    *,
    clients: int,
    seed: int,
    requests: int | None = None,
    heard: Callable[[Call], None] = lambda _: None,
) -> dict[str, float]:
    load = order.load(clients, many=arm == ADAPTERS, requests=requests or order.requests)
    runner = Runner(order.asked(arm), load, seed=seed, heard=heard)
    found = counted(await runner.go(), load, slos=())
    if runner.run.stopped is not None or found.errors or found.ttft_ms is None:
        raise Unavailable(f"A block of {arm!r} failed: {runner.run.stopped or dict(found.errors) or 'no content'}.")
    return {
        "tokens_per_s": found.tokens_per_s,
        "ttft_p50_ms": found.ttft_ms.p50,
        "output_tokens": found.output_tokens,
        "client_cpu_share": found.client_cpu_share,
    }


def _point(blocks: Sequence[Mapping[str, Any]], clients: int, *, seed: int) -> dict[str, Any]:
    """One number of clients: each arm's tokens/s, and its ratio to the card without LoRA, round by round."""
    rates = {
        arm: [one["tokens_per_s"] for one in blocks if one["clients"] == clients and one["arm"] == arm] for arm in ARMS
    }
    arms = {
        arm: {
            "tokens_per_s": asdict(estimate(rates[arm], seed=seed)),
            "of_plain": asdict(estimate(ratios(rates[arm], rates[PLAIN]), seed=seed)),
        }
        for arm in ARMS
    }
    return {"clients": clients, "arms": arms}


def markdown(found: Mapping[str, Any]) -> str:
    """The table."""
    head = ("clients", "arm", "tokens/s", "of the engine without LoRA")
    shown = {**{arm: arm for arm in ARMS}, ADAPTERS: f"{found['adapters']} active adapters"}
    cells = [
        [str(point["clients"]), shown[arm], _cell(one["tokens_per_s"], ".0f"), _cell(one["of_plain"], ".3f")]
        for point in found["points"]
        for arm, one in point["arms"].items()
    ]
    said = "Closed loop, answers of a fixed length; medians over rounds (95 % interval), ratios round by round:"
    goal = f"Goal on a GPU: ≥ {GOAL:g} × with adapters; on a CPU the figure is only shown."
    return "\n\n".join([said, markdown_table(head, cells), goal]) + "\n"


def _cell(value: Mapping[str, Any], form: str) -> str:
    return f"{value['median']:{form}} ({value['low']:{form}} … {value['high']:{form}})"
