"""Which prompts are held out of a training: folds that never part what belongs together. Draws with a seed alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]

FOLDS = 5
LEAST = 5
"""Rows that are left to train on, in the fold with the fewest."""


def folds(count: int, *, seed: int, number: int = FOLDS) -> Iterator[tuple[Rows, Rows]]:
    """Which rows train and which are held out, `number` times; every row is held out once."""
    order = np.random.default_rng(seed).permutation(count)
    for held in np.array_split(order, number):
        yield np.setdiff1d(order, held), np.sort(held)


def splits(units: Sequence[str], *, seed: int) -> Iterator[tuple[Rows, Rows]]:
    """Folds that never part equal units (a prompt, a group): `FOLDS` of them, or as many as there are units.

    Raises `ValueError` where all units are the same, and where one of them leaves fewer rows than five to train on.
    """
    names, member = np.unique(np.array([hash_of(unit) for unit in units]), return_inverse=True)
    if len(names) < 2:
        raise ValueError("all prompts are the same, or of one group: none can be held out")
    left = len(member) - int(np.bincount(member).max())
    if left < LEAST:
        raise ValueError(
            f"one prompt or group makes up all but {left} of the rows: too few are left when it is held out"
        )
    for rest, held in folds(len(names), seed=seed, number=min(FOLDS, len(names))):
        yield np.flatnonzero(np.isin(member, rest)), np.flatnonzero(np.isin(member, held))


def hash_of(unit: str) -> str:
    """Short, for a text of any length."""
    return hashlib.sha256(unit.encode(errors="surrogatepass")).hexdigest()[:16]
