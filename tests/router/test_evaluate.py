"""The metrics of a router, against arithmetic done by hand and against what must hold for any prompts."""

import math
import random
import time
from collections.abc import Callable
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from router.evaluate import (
    Bin,
    Group,
    Outcomes,
    apgr,
    calibration_error,
    cpt,
    curve,
    evaluate,
    expected_calibration_error,
    groupwise,
    reliability,
    share_at,
)
from router.resampling import FloatArray, bootstrap

Table = tuple[FloatArray, Outcomes]


def floats(*values: float) -> FloatArray:
    return np.array(values, dtype=np.float64)


# The large tier wins on prompts 0 and 3, loses on 1, ties on 2: gains 1, −1, 0, 1, means 2/4 and 3/4, gap 1/4.
FOUR = Outcomes(floats(0, 1, 1, 0), floats(1, 0, 1, 1))
ORACLE = FOUR.strong - FOUR.weak

# Only the prompt of score 3 gains, by 1; weak mean 0, strong mean 1/3.
THREE = Outcomes(floats(0, 0, 0), floats(0, 0, 1))


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """Scores with many ties, qualities in eighths, the large tier better on the whole."""
    eighths = st.integers(0, 8)
    rows = draw(st.lists(st.tuples(st.integers(-4, 4), eighths, eighths), min_size=1, max_size=40))
    scores, weak, strong = np.array(rows, dtype=np.float64).T
    assume(strong.sum() > weak.sum())
    return scores, Outcomes(weak / 8, strong / 8)


def drawn(count: int, *, seed: int = 7) -> Table:
    """Prompts on which the score tells something of where the large tier is needed."""
    chance = np.random.default_rng(seed)
    scores = chance.random(count)
    weak = (chance.random(count) > scores).astype(np.float64)
    return scores, Outcomes(weak, (chance.random(count) < 0.8).astype(np.float64))


def test_the_gap_is_the_difference_of_the_means() -> None:
    assert FOUR.gap == 3 / 4 - 2 / 4
    assert len(FOUR) == 4


def test_the_curve_sends_the_highest_score_first() -> None:
    found = curve(floats(4, 3, 2, 1), FOUR)
    assert found.share.tolist() == [0, 1 / 4, 2 / 4, 3 / 4, 1]
    # Gains in this order 1, −1, 0, 1, from a weak mean of 2/4.
    assert found.quality.tolist() == [2 / 4, 3 / 4, 2 / 4, 2 / 4, 3 / 4]


def test_a_tie_is_a_straight_line() -> None:
    # Prompts 1, 2 and 3 share a score: after the first (3/4) they gain −1 + 0 + 1 = 0 in three equal steps.
    assert curve(floats(9, 5, 5, 5), FOUR).quality.tolist() == pytest.approx([0.5, 0.75, 0.75, 0.75, 0.75])
    # Prompts 0 and 1 gain 1 − 1 = 0, then prompts 2 and 3 gain 0 + 1, half of it each: 1/8 in the mean.
    assert curve(floats(5, 5, 1, 1), FOUR).quality.tolist() == pytest.approx([0.5, 0.5, 0.5, 0.625, 0.75])


def test_apgr_is_the_area_done_by_hand() -> None:
    # PGR = (quality − 1/2) / (1/4) = 0, 1, 0, 0, 1; trapezoids 1/2, 1/2, 0, 1/2, each a quarter wide.
    assert apgr(floats(4, 3, 2, 1), FOUR) == pytest.approx(1.5 / 4)


def test_an_oracle_beats_always_large() -> None:
    # It sends 0 and 3, then 2, then 1: quality 2/4, 3/4, 1, 1, 3/4 and PGR 0, 1, 2, 2, 1.
    assert curve(ORACLE, FOUR).quality.max() == 1 > FOUR.strong.mean()
    assert apgr(ORACLE, FOUR) == pytest.approx((0.5 + 1.5 + 2 + 1.5) / 4)


