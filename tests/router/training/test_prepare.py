from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from models.embedders import Embeddings
from models.embedders.hashing import HashingEmbedder, HashingSettings, build
from router.training.prepare import prepare

TEXTS = ("a long one that has many words in it", "short", "", "of middling length")
SETTINGS = HashingSettings(kind="hashing")


class Broken(HashingEmbedder):
    def embed(self, texts: object, *, heard: object = None) -> Embeddings:
        raise AssertionError("asked again")


def test_every_text_has_its_own_vectors() -> None:
    embedder, heard = build(SETTINGS), []
    found = prepare(TEXTS, embedder, heard=heard.append)
    for at, text in enumerate(TEXTS):
        alone = embedder.embed([text])
        assert np.array_equal(found.depths[at], alone.depths[0])
        assert np.array_equal(found.sentence[at], alone.sentence[0])
    assert sum(heard) == len(found) == len(TEXTS)


def test_what_was_embedded_once_is_not_embedded_again(tmp_path: Path) -> None:
    first = prepare(TEXTS, build(SETTINGS), cache=tmp_path)
    again = prepare(TEXTS, Broken(SETTINGS), cache=tmp_path)
    assert np.array_equal(first.depths, again.depths)
    with pytest.raises(AssertionError, match="asked again"):
        prepare(TEXTS[:2], Broken(SETTINGS), cache=tmp_path)


@pytest.mark.parametrize(
    "kept", [{"other": np.zeros(3)}, {"depths": np.zeros((1, 3, 64)), "sentence": np.zeros((1, 64))}]
)
def test_vectors_that_do_not_fit_are_made_again(tmp_path: Path, kept: dict[str, Any]) -> None:
    first = prepare(TEXTS, build(SETTINGS), cache=tmp_path)
    (file,) = tmp_path.iterdir()
    save_file(kept, file)
    assert np.array_equal(prepare(TEXTS, build(SETTINGS), cache=tmp_path).depths, first.depths)
    file.write_bytes(b"half")
    assert np.array_equal(prepare(TEXTS, build(SETTINGS), cache=tmp_path).depths, first.depths)
