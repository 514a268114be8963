"""Many models under one load: which of the target's models a request asks for, with Zipf's popularity.

Owns the settings, the choice of names and the draw. The names come from the target (`reach.py`); a request's model is
drawn from the seed and its number, so it is the same for every server that lists the same names.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase
from itertools import accumulate

from pydantic import Field

from benchmarks.prompts import Order
from models.config import Frozen
from models.errors import ConfigurationError

SHOWN = 3


class ManyModels(Frozen):
    """Every model of the target whose name fits, some asked for often and most of them rarely."""

    like: str = Field(min_length=1, description="Which of the target's names: a glob, such as `adapter-*`.")
    zipf: float = Field(1.0, ge=0, le=10, description="Exponent s: the n-th name is asked for as 1/n^s; 0 is evenly.")

    def among(self, names: Collection[str]) -> tuple[str, ...]:
        """The names that fit, in the order of their popularity: sorted. Raises `ConfigurationError` when none does."""
        found = tuple(sorted({name for name in names if fnmatchcase(name, self.like)}))
        if not found:
            shown = ", ".join(sorted(names)[:SHOWN]) or "nothing"
            more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
            raise ConfigurationError(
                f"The target lists no model like {self.like!r}: it lists {shown}{more}. "
                "Load adapters under such names, or name others in a suite of your own."
            )
        return found


class Popularity:
    """Draws models; `models` in the order of their ranks, `zipf` is the exponent."""

    def __init__(self, models: Sequence[str], *, zipf: float) -> None:
        self._models = models
        self._up_to = list(accumulate(rank**-zipf for rank in range(1, len(models) + 1)))

    def model(self, order: Order) -> str:
        """The model of this request; the same every time."""
        return order.chance("model", order.number).choices(self._models, cum_weights=self._up_to)[0]
