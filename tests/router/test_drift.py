import numpy as np
import pytest
from numpy.typing import NDArray

from router.drift import BINS, DIRECTIONS, WINDOW, Drift, Reference, Shift, merged, shifts_of
from router.manifest import POLICIES

Doubles = NDArray[np.float64]
Draw = tuple[NDArray[np.float32], Doubles, Doubles]
NAMES = ("gain learned", "distance", *(f"axis {at}" for at in range(1, DIRECTIONS + 1)))


def draw(count: int, *, seed: int, moved: float = 0.0) -> Draw:
    """Sentence vectors, gains and distances; `moved` is in deviations."""
    chance = np.random.default_rng(seed)
    sentence = chance.normal(moved, 1, size=(count, 12)).astype(np.float32)
    return sentence, chance.normal(moved, 1, size=count) * 0.2, chance.gamma(3 + moved, 0.1, size=count)


@pytest.fixture(scope="module")
def reference() -> Reference:
    sentence, gain, distance = draw(3000, seed=0)
    return Reference.learn(sentence, gains={"learned": gain, "knn": gain / 2}, distance=distance)


def drifted(reference: Reference, drawn: Draw) -> Drift:
    found = Drift(reference)
    found.add(drawn[0], gain=drawn[1], distance=drawn[2], policy="learned")
    return found


def shifts(reference: Reference, drawn: Draw) -> dict[str, Shift]:
    found = shifts_of(drifted(reference, drawn).counts(), reference.training)
    assert tuple(found) == NAMES
    return found


@pytest.mark.parametrize("count", [200, 500, 2000])
def test_prompts_of_the_same_distribution_stay_stable(reference: Reference, count: int) -> None:
    verdicts = [shift.verdict for seed in range(1, 21) for shift in shifts(reference, draw(count, seed=seed)).values()]
    assert len(verdicts) == 200
    assert verdicts.count("stable") >= 198  # by chance one in some hundreds is not, at 200 prompts
    assert "shifted" not in verdicts


def test_without_a_shift_the_index_is_about_nothing(reference: Reference) -> None:
    found = [shifts(reference, draw(300, seed=seed))["gain learned"].psi or 0.0 for seed in range(1, 41)]
    assert float(np.mean(found)) < 0.015  # uncorrected: 9 · (1/300 + 1/3000) = 0.033


@pytest.mark.parametrize(("moved", "verdicts"), [(0.35, {"shifting"}), (1.0, {"shifted"})])
def test_a_shift_is_told_by_its_size(reference: Reference, moved: float, verdicts: set[str]) -> None:
    found = shifts(reference, draw(2000, seed=3, moved=moved))
    assert found["gain learned"].verdict in verdicts
    assert found["gain learned"].prompts == 2000


def test_few_prompts_say_nothing(reference: Reference) -> None:
    found = shifts_of(drifted(reference, draw(199, seed=3, moved=5)).counts(), reference.training)
    assert found["distance"] == Shift(None, 199, "too few")
    assert "gain knn" not in found


def test_the_window_forgets_the_oldest_and_never_grows(reference: Reference) -> None:
    found = drifted(reference, draw(500, seed=1))
    for seed in (2, 3, 4):
        sentence, gain, distance = draw(700, seed=seed, moved=9)
        found.add(sentence, gain=gain, distance=distance, policy="learned")
    counts = found.counts()
    assert sum(counts["gain learned"]) == WINDOW
    assert counts["gain learned"][-1] == WINDOW  # the first 500 are gone
    sentence, gain, distance = draw(WINDOW + 10, seed=5)
    found.add(sentence, gain=gain, distance=distance, policy="knn")
    assert (sum(found.counts()["gain learned"]), sum(found.counts()["gain knn"])) == (0, WINDOW)


def test_one_prompt_at_a_time_counts_as_all_at_once(reference: Reference) -> None:
    sentence, gain, distance = draw(50, seed=6)
    found = Drift(reference)
    for at in range(50):
        one = slice(at, at + 1)
        found.add(sentence[one], gain=gain[one], distance=distance[one], policy="learned")
    assert found.counts() == drifted(reference, (sentence, gain, distance)).counts()


def test_the_counts_of_processes_add_up(reference: Reference) -> None:
    parts = [drifted(reference, draw(150, seed=seed)).counts() for seed in (1, 2)]
    both = merged(parts)
    assert sum(both["distance"]) == 300
    assert all(isinstance(one, int) for one in both["distance"])
    assert shifts_of(both, reference.training)["distance"].verdict == "stable"
    assert merged([]) == {}


def test_the_index_is_the_published_sum(reference: Reference) -> None:
    counts = (100, 150, 50, 100, 100, 100, 100, 100, 100, 100)
    known = reference.counts[2] / reference.counts[2].sum()
    share = np.array(counts) / 1000
    wanted = float(((share - known) * np.log(share / known)).sum()) - (BINS - 1) * (1 / 1000 + 1 / 3000)
    assert shifts_of({"distance": counts}, reference.training)["distance"].psi == pytest.approx(wanted)


def test_an_empty_bin_is_a_large_shift_and_not_an_infinite_one(reference: Reference) -> None:
    found = shifts_of({"distance": (0, 0, 0, 0, 0, 0, 0, 0, 0, 400)}, reference.training)["distance"]
    assert found.verdict == "shifted"
    assert found.psi is not None
    assert np.isfinite(found.psi)


def test_a_quantity_that_is_always_the_same_is_stable_until_it_is_not() -> None:
    sentence, gain, distance = draw(400, seed=0)
    flat = Reference.learn(sentence, gains={"learned": gain * 0, "knn": gain}, distance=distance)
    assert shifts(flat, (sentence, gain * 0, distance))["gain learned"].psi == 0.0
    assert shifts(flat, (sentence, gain * 0 - 0.1, distance))["gain learned"].verdict == "shifted"


def test_bins_come_back_as_they_were_kept(reference: Reference) -> None:
    again = Reference.of(reference.arrays(), policies=POLICIES, width=12)
    assert shifts_of({"axis 1": (30,) * BINS}, again.training) == shifts_of(
        {"axis 1": (30,) * BINS}, reference.training
    )
