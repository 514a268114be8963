"""Which block is measured when: rounds of every arm at every client count, interleaved, each block with its own seed.

Pure. The order rotates from round to round, so that no arm always follows the same one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

BARE, BARE_AGAIN, PENSTOCK, SERVE_LLM = "bare", "bare-again", "penstock", "ray-serve-llm"
BARE_SHIPPED, SERVE_LLM_SHIPPED = "bare-as-shipped", "serve-llm-as-shipped"
AS_SHIPPED = frozenset({BARE_SHIPPED, SERVE_LLM_SHIPPED})  # their engines are not the others'
ARMS = (BARE, PENSTOCK, SERVE_LLM, BARE_AGAIN, BARE_SHIPPED, SERVE_LLM_SHIPPED)
SEEDS_PER_ROUND = 1000
NULL_SEED = 500


@dataclass(frozen=True, slots=True)
class Block:
    """One measurement: an arm under so many clients in one round. `seed` makes its prompts."""

    round: int
    clients: int
    arm: str
    seed: int


def schedule(repetitions: int, clients: Sequence[int], *, seed: int) -> Iterator[Block]:
    """Every block in the order of measurement.

    In one round all arms get the same prompts, but for the null arm: it asks the same engine a second time, and the
    same prompts again would be answered from the prefix cache.
    """
    for number in range(repetitions):
        turn = number % len(ARMS)
        for place, count in enumerate(clients):
            for arm in (*ARMS[turn:], *ARMS[:turn]):
                own = NULL_SEED if arm == BARE_AGAIN else 0
                yield Block(number, count, arm, seed + SEEDS_PER_ROUND * (number + 1) + place + own)


def prompts_for(clients: int) -> int:
    """Requests of one block: enough for several waves of every client, few enough for a block of seconds."""
    return min(384, max(32, 12 * clients))
