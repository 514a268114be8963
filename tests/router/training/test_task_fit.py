from dataclasses import replace

import numpy as np
import pytest

from router.tasks import LEARNED
from router.training.task_fit import SPREAD, STEPS, Origin, held_out, train
from tests.router.tasks.made import embedded, examples

ORIGIN = Origin("hashing", "0" * 64)


def test_training_is_repeatable_and_told_step_by_step() -> None:
    steps: list[None] = []
    first = train(embedded(examples()), embedded(examples()), origin=ORIGIN, heard=lambda: steps.append(None))
    second = train(embedded(examples()), embedded(examples()), origin=ORIGIN)
    assert len(steps) == STEPS
    assert np.array_equal(first.weights, second.weights)
    assert first.manifest == second.manifest
    assert set(first.manifest.measured) == {"wordings", "families", "unseen"}


def test_prompts_of_one_wording_count_as_one() -> None:
    once = examples()
    often = (*once, *[once[0] for _ in range(30)])
    one, other = (train(embedded(some), embedded(once), origin=ORIGIN) for some in (once, often))
    assert one.manifest.measured["families"].prompts == other.manifest.measured["families"].prompts == len(once)
    assert np.abs(one.bias - other.bias).max() < 0.01


def test_a_word_gets_a_weight_when_it_stands_in_enough_wordings_and_not_as_a_value() -> None:
    some = tuple(replace(example, wording=f"{example.wording} {{lamp}}") for example in examples())
    words = train(embedded(some), embedded(some), origin=ORIGIN).manifest.words
    counts = {word: sum(word in example.wording.lower() for example in some) for word in ("draft", "the", "stone")}
    assert counts["draft"] >= SPREAD > counts["stone"]
    assert {"draft", "the"} <= set(words)
    assert {"stone", "lamp"}.isdisjoint(words)


@pytest.mark.parametrize("missing", ["code", "writing"])
def test_a_task_without_examples_cannot_be_learned(missing: str) -> None:
    some = tuple(example for example in examples() if example.task != missing)
    with pytest.raises(ValueError, match="every task and both answers"):
        train(embedded(some), embedded(examples()), origin=ORIGIN)


def test_the_shipped_tasks_are_those_that_are_learned() -> None:
    assert train(embedded(examples()), embedded(examples()), origin=ORIGIN).manifest.tasks == LEARNED


def test_neither_weights_nor_temperature_of_what_is_held_out_were_fitted_on_it() -> None:
    some = examples()
    families = [example.family for example in some]
    before = held_out(embedded(some), families, origin=ORIGIN)
    turned = tuple(
        replace(example, retrieval=not example.retrieval) if example.family == "code 1" else example for example in some
    )
    after = held_out(embedded(turned), families, origin=ORIGIN)
    own = np.array([family == "code 1" for family in families])
    assert np.array_equal(before[own], after[own])
    assert not np.allclose(before[~own], after[~own])
