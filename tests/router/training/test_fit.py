from dataclasses import replace
from pathlib import Path

import lightgbm
import numpy as np
import pytest

from router.evaluate import Outcomes, apgr
from router.training.data import Columns, read_labelled
from router.training.fit import Recipe, train
from router.training.folds import folds, splits
from router.training.growth import GROWTH, as_forest
from router.trees import Forest, Grove
from tests.router.training.made import ROUNDS, features, lines, trained, write


def test_the_trees_as_arrays_say_what_lightgbm_says() -> None:
    chance = np.random.default_rng(1)
    rows = chance.normal(size=(500, 20)).astype(np.float32)
    target = rows[:, 0] * rows[:, 1] + rows[:, 2]
    booster = lightgbm.train({**GROWTH, "feature_fraction": 0.5}, lightgbm.Dataset(rows, target), 60)
    forest = as_forest(booster)
    assert np.allclose(forest.predict(rows), booster.predict(rows), atol=1e-12)
    again = Forest.of(forest.arrays("f"), "f", columns=20)
    assert np.array_equal(again.predict(rows[:9]), forest.predict(rows[:9]))


def test_a_forest_of_single_leaves_says_one_number() -> None:
    rows = np.zeros((100, 3), np.float32)
    forest = as_forest(lightgbm.train(GROWTH, lightgbm.Dataset(rows, np.full(100, 0.25)), 3))
    assert forest.depth == 0
    assert np.allclose(forest.predict(rows[:2]), 0.25)


def test_forests_that_are_asked_together_say_what_each_says_alone() -> None:
    chance = np.random.default_rng(2)
    rows = chance.normal(size=(400, 6)).astype(np.float32)
    shapes = ((rows[:, 0].copy(), 30), (rows[:, 1] * rows[:, 2], 7), (np.full(400, 0.25), 2))
    forests = [as_forest(lightgbm.train(GROWTH, lightgbm.Dataset(rows, target), trees)) for target, trees in shapes]
    assert len({(forest.depth, len(forest.roots)) for forest in forests}) == 3
    together = Grove(forests).predict(rows[:50])
    assert together.shape == (50, 3)
    for at, forest in enumerate(forests):
        assert np.allclose(together[:, at], forest.predict(rows[:50]), atol=1e-12)


@pytest.mark.parametrize(("part", "value", "said"), [("left", 10**6, "point at nodes"), ("feature", 99, "features")])
def test_trees_that_lead_astray_are_refused(part: str, value: int, said: str) -> None:
    chance = np.random.default_rng(1)
    rows = chance.normal(size=(300, 4)).astype(np.float32)
    arrays = as_forest(lightgbm.train(GROWTH, lightgbm.Dataset(rows, rows[:, 0].copy()), 5)).arrays("f")
    arrays[f"f.{part}"] = np.full_like(arrays[f"f.{part}"], value)
    with pytest.raises(ValueError, match=said):
        Forest.of(arrays, "f", columns=4)


def test_every_row_is_held_out_once() -> None:
    found = list(folds(103, seed=4))
    assert sorted(np.concatenate([held for _, held in found])) == list(range(103))
    assert all(len(np.intersect1d(rest, held)) == 0 and len(rest) + len(held) == 103 for rest, held in found)


@pytest.mark.parametrize("count", [2, 3, 7, 40])
def test_equal_units_are_never_parted(count: int) -> None:
    units = [f"u{at % count}" for at in range(120)]
    held_out = []
    for rest, held in splits(units, seed=1):
        assert {units[at] for at in rest}.isdisjoint({units[at] for at in held})
        held_out += list(held)
    assert sorted(held_out) == list(range(120))


def test_labels_by_chance_are_not_remembered_by_what_was_held_out(tmp_path: Path) -> None:
    labelled = read_labelled([write(tmp_path / "data.jsonl", 240)], Columns())
    chance = np.random.default_rng(7)
    noise = replace(
        labelled, weak=chance.random(240).round(), prompts=tuple(f"{at} {p}" for at, p in enumerate(labelled.prompts))
    )
    found = train(features(noise), noise, recipe=Recipe("hashing", (1, 3, 6), 256, rounds=ROUNDS))
    assert abs(np.corrcoef(found.gain, noise.strong - noise.weak)[0, 1]) < 0.2
    assert sum(found.model.heads["gain"].shares) < 0.7


def test_what_can_be_learned_is_learned_and_holds_on_other_prompts(tmp_path: Path) -> None:
    found, _, _ = trained(tmp_path)
    other = read_labelled([write(tmp_path / "other.jsonl", 200, seed=9)], Columns())
    scores = found.model.score(features(other))
    assert apgr(scores.gain, Outcomes(other.weak, other.strong)) > 0.65  # a perfect router has 0.72
    hard = np.array(["cost" in str(line["prompt"]) for line in lines(200, seed=9)])
    assert scores.small[hard].mean() < 0.4
    assert scores.small[~hard].mean() > 0.7
    assert scores.large.min() > 0.8
    assert abs(scores.small.mean() - other.weak.mean()) < 0.1


def test_the_same_seed_trains_the_same_model(tmp_path: Path) -> None:
    first, prompts, _ = trained(tmp_path)
    second, _, _ = trained(tmp_path)
    assert np.array_equal(first.model.score(prompts).gain, second.model.score(prompts).gain)
