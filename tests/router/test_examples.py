import numpy as np
import pytest
from numpy.typing import NDArray

from router.examples import CHARACTERS, MOST, Examples, fingerprints

Floats = NDArray[np.float32]


def vectors(count: int, *, seed: int = 0, width: int = 16) -> Floats:
    found = np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)
    unit: Floats = found / np.linalg.norm(found, axis=1, keepdims=True)
    return unit


def examples(count: int, *, width: int = 16) -> Examples:
    small = np.arange(count) % 2 * 1.0
    texts = [f"prompt {at} é{'x' * 300}" for at in range(count)]
    return Examples.sample(vectors(count, width=width), small=small, large=np.ones(count), texts=texts, seed=1)


def test_the_nearest_example_of_an_example_is_itself_and_the_best_comes_first() -> None:
    found = examples(40).nearest(vectors(40)[7], count=3)
    assert found[0].text.startswith("prompt 7 ")
    assert found[0].similarity == pytest.approx(1.0, abs=1e-6)
    assert (found[0].small, found[0].large, len(found[0].text)) == (1.0, 1.0, CHARACTERS)
    assert [one.similarity for one in found] == sorted((one.similarity for one in found), reverse=True)
    assert len(examples(2).nearest(vectors(2)[0], count=5)) == 2


def test_a_distance_is_one_less_the_cosine_to_the_nearest() -> None:
    known, asked = vectors(300), vectors(600, seed=5)
    assert np.allclose(examples(300).distance(asked), 1 - (asked @ known.T).max(axis=1), atol=1e-3)
    assert examples(300).distance(known).max() < 1e-5


def test_an_example_is_not_its_own_neighbour_when_it_is_left_out() -> None:
    cosines = vectors(300) @ vectors(300).T
    np.fill_diagonal(cosines, -1)
    assert np.allclose(examples(300).apart(), 1 - cosines.max(axis=1), atol=1e-3)
    assert examples(1).apart().tolist() == [0.0]


def test_of_many_prompts_a_sample_is_kept_the_same_for_the_same_seed() -> None:
    found = [
        Examples.sample(
            vectors(MOST + 500, width=2),
            small=np.zeros(MOST + 500),
            large=np.ones(MOST + 500),
            texts=[str(at) for at in range(MOST + 500)],
            seed=seed,
        )
        for seed in (3, 3, 4)
    ]
    assert [len(one) for one in found] == [MOST] * 3
    assert found[0].texts == found[1].texts != found[2].texts


def test_the_vote_is_the_weighted_mean_of_the_fifty_nearest() -> None:
    known, asked = vectors(200), vectors(9, seed=8)
    found = examples(200).votes(asked)
    near = asked @ known.T
    for row in range(9):
        nearest = np.argsort(-near[row])[:50]
        weights = np.exp(10 * near[row, nearest])
        gain = 1.0 - nearest % 2
        mean = (weights * gain).sum() / weights.sum()
        assert found.gain[row] == pytest.approx(mean, abs=0.005)  # the vectors are rounded
        error = np.sqrt(((weights * (gain - mean)) ** 2).sum()) / weights.sum()
        assert found.error[row] == pytest.approx(error, abs=0.005)


def test_the_order_of_equal_examples_says_nothing() -> None:
    same, labels = np.repeat(vectors(1), 120, axis=0), np.arange(120) % 3 / 2
    for order in (np.arange(120), np.argsort(labels)):
        found = Examples.sample(same, small=labels[order], large=np.ones(120), texts=["a"] * 120, seed=0)
        assert found.votes(same[:1]).gain[0] == pytest.approx(0.5, abs=1e-6)


def test_no_prompt_has_no_votes() -> None:
    assert [len(part) for part in examples(9).votes(np.empty((0, 16), np.float32))] == [0] * 4


def test_what_is_kept_comes_back() -> None:
    first = examples(30)
    again = Examples.of(first.arrays(), width=16)
    assert again.texts == first.texts
    assert np.array_equal(again.votes(vectors(5, seed=2)).gain, first.votes(vectors(5, seed=2)).gain)
    odd = Examples.sample(vectors(2), small=np.zeros(2), large=np.ones(2), texts=["", "\ud800"], seed=0)
    assert Examples.of(odd.arrays(), width=16).texts == ("", "?")


def test_a_fingerprint_is_of_the_words_and_not_of_the_spaces() -> None:
    found = fingerprints(["a b", " a\n b\n", "a c", "\ud800"])
    assert found[0] == found[1]
    assert len(set(found.tolist())) == 3
    assert found.dtype == np.uint64
