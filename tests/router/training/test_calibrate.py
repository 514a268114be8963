from dataclasses import replace

import numpy as np
import pytest

from models.errors import ConfigurationError
from router.manifest import POLICIES
from router.model import ALWAYS_LARGE, ALWAYS_SMALL, Prompts, RouterModel
from router.training.calibrate import as_json, for_cost, for_quality, for_share, markdown, with_threshold
from router.training.data import Labelled
from tests.router.training.made import trained

Made = tuple[RouterModel, Prompts, Labelled]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    found, prompts, labelled = trained(tmp_path_factory.mktemp("made"))
    return found.model, prompts, labelled


def with_quantiles(model: RouterModel, quantiles: tuple[float, ...]) -> RouterModel:
    both = dict.fromkeys(POLICIES, quantiles)
    return replace(model, manifest=model.manifest.model_copy(update={"quantiles": both}))


def test_a_share_becomes_a_threshold_that_gives_about_that_share(made: Made) -> None:
    model, prompts, _ = made
    found = for_share(model, 0.3)
    assert found.threshold == model.threshold_for(0.3)
    assert abs(float((model.score(prompts).gain >= found.threshold).mean()) - 0.3) < 0.1
    assert (found.share, found.warnings) == (pytest.approx(0.3, abs=0.01), ())
    assert [point.share for point in found.curve[::20]] == [0.0, 1.0]


@pytest.mark.parametrize(("share", "large"), [(0.0, 0), (1.0, 240)])
def test_no_share_and_the_whole_share_hold_on_every_prompt(made: Made, share: float, large: int) -> None:
    model, prompts, _ = made
    for policy in POLICIES:
        found = for_share(model, share, policy=policy)
        assert found.share == share
        assert int((model.score(prompts, policy).gain >= found.threshold).sum()) == large


def test_equal_gains_bring_another_share_and_it_is_said(made: Made) -> None:
    tied = with_quantiles(made[0], (0.0,) * 41 + (0.5,) * 60)
    found = for_share(tied, 0.3)
    assert found.share == pytest.approx(0.59)
    assert found.warnings == ("Prompts of equal gain go together: 59.0%, not 30.0%.",)
    # Of the two thresholds around equal gains the one whose share is nearer to the wanted one.
    assert [point.share for point in found.curve] == pytest.approx([0.0, 0.0, 0.59, 0.6, 1.0, 1.0])
    thresholds = [point.threshold for point in found.curve]
    assert thresholds == pytest.approx([ALWAYS_SMALL, 0.5, 0.5, 0.0, 0.0, ALWAYS_LARGE])
    assert thresholds[1] > 0.5 == thresholds[2]


def test_a_model_of_one_gain_for_all_sends_them_where_more_of_them_were_meant_to_go(made: Made) -> None:
    flat = with_quantiles(made[0], (0.2,) * 101)
    assert [for_share(flat, share).share for share in (0.35, 0.8)] == [0.0, 1.0]


def test_a_cost_ceiling_holds_where_gains_are_equal(made: Made) -> None:
    tied = with_quantiles(made[0], (0.0,) * 41 + (0.5,) * 20 + (0.7,) * 40)
    found = for_cost(tied, 0.55, small_price=0.1)
    assert found.share == pytest.approx(0.4)
    assert found.warnings == ("Prompts of equal gain go together: 40.0%, 50.0% is paid for.",)


def test_a_cost_ceiling_becomes_the_share_that_it_pays_for(made: Made) -> None:
    found = for_cost(made[0], 0.55, small_price=0.1)
    assert found.share == pytest.approx(0.5, abs=0.01)  # 0.5 × 1 + 0.5 × 0.1 = 0.55
    assert for_cost(made[0], 2.0, small_price=0.1).share == 1.0
    with pytest.raises(ConfigurationError, match=r"Always-small costs 10\.0%"):
        for_cost(made[0], 0.05, small_price=0.1)


def test_a_quality_floor_takes_the_smallest_share_that_keeps_it(made: Made) -> None:
    model, prompts, labelled = made
    found = for_quality(model, 0.9, seen=(prompts, labelled))
    gain = model.score(prompts).gain
    quality = np.where(gain >= found.threshold, labelled.strong, labelled.weak).mean()
    assert quality >= 0.9 * labelled.strong.mean()
    assert found.quality == pytest.approx(quality)
    assert found.share < for_quality(model, 1.0, seen=(prompts, labelled)).share <= 1.0
    assert "at least 90.0% of always-large's quality" in markdown(found)


