"""The sentence embedder on the real all-MiniLM-L6-v2, held against transformers alone."""

import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from transformers import AutoModel, AutoTokenizer

from models.digests import file_sha256, listing_sha256
from models.embedders import Embedder, build_embedder
from models.embedders.sentence import SentenceSettings, batches, model_digest, shipped_folder
from models.errors import ConfigurationError

# The files of sentence-transformers/all-MiniLM-L6-v2 as published.
PUBLISHED = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
DIGITS = listing_sha256(PUBLISHED)[:8]
TEXTS = ("Hi", "Who wrote Faust, and when?", "Summarise: " + "the river rises after rain. " * 60, "[SEP] naïve ßÜ 漢字")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's folder of one's own, to be damaged."""
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        shutil.copy(shipped_folder() / name, tmp_path / name)
    return tmp_path


def direct(texts: Sequence[str], layers: Sequence[int]) -> Any:
    """Means over each text's tokens after each layer, by transformers' own tokenizer and model, one text at a time."""
    tokenizer = AutoTokenizer.from_pretrained(shipped_folder())
    model = AutoModel.from_pretrained(shipped_folder(), attn_implementation="eager").eval()
    with torch.inference_mode():
        states = [
            model(
                **tokenizer(text, truncation=True, max_length=256, return_tensors="pt"), output_hidden_states=True
            ).hidden_states
            for text in texts
        ]
    return np.array([[state[layer][0].mean(0).numpy() for layer in layers] for state in states])


def change_config(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_the_shipped_model_is_the_published_one_and_its_id_covers_all_of_it(minilm: Embedder) -> None:
    assert {name: file_sha256(shipped_folder() / name) for name in PUBLISHED} == PUBLISHED
    assert minilm.id == f"minilm-l6@{DIGITS}" == "minilm-l6@843a1ab7"
    assert (minilm.dimensions, minilm.depths) == (384, (1, 3, 6))


@pytest.fixture(scope="module")
def exact() -> Embedder:
    return build_embedder(SentenceSettings(device="cpu", precision="float32"))


def test_the_vectors_are_those_of_transformers_alone(exact: Embedder) -> None:
    found, wanted = exact.embed(TEXTS), direct(TEXTS, (1, 3, 6))
    assert np.abs(found.depths - wanted).max() < 1e-5
    last = wanted[:, -1]
    assert np.abs(found.sentence - last / np.linalg.norm(last, axis=1, keepdims=True)).max() < 1e-5


def test_paraphrases_are_nearer_than_unrelated_sentences(minilm: Embedder) -> None:
    pairs = [
        ("How do I reset my password?", "I forgot my password, how can I change it?"),
        ("The train to Berlin is late.", "Our train for Berlin has a delay."),
    ]
    vectors = minilm.embed([text for pair in pairs for text in pair]).sentence
    near = vectors @ vectors.T
    assert min(near[0, 1], near[2, 3]) > 0.7
    assert near[:2, 2:].max() < 0.3


def test_sixteen_bits_say_nearly_the_same_and_the_same_in_every_company(exact: Embedder) -> None:
    coarse = build_embedder(SentenceSettings(device="cpu", precision="bfloat16"))
    found, wanted = coarse.embed(TEXTS), exact.embed(TEXTS)
    assert coarse.id == exact.id
    assert (found.sentence * wanted.sentence).sum(axis=1).min() > 0.9998
    spread = np.abs(wanted.depths - wanted.depths.mean(axis=0)).mean()
    assert 0 < np.abs(found.depths - wanted.depths).mean() < 0.02 * spread
    alone = np.concatenate([coarse.embed([text]).sentence for text in TEXTS])
    assert (alone == found.sentence).all()


def test_small_batches_give_the_same_vectors_as_large_ones(exact: Embedder) -> None:
    small = build_embedder(SentenceSettings(device="cpu", precision="float32", batch_tokens=1))
    found, wanted = small.embed(TEXTS), exact.embed(TEXTS)
    assert np.abs(found.sentence - wanted.sentence).max() < 1e-5
    assert np.abs(found.depths - wanted.depths).max() < 1e-4


def test_the_depths_are_the_layers_that_are_named() -> None:
    found = build_embedder(SentenceSettings(device="cpu", precision="float32", depths=(0, 2))).embed(TEXTS)
    assert np.abs(found.depths - direct(TEXTS, (0, 2))).max() < 1e-5


def test_like_lengths_go_together_within_the_limit_of_tokens() -> None:
    assert list(batches([9, 2, 8, 2, 30], 20)) == [[1, 3], [2, 0], [4]]
    assert list(batches([], 20)) == []


def test_a_folder_of_ones_own_is_named_after_it(folder: Path) -> None:
    made = build_embedder(SentenceSettings(path=folder, device="cpu", max_tokens=8))
    assert made.id == f"{folder.name}@{DIGITS}"
    one, other = made.embed(["one two three four five six and more", "one two three four five six and less"]).sentence
    assert one.tolist() == other.tolist()


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_another_configuration_tokenizer_or_weight_is_another_id(folder: Path, name: str) -> None:
    before = model_digest(folder)
    (folder / "README.md").write_text("read by nobody")
    assert model_digest(folder) == before
    with (folder / name).open("ab") as file:
        file.write(b" ")
    assert model_digest(folder) != before


def test_threads_are_left_alone_unless_they_are_set(minilm: Embedder, folder: Path) -> None:
    before = torch.get_num_threads()
    build_embedder(SentenceSettings(path=folder, device="cpu"))
    assert torch.get_num_threads() == before == 1
    build_embedder(SentenceSettings(path=folder, device="cpu", threads=3))
    assert torch.get_num_threads() == 3
    torch.set_num_threads(before)


@pytest.mark.parametrize("depths", [(), (3, 1), (1, 1), (-1, 3)])
def test_depths_that_are_no_ascending_layers_are_refused(depths: tuple[int, ...]) -> None:
    with pytest.raises(ValidationError, match="depths"):
        SentenceSettings(depths=depths)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"depths": (1, 7)}, "depths: the model has 6 layers, not 7"),
        ({"max_tokens": 513}, "max_tokens: the model reads 512 tokens, not 513"),
        ({"path": "absent"}, "'absent' cannot be used: config.json is missing"),
    ],
)
def test_what_the_model_cannot_do_is_refused(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        build_embedder(SentenceSettings(**{"device": "cpu", **values}))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="torch sees no GPU here"):
        build_embedder(SentenceSettings(device="cuda"))


@pytest.mark.parametrize("text", [None, "{", "null"])
def test_a_folder_without_a_readable_tokenizer_is_refused(folder: Path, text: str | None) -> None:
    path = folder / "tokenizer.json"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"no tokenizer\.json that can be read"):
        build_embedder(SentenceSettings(path=folder))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"num_hidden_layers": 8}, "lacks weights: 'encoder.layer.6.attention.output.LayerNorm.bias' and 31 more"),
        ({"hidden_size": 192}, "cannot load"),
        ({"model_type": "unheard-of", "architectures": []}, "cannot load"),
        ({"vocab_size": 9}, "cannot load"),
    ],
)
def test_weights_that_do_not_fit_their_config_are_refused(folder: Path, values: dict[str, Any], sentence: str) -> None:
    change_config(folder, **values)
    with pytest.raises(ConfigurationError, match=sentence):
        build_embedder(SentenceSettings(path=folder))


def test_a_pickle_beside_no_safetensors_is_never_read(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(ConfigurationError, match="has no safetensors file"):
        build_embedder(SentenceSettings(path=folder))


def test_settings_are_read_without_torch_and_its_absence_is_named() -> None:
    script = """
import sys
sys.modules["torch"] = sys.modules["transformers"] = None
from models.embedders import EMBEDDERS, build_embedder
from models.errors import ConfigurationError
settings = EMBEDDERS.read({"kind": "sentence"})
try:
    build_embedder(settings)
except ConfigurationError as error:
    print(error)
"""
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout == "The embedder needs the package 'torch'. Install the extra `engine`.\n"


def test_loading_draws_and_logs_nothing(
    folder: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        build_embedder(SentenceSettings(path=folder, device="cpu"))
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []
