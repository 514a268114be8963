"""Which block is measured when: rounds of every arm at every point, interleaved, each block with its own seed.

Pure. The order rotates from round to round, so that no arm always follows the same one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

SEEDS_PER_ROUND = 10_000
SEEDS_PER_POINT = 100
SECONDS_AT_A_RATE = 12.0


@dataclass(frozen=True, slots=True)
class Point:
    """How hard an arm is driven: so many clients that wait, or so many requests a second that do not."""

    clients: int | None = None
    rate: float | None = None

    @property
    def name(self) -> str:
        """For tables."""
        if self.rate is not None:
            return f"{self.rate:.1f} requests/s"
        return "1 client" if self.clients == 1 else f"{self.clients} clients"

    @property
    def requests(self) -> int:
        """Requests of one block: enough for several waves of every client, few enough for a block of seconds."""
        if self.rate is not None:
            return max(32, round(SECONDS_AT_A_RATE * self.rate))
        return min(384, max(32, 12 * (self.clients or 1)))


@dataclass(frozen=True, slots=True)
class Block:
    """One measurement: an arm at a point in one round. `seed` makes its prompts and its times."""

    round: int
    point: Point
    arm: str
    seed: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be measured: for each point the arms. `engines`: arm → whose engine answers it, if not its own."""

    repetitions: int
    points: Mapping[Point, Sequence[str]]
    engines: Mapping[str, str]
    seed: int

    def blocks(self) -> Iterator[Block]:
        """Every block in the order of measurement.

        In one round all arms get the same prompts at a point, but for those that share an engine: the same prompts
        again would be answered from its prefix cache.
        """
        for number in range(self.repetitions):
            for place, (point, arms) in enumerate(self.points.items()):
                turn = number % len(arms)
                for arm in (*arms[turn:], *arms[:turn]):
                    seed = self.seed + SEEDS_PER_ROUND * (number + 1) + SEEDS_PER_POINT * place
                    yield Block(number, point, arm, seed + self._guest(arm, arms))

    def _guest(self, arm: str, arms: Sequence[str]) -> int:
        """0 for an engine's own arm, another number for each of its guests."""
        guests = [name for name in arms if self.engines.get(name, name) == self.engines.get(arm)]
        return 1 + guests.index(arm) if arm in self.engines else 0
