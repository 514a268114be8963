import random

import numpy as np
import pytest
import torch

from finetune.training.batches import IGNORED, packed_rows, pair_rows
from finetune.training.corpus import Corpus, collected
from tests.finetune.tiny import tiny_model

LENGTHS = (7, 3, 12, 1, 5)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    rng = random.Random(3)
    return collected(
        (
            [([rng.randrange(10, 1700) for _ in range(length)], [False] + [True] * (length - 1))]
            for length in (*LENGTHS[:3], 2, *LENGTHS[4:])
        ),
        longest=64,
    )


def alone(corpus: Corpus, one: int) -> torch.Tensor:
    ids = torch.tensor(corpus.ids[corpus.starts[one] : corpus.starts[one + 1]].astype(np.int64))[None]
    return tiny_model()(input_ids=ids).logits[0]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_packed_examples_get_the_logits_that_they_get_alone(corpus: Corpus, attention: str) -> None:
    rows = [(0, 2, 3), (4, 1)]
    batch = packed_rows(corpus, rows, pad=0)
    with torch.no_grad():
        model = tiny_model(attention=attention)
        found = model(input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False).logits
        for number, row in enumerate(rows):
            at = 0
            for one in row:
                length = int(corpus.lengths[one])
                torch.testing.assert_close(found[number, at : at + length], alone(corpus, one), rtol=1e-5, atol=1e-6)
                at += length


@pytest.mark.parametrize("spoiled", ["positions that run on", "an attention mask", "a cache"])
def test_packing_in_which_examples_see_each_other_gives_other_logits(corpus: Corpus, spoiled: str) -> None:
    batch = packed_rows(corpus, [(0, 2)], pad=0)
    ids, inputs = batch["input_ids"], {"position_ids": batch["position_ids"], "use_cache": spoiled == "a cache"}
    if spoiled == "an attention mask":
        inputs["attention_mask"] = torch.ones_like(ids)
    if spoiled == "positions that run on":
        inputs["position_ids"] = torch.arange(ids.shape[1])[None]
    with torch.no_grad():
        found = tiny_model()(input_ids=ids, **inputs).logits[0, 7:]
        assert (found - alone(corpus, 2)).abs().max() > 1e-3


def test_labels_are_the_learned_tokens_and_never_the_first_of_an_example(corpus: Corpus) -> None:
    batch = packed_rows(corpus, [(0, 1), (2,)], pad=0)
    assert (batch["labels"] != IGNORED).sum() == corpus.learned_of([0, 1, 2]) == 6 + 2 + 11
    assert (batch["labels"][batch["position_ids"] == 0] == IGNORED).all()


def test_a_pair_is_two_rows_and_its_answers_are_marked() -> None:
    pair = [([5, 6, 7, 8], [False, False, True, True]), ([5, 6, 9], [False, False, True])]
    batch = pair_rows(collected([pair], longest=64), [0], pad=0)
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8], [5, 6, 9, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert batch["completion_mask"].tolist() == [[0, 0, 1, 1], [0, 0, 1, 0]]