def test_the_oracle_reversed_is_the_worst_router() -> None:
    # PGR 0, −1, −1, 0, 1; trapezoids −1/2, −1, −1/2, 1/2.
    assert apgr(-ORACLE, FOUR) == pytest.approx((-0.5 - 1 - 0.5 + 0.5) / 4)


def test_a_constant_score_gives_exactly_the_straight_line() -> None:
    scores = np.full(4, 0.3)
    assert curve(scores, FOUR).quality.tolist() == [8 / 16, 9 / 16, 10 / 16, 11 / 16, 12 / 16]
    assert apgr(scores, FOUR) == apgr(scores, FOUR, points=10) == 0.5
    assert cpt(scores, FOUR, recovered=0.8) == pytest.approx(0.8)


def test_the_quantile_grid_is_coarser_than_the_fine_curve() -> None:
    scores = floats(1, 2, 3)
    # Fine: PGR 0, 1, 1, 1; trapezoids 1/2, 1, 1, each a third wide.
    assert apgr(scores, THREE) == pytest.approx(2.5 / 3)
    # Two bins: thresholds 1 and 2 send three and two prompts, the highest sends none. PGR 0, 1, 1 at 0, 2/3, 1.
    assert apgr(scores, THREE, points=2) == pytest.approx(2 / 3 * 1 / 2 + 1 / 3 * 1)


def test_the_quantile_grid_comes_close_on_many_prompts() -> None:
    scores, outcomes = drawn(2000)
    fine = apgr(scores, outcomes)
    assert fine > 0.6
    assert apgr(scores, outcomes, points=10) == pytest.approx(fine, abs=0.01)


def test_cpt_is_read_off_the_straight_lines() -> None:
    # Oracle: PGR 0 → 1 over the first quarter.
    assert cpt(ORACLE, FOUR, recovered=0.5) == pytest.approx(0.5 / 4)
    assert cpt(ORACLE, FOUR, recovered=0.8) == pytest.approx(0.8 / 4)
    # Reversed: PGR 0, −1, −1, 0, 1, so only the last quarter rises above 0.
    assert cpt(-ORACLE, FOUR, recovered=0.5) == pytest.approx(3 / 4 + 0.5 / 4)


def test_cpt_is_the_first_share_that_reaches_it() -> None:
    # PGR 0, 1, 0, 0, 1: half of the gap is recovered on the first quarter already, though lost again after it.
    assert cpt(floats(4, 3, 2, 1), FOUR, recovered=0.5) == pytest.approx(1 / 8)
    assert cpt(floats(4, 3, 2, 1), FOUR, recovered=1.0) == 1 / 4


def test_cpt_ends_at_nothing_and_at_all() -> None:
    assert cpt(ORACLE, FOUR, recovered=0) == 0.0
    thirds = Outcomes(floats(0.1, 0.1, 0.1), floats(0.2, 0.4, 0.7))
    assert cpt(floats(1, 2, 3), thirds, recovered=1.0) == 1.0


@given(tables())
def test_a_score_and_its_reverse_share_the_square(table: Table) -> None:
    scores, outcomes = table
    assert apgr(scores, outcomes) + apgr(-scores, outcomes) == pytest.approx(1, abs=1e-9)


@given(tables(), st.sampled_from([np.exp, np.cbrt, lambda x: 3 * x - 7, lambda x: x**3]))
def test_only_the_order_of_the_scores_counts(table: Table, rising: Callable[[FloatArray], FloatArray]) -> None:
    scores, outcomes = table
    assert apgr(rising(scores), outcomes) == apgr(scores, outcomes)
    assert cpt(rising(scores), outcomes, recovered=0.5) == cpt(scores, outcomes, recovered=0.5)