def test_a_floor_of_everything_takes_every_prompt_where_the_small_tier_never_answers(made: Made) -> None:
    model, prompts, labelled = made
    worse = Labelled(labelled.prompts, labelled.weak * 0, labelled.strong * 0 + 0.5, None, labelled.names, "d")
    found = for_quality(model, 1.0, seen=(prompts, worse))
    assert (found.share, found.threshold) == (1.0, ALWAYS_LARGE)


def test_a_floor_that_was_found_on_training_prompts_says_so(made: Made) -> None:
    model, prompts, labelled = made
    found = for_quality(model, 0.9, seen=(prompts, labelled))
    assert found.trained_on == len(labelled)
    assert "trained on 240 of these 240 prompts" in found.warnings[0]
    fresh = replace(labelled, prompts=tuple(f"{prompt}!" for prompt in labelled.prompts))
    assert for_quality(model, 0.9, seen=(prompts, fresh)).warnings == ()


def test_a_floor_on_labels_of_another_pair_or_on_few_of_them_says_so(made: Made) -> None:
    model, prompts, labelled = made
    rows = np.arange(60)
    other = replace(labelled.take(rows), names=("a", "b"))
    warnings = for_quality(model, 0.9, seen=(prompts.take(rows), other)).warnings
    assert any("these are of 'a' and 'b'" in sentence for sentence in warnings)
    assert any("different prompts are few" in sentence for sentence in warnings)


def test_copies_and_groups_of_prompts_make_a_floor_no_surer(made: Made) -> None:
    model, prompts, labelled = made
    rows = np.tile(np.arange(80), 3)
    few, copied = prompts.take(rows[:80]), prompts.take(rows)
    one = for_quality(model, 0.9, seen=(few, labelled.take(rows[:80])))
    assert for_quality(model, 0.9, seen=(copied, labelled.take(rows))).kept_low == pytest.approx(one.kept_low)
    fresh = replace(labelled.take(rows), prompts=tuple(str(at) for at in range(240)))
    grouped = replace(fresh, groups=tuple(str(row) for row in rows))
    assert for_quality(model, 0.9, seen=(copied, grouped)).share == one.share
    assert for_quality(model, 0.9, seen=(copied, fresh)).share < one.share


def test_each_target_says_what_it_promises(made: Made) -> None:
    model, prompts, labelled = made
    floor = for_quality(model, 0.9, seen=(prompts, labelled), confidence=0.8)
    assert floor.confidence == 0.8
    assert floor.kept_low is not None
    assert 0.9 <= floor.kept_low < (floor.kept or 0)
    assert "with 80% confidence" in floor.promise
    assert f"with a probability of {floor.again:.0%}" in floor.promise
    cost = for_cost(model, 0.55, small_price=0.1)
    assert "On average over prompts like the training ones calls cost 55.0% of always-large's" in cost.promise
    assert "It is no limit" in cost.promise
    assert "share of prompts like the training ones" in for_share(model, 0.3).promise
    for found in (floor, cost):
        assert found.promise in markdown(found)
        assert as_json(found)["promise"] == found.promise


def test_where_no_smaller_share_is_sure_all_calls_are_large_and_it_is_said(made: Made) -> None:
    model, prompts, labelled = made
    few = np.arange(30)
    found = for_quality(model, 0.99, seen=(prompts.take(few), labelled.take(few)))
    assert (found.share, found.kept, found.kept_low, found.again) == (1.0, 1.0, 1.0, 1.0)
    assert found.promise.startswith("Always-large: of no smaller share do these 30 prompts show that it keeps 99.0%")


def test_a_floor_of_nothing_asks_for_no_large_call(made: Made) -> None:
    found = for_quality(made[0], 0.0, seen=(made[1], made[2]), policy="knn")
    assert (found.share, found.threshold, found.policy) == (0.0, ALWAYS_SMALL, "knn")


def test_among_equal_scores_a_floor_is_not_kept_by_half_of_them(made: Made) -> None:
    model, prompts, labelled = made
    same = np.zeros(50, np.int64)
    alike = replace(labelled.take(same), weak=np.tile([0.0, 1.0], 25), strong=np.ones(50))
    found = for_quality(model, 0.8, seen=(prompts.take(same), alike))
    assert (found.share, found.quality) == (1.0, 1.0)


def test_the_threshold_is_kept_with_the_model(made: Made) -> None:
    kept = with_threshold(with_threshold(made[0], 0.25), 0.5, policy="knn")
    assert kept.manifest.thresholds == {"learned": 0.25, "knn": 0.5}
    assert made[0].manifest.thresholds == {}
