"""A measured mix as a table and as data. Owns the words; counts nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.quality.policies import Row
from benchmarks.result import markdown_table
from router.evaluate import Estimated

HEAD = ("policy", "exact answers", "of always-large's", "large tier's share", "cost of always-large")
SHARE_HEAD = ("asked for", "observed", "off by", *HEAD[1:3], HEAD[4], "n-gram ridge's, of always-large's")
FAMILY_HEAD = ("family", "prompts", "small right", "large right", "`auto` right", "`auto` to large")


@dataclass(frozen=True, slots=True)
class Moved:
    """`auto` after its threshold was moved for a share. `seen`: an answer named the new threshold.

    `ngram`: the baseline at the share that was observed, where there is one.
    """

    asked: float
    seen: bool
    auto: Row
    ngram: Row | None

    @property
    def off(self) -> float:
        """Observed less asked for, −1…1."""
        return self.auto.share.value - self.asked


@dataclass(frozen=True, slots=True)
class FamilyRow:
    """One family: prompts, and the parts 0…1 that were answered right and that `auto` sent to the large tier."""

    prompts: int
    small: float
    large: float
    auto: float
    sent: float


@dataclass(slots=True)
class MixReport:
    """Everything that is shown. `left_out`: questions with a failed call; `failed`: reason → calls."""

    asked: int
    prompts: int
    failed: Mapping[str, int]
    fell_back: int
    rows: Sequence[Row]
    families: Mapping[str, FamilyRow]
    policy: str | None
    notes: Sequence[str] = ()
    moved: list[Moved] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """For programs; an estimate is its value with the ends of its 95 % interval."""
        moved = [{**asdict(one), "off_points": 100 * one.off} for one in self.moved]
        return {**asdict(self), "moved": moved}

    def markdown(self) -> str:
        """The tables, with what limits them below."""
        parts = [markdown_table(HEAD, map(_cells, self.rows))]
        if self.moved:
            parts += ["`auto` with its threshold moved:", markdown_table(SHARE_HEAD, map(_moved_cells, self.moved))]
        parts += [markdown_table(FAMILY_HEAD, (_family(name, one) for name, one in self.families.items()))]
        return "\n\n".join([*parts, "\n".join(f"- {one}" for one in self._sentences())]) + "\n"

    def _sentences(self) -> Iterator[str]:
        yield f"{self.prompts:,} prompts, held-out wordings and values; in brackets bootstrap 95 % intervals."
        if self.policy is not None:
            yield f"`auto` as it routed live: policy {self.policy}."
        if self.prompts < self.asked:
            reasons = ", ".join(f"{count} × {reason}" for reason, count in self.failed.items())
            yield f"{self.asked - self.prompts} prompts with a failed call count nowhere ({reasons})."
        if self.fell_back:
            yield f"{self.fell_back} answers of `auto` came from the other tier: the first choice did not answer."
        unseen = [f"{one.asked:.0%}" for one in self.moved if not one.seen]
        if unseen:
            yield f"No answer named another threshold after the share was set to {', '.join(unseen)}."
        yield from self.notes


def _cells(row: Row) -> tuple[str, ...]:
    right = f"{row.right:,.1f}".removesuffix(".0")
    parts = (row.right_share, row.of_large, row.share, row.cost)
    first, *others = map(percent, parts)
    return (row.name, f"{right}: {first}", *others)


def _moved_cells(one: Moved) -> tuple[str, ...]:
    _, right, of_large, share, cost = _cells(one.auto)
    ngram = "–" if one.ngram is None else percent(one.ngram.of_large)
    return (f"{one.asked:.0%}", share, f"{100 * one.off:+.1f} points", right, of_large, cost, ngram)


def _family(name: str, one: FamilyRow) -> tuple[str, ...]:
    return (name, f"{one.prompts:,}", *(f"{part:.1%}" for part in (one.small, one.large, one.auto, one.sent)))


def percent(one: Estimated) -> str:
    """An estimate as percent, without its interval where it cannot vary."""
    if one.low == one.high == one.value:
        return f"{one.value:.1%}"
    return f"{one.value:.1%} ({one.low:.1%} … {one.high:.1%})"
