from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from router.training.data import Columns, Labelled, read_labelled
from router.training.doubts import doubts
from router.training.fit import Recipe, train
from tests.router.training.made import features, write


def labelled(folder: Path, *, count: int = 240) -> Labelled:
    return read_labelled([write(folder / "data.jsonl", count)], Columns())


def warned(found: Labelled) -> tuple[str, ...]:
    recipe = Recipe("hashing", (1, 3, 6), 256, rounds=20)
    return train(features(found), found, recipe=recipe).model.manifest.warnings


def test_what_can_be_learned_gives_no_doubt(tmp_path: Path) -> None:
    assert warned(labelled(tmp_path)) == ()


def test_few_prompts_are_said(tmp_path: Path) -> None:
    assert warned(labelled(tmp_path, count=60))[0].startswith("60 prompts are few: below 100")


@pytest.mark.parametrize("strong", ["equal", "worse"])
def test_a_large_tier_that_is_no_better_is_trained_on_and_said(tmp_path: Path, strong: str) -> None:
    found = labelled(tmp_path)
    no_better = replace(found, strong=found.weak if strong == "equal" else found.weak * 0.5)
    assert any("'large' is no better than 'small' on these prompts" in sentence for sentence in warned(no_better))


def test_labels_by_chance_are_said_to_teach_nothing(tmp_path: Path) -> None:
    found = labelled(tmp_path)
    chance = np.random.default_rng(3).permutation(len(found))
    said = warned(replace(found, weak=found.weak[chance]))
    assert [sentence.split(" says")[0] for sentence in said] == ["What policy 'learned'", "What policy 'knn'"]


def test_each_policy_is_doubted_by_itself(tmp_path: Path) -> None:
    found = labelled(tmp_path)
    true = found.strong - found.weak
    (said,) = doubts(found, {"learned": true, "knn": true * 0})
    assert "policy 'knn'" in said
