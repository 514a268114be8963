"""What a router, a cache or retrieval expects of every embedder in the table, whatever is behind it."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from models.embedders import EMBEDDERS, Embedder, EmbedderSettings, Embeddings, build_embedder, identity_of
from models.errors import ConfigurationError

ODD = {
    "empty": "",
    "blank": " \t\r\n\u00a0\u2003",
    "nul": "a\0b\0",
    "only nul": "\0" * 10,
    "4 MiB": "lorem ipsum " * (4 * 2**20 // 12),
    "4 MiB without a space": "x" * (4 * 2**20),
    "lone surrogates": "\ud83d and \udc00",
    "surrogates at the cut": "\ud83d" * 10_000,
    "scripts": "ß漢字🙂 עברית 한국어",
    "the model's own marks": "[CLS] [SEP] [PAD] [MASK] [UNK] [PAD]",
    "control characters": "".join(map(chr, range(32))) + "\u202e\ufeff\ufffd",
}
MIXED = ("Hi", "What is the capital of France?", "word " * 300, "", "Add 3 and 4.", "a b c d e f g " * 9)


@pytest.fixture(scope="module")
def embedders() -> Iterator[dict[str, Embedder]]:
    """One of every kind in the table, with the settings' own values, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield {kind: build_embedder(EMBEDDERS.module(kind).Settings()) for kind in EMBEDDERS.kinds}
    torch.set_num_threads(threads)


@pytest.fixture(params=EMBEDDERS.kinds)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def module(kind: str) -> ModuleType:
    return EMBEDDERS.module(kind)


@pytest.fixture
def embedder(embedders: dict[str, Embedder], kind: str) -> Embedder:
    return embedders[kind]


def difference(one: Embeddings, other: Embeddings) -> float:
    pairs = ((one.sentence, other.sentence), (one.depths, other.depths))
    return max(float(np.abs(left - right).max()) for left, right in pairs)


def test_the_settings_work_without_any_value_but_the_kind(kind: str) -> None:
    read: Any = TypeAdapter(EmbedderSettings).validate_python({"kind": kind})
    assert read.kind == kind


def test_every_setting_has_a_reason(module: ModuleType) -> None:
    assert [name for name, field in module.Settings.model_fields.items() if not field.description] == []


def test_an_unknown_kind_is_refused_with_the_ones_that_exist() -> None:
    with pytest.raises(ConfigurationError, match="Built in: sentence, hashing"):
        TypeAdapter(EmbedderSettings).validate_python({"kind": "another"})


def test_an_unknown_setting_is_refused(kind: str) -> None:
    with pytest.raises(ValidationError, match="colour"):
        TypeAdapter(EmbedderSettings).validate_python({"kind": kind, "colour": 1})


def test_the_shapes_are_those_of_the_contract(embedder: Embedder) -> None:
    found = embedder.embed(MIXED)
    assert found.sentence.shape == (len(MIXED), embedder.dimensions)
    assert found.depths.shape == (len(MIXED), len(embedder.depths), embedder.dimensions)
    assert found.sentence.dtype == found.depths.dtype == np.float32


def test_the_id_is_a_name_and_eight_digits_that_two_builds_share(embedder: Embedder, module: ModuleType) -> None:
    again = build_embedder(module.Settings())
    assert re.fullmatch(r"[\w.-]+@[0-9a-f]{8}", embedder.id)
    assert (again.id, again.depths, again.max_tokens) == (embedder.id, embedder.depths, embedder.max_tokens)
    assert difference(again.embed(MIXED), embedder.embed(MIXED)) < 1e-6


def test_what_an_embedder_is_can_be_told_without_it(embedder: Embedder, module: ModuleType) -> None:
    assert identity_of(module.Settings()) == (embedder.id, embedder.depths, embedder.max_tokens)


def test_no_texts_give_no_vectors(embedder: Embedder) -> None:
    found = embedder.embed([])
    assert found.sentence.shape == (0, embedder.dimensions)
    assert found.depths.shape == (0, len(embedder.depths), embedder.dimensions)


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
def test_any_text_gets_a_finite_vector_of_unit_length(embedder: Embedder, text: str) -> None:
    found = embedder.embed([text, "a plain text"])
    assert np.isfinite(found.depths).all()
    assert np.linalg.norm(found.sentence, axis=1) == pytest.approx(1, abs=1e-5)


def test_a_text_has_the_same_vectors_alone_and_among_others(embedder: Embedder) -> None:
    together = embedder.embed(MIXED)
    for row, text in enumerate(MIXED):
        part = Embeddings(together.sentence[[row]], together.depths[[row]])
        assert difference(embedder.embed([text]), part) < 1e-4


def test_the_vectors_come_in_the_order_of_the_texts(embedder: Embedder) -> None:
    back = embedder.embed(MIXED[::-1])
    assert difference(embedder.embed(MIXED), Embeddings(back.sentence[::-1], back.depths[::-1])) < 1e-4
    assert difference(embedder.embed(MIXED), back) > 0.1


def test_the_depths_differ_from_each_other(embedder: Embedder) -> None:
    depths = embedder.embed(["What is the capital of France?"]).depths[0]
    assert len({depth.tobytes() for depth in depths}) == len(embedder.depths)


def test_words_beyond_the_limit_of_tokens_do_not_count(embedder: Embedder) -> None:
    long = "word " * (embedder.max_tokens + 44)
    assert difference(embedder.embed([long]), embedder.embed([long + "another end"])) < 1e-6
    assert difference(embedder.embed(["word " * 30]), embedder.embed(["word " * 30 + "another end"])) > 1e-3


def test_progress_is_heard_up_to_the_last_text(embedder: Embedder) -> None:
    heard: list[int] = []
    embedder.embed(["word " * 200] * 50, heard=heard.append)
    assert heard == sorted(heard)
    assert len(heard) > 1
    assert heard[-1] == 50


def test_threads_share_one_embedder(embedder: Embedder) -> None:
    wanted = embedder.embed(MIXED[:2])
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: embedder.embed(MIXED[:2]), range(8)))
    assert max(difference(vectors, wanted) for vectors in found) < 1e-5
