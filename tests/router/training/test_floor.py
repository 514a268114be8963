"""The floor of quality on made prompts whose true quality is known."""

import numpy as np
import pytest

from router.evaluate import FloatArray, Outcomes
from router.model import ALWAYS_LARGE, ALWAYS_SMALL
from router.training.floor import CANDIDATES, Judged, Kept, candidates, keep

LARGE = 0.85
FLOOR = 0.95
DRAWS = 120


def drawn(count: int, *, seed: int, copies: int = 1) -> Judged:
    """The gain is even over 0…1, the small tier right with 0.9 − 0.7 · gain, the large one with 0.85. Each of the
    prompts stands there `copies` times."""
    chance = np.random.default_rng(seed)
    gain = chance.random(count)
    weak, strong = chance.random(count) < 0.9 - 0.7 * gain, chance.random(count) < LARGE
    rows = np.repeat(np.arange(count), copies)
    return Judged(gain[rows], Outcomes(weak[rows].astype(np.float64), strong[rows].astype(np.float64)), rows)


def truth(threshold: float) -> float:
    """What this threshold keeps of always-large's quality on all prompts there are."""
    small = min(max(threshold, 0.0), 1.0)
    return (0.9 * small - 0.35 * small**2 + (1 - small) * LARGE) / LARGE


def without_margin(judged: Judged, floor: float) -> float:
    """The smallest share that keeps the floor on these very prompts."""
    strong = judged.outcomes.strong.mean()
    kept = [at for at in candidates(judged.gain) if judged.quality(at).mean() >= floor * strong]
    return max(kept)


def held(thresholds: list[float]) -> float:
    """How many of them keep the floor on all prompts there are, 0…1."""
    return float(np.mean([truth(threshold) >= FLOOR for threshold in thresholds]))


@pytest.fixture(scope="module")
def chosen() -> list[Kept]:
    """What is chosen on 300 prompts, drawn anew again and again."""
    return [keep(drawn(300, seed=seed), FLOOR) for seed in range(DRAWS)]


def test_the_floor_holds_as_often_as_is_said(chosen: list[Kept]) -> None:
    assert held([one.threshold for one in chosen]) >= 0.95
    assert all(one.low >= FLOOR for one in chosen)


def test_less_confidence_holds_as_often_as_it_says() -> None:
    found = [keep(drawn(300, seed=seed), FLOOR, confidence=0.8).threshold for seed in range(60)]
    assert 0.8 <= held(found) < 0.95


def test_without_a_margin_the_floor_is_missed_as_often_as_not() -> None:
    assert held([without_margin(drawn(300, seed=seed), FLOOR) for seed in range(DRAWS)]) < 0.6


def test_as_many_other_prompts_keep_the_floor_as_often_as_is_said(chosen: list[Kept]) -> None:
    kept = [fresh(one, seed=1_000 * at + other) for at, one in enumerate(chosen) for other in range(10)]
    said = np.mean([one.again for one in chosen])
    assert 0.8 < said < 0.95
    assert np.mean(kept) >= said - 0.01


def fresh(found: Kept, *, seed: int) -> bool:
    other = drawn(300, seed=10**6 + seed)
    return bool(other.quality(found.threshold).mean() >= FLOOR * other.outcomes.strong.mean())


def test_copies_of_prompts_make_nobody_surer() -> None:
    copied = [drawn(60, seed=seed, copies=5) for seed in range(60)]
    assert held([keep(judged, FLOOR).threshold for judged in copied]) >= 0.95
    one, four = drawn(100, seed=1), drawn(100, seed=1, copies=4)
    parted = Judged(four.gain, four.outcomes, np.arange(400))
    assert keep(four, FLOOR).threshold == keep(one, FLOOR).threshold
    assert keep(parted, FLOOR).share < keep(one, FLOOR).share


def test_more_prompts_need_fewer_large_calls_and_more_confidence_needs_more() -> None:
    few, many = (keep(drawn(count, seed=3), FLOOR).share for count in (150, 3_000))
    assert few > many > 0.57  # what is needed where everything is known
    shares = [keep(drawn(300, seed=3), FLOOR, confidence=sure).share for sure in (0.5, 0.8, 0.99)]
    assert shares == sorted(set(shares))


def test_what_few_prompts_do_not_show_is_not_impossible() -> None:
    gain = np.linspace(0, 1, 50)
    spotless = Judged(gain, Outcomes(np.ones(50), np.ones(50)), np.arange(50))
    assert keep(spotless, 0.99).threshold == ALWAYS_LARGE
    assert keep(spotless, 0.9).threshold == ALWAYS_SMALL
    assert 0.92 < keep(spotless, 0.9).low < 0.96  # about 1 − 3/50


@pytest.mark.parametrize("large", [np.ones(60), np.zeros(60)])
def test_a_floor_of_nothing_is_kept_by_no_large_call(large: FloatArray) -> None:
    judged = Judged(np.linspace(0, 1, 60), Outcomes(np.zeros(60), large), np.arange(60))
    assert keep(judged, 0.0).share == 0.0


def test_thresholds_are_few_and_go_from_all_to_none() -> None:
    found = candidates(np.random.default_rng(1).random(5_000))
    assert (found[0], found[-1]) == (ALWAYS_LARGE, ALWAYS_SMALL)
    assert list(found[:-1]) == sorted(found[:-1])
    assert len(found) <= CANDIDATES + 1
    assert candidates(np.array([0.5, 0.1, 0.5])) == (ALWAYS_LARGE, 0.5, ALWAYS_SMALL)
