"""The embedder without a model: the same numbers everywhere, and near where words are shared."""

import os
import subprocess
import sys

import numpy as np
import pytest
from pydantic import TypeAdapter

from models.embedders import EmbedderSettings, build_embedder
from models.embedders.hashing import HashingEmbedder, HashingSettings

SCRIPT = """
from hashlib import sha256
from models.embedders import EmbedderSettings, build_embedder
from models.embedders.hashing import HashingEmbedder, HashingSettings
made = HashingEmbedder(HashingSettings())
found = made.embed(["one fish two fish", "\\u00df", ""])
print(made.id, sha256(found.sentence.tobytes() + found.depths.tobytes()).hexdigest())
"""


def printed(seed: str) -> str:
    command = [sys.executable, "-c", SCRIPT]
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True).stdout


def test_every_process_gets_the_same_vectors_whatever_its_hash_seed() -> None:
    assert len({printed(seed) for seed in ("0", "1", "4242")}) == 1


def test_shared_words_make_texts_near() -> None:
    texts = ["the red fox jumps over the dog", "the red fox jumps over the cat", "invoices are due on Monday"]
    near = (found := HashingEmbedder(HashingSettings()).embed(texts).sentence) @ found.T
    assert near[0, 1] > 0.6
    assert near[0, 2] < 0.4


def test_the_order_of_words_counts() -> None:
    one, other = HashingEmbedder(HashingSettings()).embed(["dog bites man", "man bites dog"]).sentence
    assert not np.allclose(one, other)


def test_a_depth_is_the_same_whichever_others_stand_beside_it() -> None:
    few, many = (HashingEmbedder(HashingSettings(depths=depths)) for depths in ((3,), (1, 3, 6)))
    assert few.embed(["a b c"]).depths[0, 0].tolist() == many.embed(["a b c"]).depths[0, 1].tolist()


def test_the_name_holds_what_makes_vectors_comparable() -> None:
    names = {HashingEmbedder(HashingSettings(dimensions=width)).id for width in (8, 64)}
    assert len(names) == 2


def test_one_dimension_is_too_few() -> None:
    with pytest.raises(ValueError, match="dimensions"):
        HashingSettings(dimensions=1)


def test_settings_become_the_embedder_of_their_kind() -> None:
    settings = TypeAdapter(EmbedderSettings).validate_python({"kind": "hashing", "dimensions": 8, "depths": [2]})
    made = build_embedder(settings)
    assert (made.dimensions, made.depths) == (8, (2,))