@given(tables(), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_count(table: Table, chance: random.Random) -> None:
    scores, outcomes = table
    rows = np.array(chance.sample(range(len(scores)), len(scores)))
    moved = outcomes.at(rows)
    assert apgr(scores[rows], moved) == pytest.approx(apgr(scores, outcomes), abs=1e-9)
    assert apgr(scores[rows], moved, points=10) == pytest.approx(apgr(scores, outcomes, points=10), abs=1e-9)
    assert cpt(scores[rows], moved, recovered=0.8) == pytest.approx(cpt(scores, outcomes, recovered=0.8), abs=1e-9)


@given(tables(), st.floats(0, 1))
def test_no_smaller_share_recovers_as_much(table: Table, recovered: float) -> None:
    scores, outcomes = table
    share, found = cpt(scores, outcomes, recovered=recovered), curve(scores, outcomes)
    wanted = outcomes.weak.mean() + recovered * outcomes.gap
    assert np.interp(share, found.share, found.quality) == pytest.approx(wanted, abs=1e-9)
    assert (found.quality[found.share < share] < wanted + 1e-9).all()


def test_calibration_is_the_weighted_distance_of_the_bins() -> None:
    predicted, observed = floats(0.1, 0.3, 0.9, 0.7, 0.8), floats(0, 0.5, 1, 1, 0)
    # Two bins: 0.1 and 0.3 (mean 0.2, observed 0.25), and 0.9, 0.7, 0.8 (mean 0.8, observed 2/3).
    low, high = reliability(predicted, observed, bins=2)
    assert (low.count, low.predicted, low.observed) == pytest.approx((2, 0.2, 0.25))
    assert (high.count, high.predicted, high.observed) == pytest.approx((3, 0.8, 2 / 3))
    expected = 2 / 5 * 0.05 + 3 / 5 * (0.8 - 2 / 3)
    assert expected_calibration_error(predicted, observed, bins=2) == pytest.approx(expected)


def test_the_edges_of_the_bins_are_theirs_from_below() -> None:
    found = reliability(floats(0, 0.1, 0.3, 0.31, 1), floats(0, 0, 1, 1, 1))
    assert [row.count for row in found] == [2, 1, 1, 1]
    assert found[1:] == (Bin(1, 0.3, 1), Bin(1, 0.31, 1), Bin(1, 1, 1))


def test_a_forecast_that_is_right_on_average_has_no_error() -> None:
    assert expected_calibration_error(np.full(4, 0.25), floats(0, 0, 0, 1)) == 0
    assert expected_calibration_error(floats(0, 1), floats(1, 0)) == 1


def forecasts(count: int, *, seed: int, off: float = 0.0) -> tuple[FloatArray, FloatArray]:
    """Two tiers' forecasts `[count, 2]` and what came of them; they say `off` too much."""
    chance = np.random.default_rng(seed)
    true = chance.uniform(0.2, 0.6, size=(count, 2))
    return true + off, (chance.random((count, 2)) < true).astype(np.float64)


def plain_error(predicted: FloatArray, observed: FloatArray) -> float:
    """The mean over the tiers."""
    return float(np.mean([expected_calibration_error(*tier) for tier in zip(predicted.T, observed.T, strict=True)]))


def test_what_chance_adds_to_a_calibration_error_is_taken_off() -> None:
    found = [calibration_error(*forecasts(300, seed=seed), seed=0) for seed in range(12)]
    plain, corrected = (float(np.mean([getattr(one, part).value for one in found])) for part in ("plain", "corrected"))
    assert plain > 0.025  # the truth is 0
    assert corrected < 0.7 * plain
    assert all(part.low <= part.value <= part.high for one in found for part in (one.plain, one.corrected))


def test_the_interval_of_a_plain_error_holds_what_other_samples_show() -> None:
    shown = float(np.mean([plain_error(*forecasts(300, seed=1_000 + seed)) for seed in range(200)]))
    assert shown == pytest.approx(0.044, abs=0.002)  # the truth is 0
    found = [calibration_error(*forecasts(300, seed=seed), seed=0).plain for seed in range(20)]
    assert sum(one.low <= shown <= one.high for one in found) >= 18
    assert np.mean([one.low + one.high for one in found]) / 2 == pytest.approx(shown, abs=0.006)


def test_the_interval_of_a_calibration_error_holds_the_true_one() -> None:
    found = [calibration_error(*forecasts(400, seed=seed, off=0.1), seed=0).corrected for seed in range(20)]
    assert sum(one.low <= 0.1 <= one.high for one in found) >= 16


def test_a_tier_that_promises_too_much_does_not_hide_one_that_promises_too_little() -> None:
    chance = np.random.default_rng(4)
    observed = (chance.random((2000, 2)) < np.array([0.35, 0.78])).astype(np.float64)
    predicted = np.tile(np.array([0.55, 0.58]), (2000, 1))
    found = calibration_error(predicted, observed, seed=0)
    assert found.plain.value == pytest.approx(0.2, abs=0.02)
    assert found.corrected.low > 0.17


def test_the_tiers_of_a_prompt_are_drawn_together() -> None:
    once = forecasts(200, seed=1)
    alone = calibration_error(once[0][:, :1], once[1][:, :1], seed=3)
    twice = calibration_error(*(np.repeat(part[:, :1], 2, axis=1) for part in once), seed=3)
    for part in ("plain", "corrected"):  # the same prompt in two tiers is no second prompt
        assert astuple(getattr(twice, part)) == pytest.approx(astuple(getattr(alone, part)))


def test_copies_of_prompts_make_no_interval_narrower() -> None:
    scores, outcomes = drawn(120)
    copies = np.tile(np.arange(120), 4)
    once = evaluate(scores, outcomes, seed=1)
    often, apart = (
        evaluate(scores[copies], outcomes.at(copies), seed=1, units=units) for units in (copies, np.arange(480))
    )
    for name, one in once.items():
        assert astuple(often[name]) == pytest.approx(astuple(one), abs=0.01)
        assert apart[name].high - apart[name].low < 0.7 * (one.high - one.low)
    said, seen = forecasts(120, seed=2)
    copied = calibration_error(said[copies], seen[copies], seed=1, units=copies)
    alone = calibration_error(said, seen, seed=1)
    assert astuple(copied.plain) == pytest.approx(astuple(alone.plain))
    assert astuple(copied.corrected) == pytest.approx(astuple(alone.corrected))


def test_one_unit_has_values_and_no_interval() -> None:
    scores, outcomes = drawn(60)
    one = np.zeros(60, np.int64)
    found = evaluate(scores, outcomes, seed=1, units=one)["apgr"]
    assert found.value == apgr(scores, outcomes)
    said = calibration_error(*forecasts(60, seed=2), seed=1, units=one)
    assert said.plain.value == said.corrected.value > 0
    assert all(math.isnan(end) for part in (found, said.plain, said.corrected) for end in (part.low, part.high))


def test_a_share_counts_the_threshold_itself() -> None:
    scores = floats(0.2, 0.4, 0.4, 0.8)
    shares = [share_at(scores, threshold=threshold) for threshold in (0.1, 0.2, 0.4, 0.5, 0.8, math.inf)]
    assert shares == [1, 1, 3 / 4, 1 / 4, 1 / 4, 0]


def test_the_same_seed_draws_the_same_interval() -> None:
    scores, outcomes = drawn(100)
    first, again, other = (evaluate(scores, outcomes, seed=seed) for seed in (5, 5, 6))
    assert first == again
    assert first["apgr"].value == other["apgr"].value
    assert first["apgr"] != other["apgr"]


def test_every_metric_comes_with_its_interval() -> None:
    scores, outcomes = drawn(300)
    found = evaluate(scores, outcomes, seed=1)
    assert list(found) == ["apgr", "cpt50", "cpt80"]
    assert found["apgr"].value == apgr(scores, outcomes)
    assert found["cpt50"].value == cpt(scores, outcomes, recovered=0.5)
    assert found["cpt80"].value == cpt(scores, outcomes, recovered=0.8)
    assert all(row.low < row.value < row.high for row in found.values())


def test_a_thousand_resamples_of_a_large_set_are_fast() -> None:
    scores, outcomes = drawn(7000)
    started = time.process_time()
    bootstrap(7000, lambda rows: apgr(scores[rows], outcomes.at(rows)), seed=1)
    assert time.process_time() - started < 3


def test_each_group_is_measured_by_itself() -> None:
    scores, outcomes = drawn(60)
    groups = ["b", "a", "a"] * 20
    found = groupwise(scores, outcomes, groups=groups)
    assert list(found) == ["a", "b"]
    rows = np.arange(0, 60, 3)
    own = outcomes.at(rows)
    assert found["b"] == Group(20, apgr(scores[rows], own), float(own.weak.mean()), float(own.strong.mean()))
    assert found["a"].count == 40


def test_a_group_that_tells_nothing_has_no_apgr() -> None:
    ones, zeros = np.ones(39), np.zeros(39)
    outcomes = Outcomes(np.concatenate((zeros[:19], ones[:20])), np.concatenate((ones[:19], zeros[:20])))
    found = groupwise(floats(*range(39)), outcomes, groups=["few"] * 19 + ["worse"] * 20)
    assert found == {"few": Group(19, None, 0, 1), "worse": Group(20, None, 1, 0)}


@pytest.mark.parametrize(
    ("weak", "strong", "sentence"),
    [
        ((), (), "at least one number"),
        ((0, 1), (1,), "the qualities of the two tiers must be equally many: 2 and 1"),
        ((0, math.nan), (1, 1), "the small tier's quality must lie within 0 and 1"),
        ((0, 1), (1, math.inf), "the large tier's quality must lie within 0 and 1"),
        ((0, -0.1), (1, 1), "the small tier's quality must lie within 0 and 1"),
        ((0, 0), (1, 1.1), "the large tier's quality must lie within 0 and 1"),
    ],
)
def test_outcomes_that_are_no_qualities_are_refused(
    weak: tuple[float, ...], strong: tuple[float, ...], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        Outcomes(floats(*weak), floats(*strong))


@pytest.mark.parametrize("strong", [floats(0.1, 0.3, 0.2), floats(0.1, 0.1, 0.3)])
def test_nothing_is_recovered_where_there_is_no_gap(strong: FloatArray) -> None:
    outcomes = Outcomes(floats(0.3, 0.1, 0.2), strong)
    for metric in (apgr, lambda some, their: cpt(some, their, recovered=0.5)):
        with pytest.raises(ValueError, match="nothing can be recovered"):
            metric(floats(1, 2, 3), outcomes)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: curve(floats(1, 2), FOUR), "the scores and the outcomes must be equally many: 2 and 4"),
        (lambda: curve(floats(1, 2, 3, math.nan), FOUR), "scores must be finite"),
        (lambda: apgr(ORACLE, FOUR, points=0), "at least one step"),
        (lambda: cpt(ORACLE, FOUR, recovered=1.1), "recovered part of the gap must lie within 0 and 1"),
        (lambda: share_at(floats(), threshold=0), "at least one number"),
        (lambda: share_at(floats(1), threshold=math.nan), "threshold must be a number"),
        (lambda: reliability(floats(0.5), floats(0.5), bins=0), "at least one bin"),
        (lambda: reliability(floats(0.5, 2), floats(0.5, 0.5)), "predictions must lie within 0 and 1"),
        (lambda: reliability(floats(0.5), floats(0.5, 1)), "equally many: 1 and 2"),
        (lambda: groupwise(ORACLE, FOUR, groups=["a"]), "the groups and the outcomes must be equally many: 1 and 4"),
    ],
)
def test_a_wrong_question_is_answered_in_a_sentence(call: Callable[[], object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        call()
