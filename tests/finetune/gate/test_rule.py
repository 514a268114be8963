"""The rule: what passes and what does not, one by one, and how often it errs over drawn candidates."""

from random import Random

import pytest
from pydantic import ValidationError

from finetune.gate.bounds import interval
from finetune.gate.rule import Check, GateRule, Ruling, Scored, ruled
from tests.finetune.gate.drawn import kept, passes, right, scored, shuffled

GOOD = [Scored("t", 1.0, 0.0, None, 0.2, 0.2)] * 60
RULE = GateRule()


def check(ruling: Ruling, name: str) -> Check:
    return next(one for one in ruling.checks if one.name == name)


def test_a_candidate_that_is_right_where_the_base_is_not_passes() -> None:
    ruling = ruled(GOOD, [], rule=RULE)
    assert ruling.passed
    assert ruling.reasons == []
    assert check(ruling, "forgetting").outcome == "not looked at"
    assert "NO REGRESSION SET" in check(ruling, "forgetting").sentence


def test_a_missing_regression_set_can_be_made_a_failure() -> None:
    assert not ruled(GOOD, [], rule=GateRule(regression_required=True)).passed


def test_a_candidate_that_always_gives_the_most_frequent_answer_fails() -> None:
    majority = [Scored("t", float(at % 2), 0.0, None, float(at % 2), 0.5) for at in range(200)]
    ruling = ruled(majority, [], rule=RULE)
    assert not ruling.passed
    assert check(ruling, "constant").outcome == "failed"
    assert check(ruling, "base").outcome == "passed"  # which alone would have let it through


def test_a_set_with_one_answer_alone_tells_nothing() -> None:
    ruling = ruled([Scored("t", 1.0, 0.0, None, 1.0, 1.0)] * 100, [], rule=RULE)
    assert "expects the same answer" in check(ruling, "constant").sentence
    assert not ruling.passed


def test_too_few_examples_do_not_pass_and_say_how_many_are_needed() -> None:
    few = check(ruled(GOOD[:2], [], rule=RULE), "base")
    assert few.outcome == "not enough examples"
    assert few.needed is not None
    assert few.needed > 2
    assert f"about {few.needed:,}" in few.sentence


def test_at_the_ceiling_the_base_need_not_be_beaten_but_must_not_be_lost_to() -> None:
    even = [Scored("t", 1.0, 1.0, None, 0.2, 0.2)] * 100
    assert ruled(even, [], rule=RULE).passed
    worse = [Scored("t", float(at % 4 > 0), 1.0, None, 0.2, 0.2) for at in range(100)]
    assert check(ruled(worse, [], rule=RULE), "base").outcome == "failed"


def test_a_candidate_that_is_as_good_as_live_passes_and_a_worse_one_does_not() -> None:
    same = [Scored("t", 1.0, 0.0, 1.0, 0.2, 0.2)] * 60
    assert check(ruled(same, [], rule=RULE), "live").outcome == "passed"
    worse = [Scored("t", float(at % 3 > 0), 0.0, 1.0, 0.2, 0.2) for at in range(60)]
    assert check(ruled(worse, [], rule=RULE), "live").outcome == "failed"


def test_live_can_be_held_to_the_margin_alone() -> None:
    same = [Scored("t", 1.0, 0.0, 1.0, 0.2, 0.2)]
    strict = GateRule(live_resolution=0.02)
    assert check(ruled(same * 60, [], rule=strict), "live").outcome == "not enough examples"
    assert check(ruled(same * 400, [], rule=strict), "live").outcome == "passed"


def test_one_forgotten_task_fails_the_candidate_though_the_others_hide_it() -> None:
    held = [Scored("kept", 1.0, 1.0)] * 900
    lost = [Scored("lost", float(at % 2), 1.0) for at in range(30)]
    ruling = ruled(GOOD, held + lost, rule=RULE)
    assert check(ruling, "forgetting").outcome == "passed"
    assert check(ruling, "forgetting: lost").outcome == "failed"
    assert not ruling.passed


def test_a_regression_set_without_a_loss_is_enough_from_about_thirty_examples_on() -> None:
    held = [Scored("t", 1.0, 1.0)]
    assert check(ruled(GOOD, held * 10, rule=RULE), "forgetting").outcome == "not enough examples"
    assert check(ruled(GOOD, held * 40, rule=RULE), "forgetting").outcome == "passed"


def test_a_small_task_is_told_and_stops_nobody_by_itself() -> None:
    ruling = ruled(GOOD, [Scored("big", 1.0, 1.0)] * 100 + [Scored("small", 1.0, 1.0)] * 3, rule=RULE)
    assert check(ruling, "forgetting: small").outcome == "not enough examples"
    assert ruling.passed


def test_without_golden_examples_there_is_no_ruling() -> None:
    with pytest.raises(ValueError, match="at least one golden example"):
        ruled([], [], rule=RULE)


@pytest.mark.parametrize("told", [{"margin": "2"}, {"margins": 0.1}, {"confidence": 0.2}, {"resolution": 0}])
def test_a_threshold_that_is_not_there_is_refused(told: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        GateRule.model_validate(told)


def test_bounds_hold_one_more_example_against_the_claim() -> None:
    found = interval([0.0] * 100, confidence=0.95, seed=1)
    assert found.mean == 0
    assert 0.02 <= found.high <= 0.04  # the rule of three: 3 of 100
    assert found.low == -found.high
    assert interval([0.5, 1.0] * 20, confidence=0.95, seed=1) == interval([0.5, 1.0] * 20, confidence=0.95, seed=1)
    with pytest.raises(ValueError, match="at least one"):
        interval([], confidence=0.95, seed=1)


@pytest.mark.parametrize("count", [20, 50, 200])
def test_a_candidate_trained_on_shuffled_answers_hardly_ever_passes(count: int) -> None:
    assert passes(lambda chance: (scored(count, chance, answer=shuffled), [])) <= 0.02


@pytest.mark.parametrize(("base", "least"), [(0.0, 0.98), (0.5, 0.95)])
def test_a_good_candidate_nearly_always_passes_from_fifty_examples_on(base: float, least: float) -> None:
    assert passes(lambda chance: (scored(50, chance, answer=right(0.9), base=base), [])) >= least


def test_a_candidate_that_is_no_better_than_its_base_seldom_passes() -> None:
    assert passes(lambda chance: (scored(100, chance, answer=right(0.5), base=0.5), [])) <= 0.08


def test_a_candidate_that_is_ten_points_below_live_seldom_passes() -> None:
    assert passes(lambda chance: (scored(200, chance, answer=right(0.8), live=0.9), [])) <= 0.08


def test_a_candidate_that_forgot_seldom_passes_and_one_that_did_not_does() -> None:
    def drawn(lost: float) -> float:
        return passes(lambda chance: (scored(60, chance, answer=right(0.95)), kept(200, chance, lost=lost)))

    assert drawn(0.1) <= 0.1
    assert drawn(0.0) >= 0.95


def test_small_regression_sets_do_not_let_forgetting_pass_by_ignorance() -> None:
    assert passes(lambda chance: (GOOD, kept(30, chance, lost=0.1))) <= 0.1


def test_the_same_scores_get_the_same_ruling() -> None:
    chance = Random(1)
    found = scored(40, chance, answer=right(0.7), base=0.3)
    assert ruled(found, [], rule=RULE, seed=3) == ruled(found, [], rule=RULE, seed=3)
