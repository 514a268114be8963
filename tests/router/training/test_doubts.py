from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from router.training.data import Columns, Labelled, read_labelled
from router.training.doubts import against, doubts, drifted, scarce
from router.training.fit import Recipe, train
from tests.router.training.made import features, trained, write


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


@pytest.mark.parametrize(
    ("taught", "judged", "said"),
    [
        (("a", "b"), ("a", "b"), None),
        (("small", "large"), ("small", "large"), None),
        (("a", "b"), ("a", "c"), "trained for 'a' and 'b'; these labels are of 'a' and 'c', a pair that it never"),
        (("a", "b"), ("b", "a"), "trained for 'a' and 'b'; these labels are of 'b' and 'a', a pair that it never"),
        (("a", "b"), ("small", "large"), "trained for 'a' and 'b'; these labels name no models"),
        (("small", "large"), ("a", "b"), "training labels named no models; these are of 'a' and 'b'"),
    ],
)
def test_labels_of_another_pair_speak_against_a_figure(
    tmp_path: Path, taught: tuple[str, str], judged: tuple[str, str], said: str | None
) -> None:
    known = trained(tmp_path)[0].model
    manifest = known.manifest.model_copy(update=dict(zip(("small", "large"), taught, strict=True)))
    other = replace(read_labelled([write(tmp_path / "o.jsonl", 240, seed=9)], Columns()), names=judged)
    sentences = against(replace(known, manifest=manifest), other)
    assert [said in sentence for sentence in sentences] == ([True] if said else []), sentences


def test_what_the_training_said_is_told_as_the_trainings(tmp_path: Path) -> None:
    few = trained(tmp_path, count=60)[0].model
    other = read_labelled([write(tmp_path / "o.jsonl", 240, seed=9)], Columns())
    assert against(few, other)[0].startswith("The model's training said: 60 prompts are few")


def test_few_different_prompts_and_few_groups_are_said(tmp_path: Path) -> None:
    found = labelled(tmp_path)
    assert scarce(found) == ()
    copies = found.take(np.arange(240) % 90)
    assert scarce(copies)[0].startswith("90 different prompts are few to judge a router by: below 100")
    many, few = (replace(found, groups=tuple(str(at % number) for at in range(240))) for number in (20, 19))
    assert scarce(many) == ()
    assert scarce(few)[0].startswith("The prompts are of 19 groups that share none")


def test_shares_that_are_farther_off_than_chance_are_called_drift() -> None:
    differences = (0.09, -0.09, -0.08, 0.1)
    assert drifted(differences, prompts=100) == ()
    (said,) = drifted(differences, prompts=1_400)
    assert said.startswith("Shares of large calls are 9.0 points off on average, more than by chance")
