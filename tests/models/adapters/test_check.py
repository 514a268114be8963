"""Which files and tensors an adapter of a base has."""

from __future__ import annotations

import math
import os
import pickle
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.adapters.check import CheckedAdapter, check
from models.adapters.foundation import BaseModel
from models.adapters.refusal import AdapterInvalid
from models.catalog.memory import ATTENTION_MODULES, module_shapes
from tests.models.adapters.made import (
    BASE,
    CONFIG_FILE,
    EXPERTS,
    WEIGHTS_FILE,
    Tensors,
    adapter,
    config,
    numbers,
    tensor_name,
    tensors,
)


def refused(folder: Path, base: BaseModel = BASE) -> AdapterInvalid:
    """How the adapter in a folder is refused."""
    with pytest.raises(AdapterInvalid) as caught:
        check(folder, base)
    assert caught.value.code == "adapter_invalid"
    assert len(caught.value.param or "") <= 64
    return caught.value


def test_a_good_adapter_is_described(tmp_path: Path) -> None:
    folder = adapter(
        tmp_path / "good", files={"README.md": b"What PEFT leaves.", ".gitattributes": b"", "LICENSE": b""}
    )
    parameters = 2 * 4 * ((8 + 12) + (20 + 8))
    size = (folder / WEIGHTS_FILE).stat().st_size
    assert check(folder, BASE) == CheckedAdapter(4, 8, False, ("down_proj", "q_proj"), (0, 1), parameters, size)


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("rank", [1, 3, 8])
def test_every_projection_rank_and_type_can_be_served(tmp_path: Path, dtype: str, rank: int) -> None:
    modules = tuple(module_shapes(BASE.architecture))
    folder = adapter(
        tmp_path / "good",
        settings=config(r=rank, target_modules=list(modules)),
        weights=tensors(modules, rank=rank, dtype=dtype),
    )
    assert check(folder, BASE).target_modules == tuple(sorted(modules))


def test_some_layers_are_enough_if_the_configuration_says_no_other(tmp_path: Path) -> None:
    for said, fits in ((None, True), ([1], True), (1, True), ([0], False), ([0, 1], False)):
        folder = adapter(tmp_path / "some", settings=config(layers_to_transform=said), weights=tensors(layers=(1,)))
        if fits:
            assert check(folder, BASE).layers == (1,)
        else:
            assert refused(folder).param == "layers_to_transform"


class Payload:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._mark,)


def test_a_pickle_is_refused_under_any_name_and_never_read_as_one(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    raw = pickle.dumps(Payload(mark))
    for name in ("adapter_model.bin", "adapter_model.pt", "training_args.bin", "optimizer.pt", "x.pkl", "x.ckpt"):
        error = refused(adapter(tmp_path / name, files={name: raw}))
        assert (error.param, "can hold code" in error.public) == (name, True)
    assert refused(adapter(tmp_path / "renamed", weights=raw)).param == WEIGHTS_FILE
    assert not mark.exists()
    pickle.loads(raw)
    assert mark.exists()


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("modeling_evil.py", "is code"),
        ("chat_template.jinja", "would change the prompts"),
        ("tokenizer_config.json", "would change the tokens"),
        ("tokenizer.json", "would change the tokens"),
        ("tokenizer.model", "would change the tokens"),
        ("special_tokens_map.json", "would change the tokens"),
        ("added_tokens.json", "would change the tokens"),
        ("vocab.json", "would change the tokens"),
        ("merges.txt", "would change the tokens"),
        ("config.json", "does not belong to an adapter"),
        ("model.safetensors", "does not belong to an adapter"),
        ("new_embeddings.safetensors", "does not belong to an adapter"),
        ("adapter_model.safetensors.index.json", "does not belong to an adapter"),
        ("weights.gguf", "is not the format"),
        ("ADAPTER_CONFIG.JSON", "does not belong to an adapter"),
        ("lib.so", "does not belong to an adapter"),
        (".hidden", "does not belong to an adapter"),
        ("x" * 200, "does not belong to an adapter"),
        ("a\x1b[2J\n", "does not belong to an adapter"),
    ],
)
def test_a_file_that_no_adapter_has_is_refused_by_name(tmp_path: Path, name: str, sentence: str) -> None:
    error = refused(adapter(tmp_path / "bad", files={name: b'{"auto_map": {"AutoTokenizer": "evil.Tokenizer"}}'}))
    assert sentence in error.public
    assert error.public.isprintable()
    assert error.param == name or len(name) > 64 or "\n" in name


def test_a_link_a_folder_and_a_pipe_are_refused_wherever_they_stand(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("{}")
    for number, name in enumerate((CONFIG_FILE, WEIGHTS_FILE, "README.md", "more")):
        for kind in ("link", "folder", "pipe"):
            path = adapter(tmp_path / f"{number}{kind}") / name
            path.unlink(missing_ok=True)
            make = {"link": lambda p: p.symlink_to(secret), "folder": Path.mkdir, "pipe": os.mkfifo}[kind]
            make(path)
            error = refused(path.parent)
            assert (error.param, "is a link, a folder or a device" in error.public) == (name, True)


@pytest.mark.parametrize("name", [CONFIG_FILE, WEIGHTS_FILE])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    folder = adapter(tmp_path / "bad")
    (folder / name).unlink()
    error = refused(folder)
    assert (error.param, "is missing" in error.public) == (name, True)


def test_a_configuration_of_a_hundred_megabytes_is_refused_and_not_read(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "bad")
    os.truncate(folder / CONFIG_FILE, 100 * 2**20)
    error = refused(folder)
    assert (error.param, "larger than 65,536 bytes" in error.public) == (CONFIG_FILE, True)


def changed(changes: dict[str, tuple[str, tuple[int, ...], bytes] | None]) -> Tensors:
    """The tensors of a good adapter, some of them other ones or gone."""
    return {name: tensor for name, tensor in {**tensors(), **changes}.items() if tensor is not None}


PREFIX = "base_model.model.model.layers"


@pytest.mark.parametrize(
    ("name", "tensor", "sentence"),
    [
        (tensor_name(), numbers((3, 8)), "has the shape [3, 8]; rank 4 on 'tiny' needs [4, 8]"),
        (tensor_name(), numbers((4, 9)), "needs [4, 8]"),
        (tensor_name(), numbers((8, 4)), "needs [4, 8]"),
        (tensor_name(), numbers((32,)), "needs [4, 8]"),
        (tensor_name(), numbers((1, 4, 8)), "needs [4, 8]"),
        (tensor_name(side="B"), numbers((8, 4)), "needs [12, 4]"),
        (tensor_name("down_proj", side="B"), numbers((20, 4)), "needs [8, 4]"),
        (tensor_name(), ("F32", (4, 0), b""), "sizes are whole numbers of 1 or more"),
        (tensor_name(), numbers((4, 8), "I64"), "Save it as F32, F16, BF16"),
        (tensor_name(layer=2), numbers((4, 8)), "is of layer 2; 'tiny' has 2"),
        (f"{PREFIX}.9999.self_attn.q_proj.lora_A.weight", numbers((4, 8)), "is of layer 9999"),
        (f"{PREFIX}.00.self_attn.q_proj.lora_A.weight", numbers((4, 8)), "as PEFT names them"),
        (f"{PREFIX}.-1.self_attn.q_proj.lora_A.weight", numbers((4, 8)), "as PEFT names them"),
        (f"{PREFIX}.٠.self_attn.q_proj.lora_A.weight", numbers((4, 8)), "as PEFT names them"),
        (f"{PREFIX}.0.mlp.q_proj.lora_A.weight", numbers((4, 8)), "as PEFT names them"),
        (f"{PREFIX}.0.self_attn.q_proj.lora_A.default.weight", numbers((4, 8)), "as PEFT names them"),
        (f"{PREFIX}.0.self_attn.q_proj.lora_A.weight\n", numbers((4, 8)), "as PEFT names them"),
        (f"{PREFIX}.0.self_attn.q_proj.lora_A.bias", numbers((4,)), "as PEFT names them"),
        (f"{PREFIX}.0.self_attn.q_proj.base_layer.weight", numbers((12, 8)), "as PEFT names them"),
        (f"{PREFIX}.0.self_attn.qkv_proj.lora_A.weight", numbers((4, 8)), "as PEFT names them"),
        (f"{PREFIX}.0.cross_attn.q_proj.lora_A.weight", numbers((4, 8)), "as PEFT names them"),
        (f"{PREFIX}.0.input_layernorm.weight", numbers((8,)), "as PEFT names them"),
        ("model.layers.0.self_attn.q_proj.lora_A.weight", numbers((4, 8)), "as PEFT names them"),
        ("base_model.model.visual.blocks.0.q_proj.lora_A.weight", numbers((4, 8)), "as PEFT names them"),
        (f"{PREFIX}.0.self_attn.q_proj.lora_magnitude_vector", numbers((12,)), "belongs to DoRA"),
        ("base_model.model.model.embed_tokens.lora_embedding_A", numbers((4, 32)), "adapts the embeddings"),
        ("base_model.model.model.embed_tokens.base_layer.weight", numbers((32, 8)), "adapts the embeddings"),
        ("base_model.model.lm_head.lora_A.weight", numbers((4, 8)), "adapts the output head"),
        (f"{PREFIX}.0.mlp.experts.0.up_proj.lora_A.weight", numbers((4, 8)), "adapts the experts"),
        ("base_model.model.score.modules_to_save.weight", numbers((2, 8)), "replaces a module"),
    ],
)
def test_a_tensor_that_does_not_belong_to_the_base_is_refused_by_name(
    tmp_path: Path, name: str, tensor: tuple[str, tuple[int, ...], bytes], sentence: str
) -> None:
    error = refused(adapter(tmp_path / "bad", weights=changed({name: tensor})))
    assert sentence in error.public
    assert error.param is not None
    assert error.param == name or error.param[-20:] == name[-20:].replace("\n", "?")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_refused_by_the_name_of_its_tensor(tmp_path: Path, value: float) -> None:
    name = tensor_name("down_proj", layer=1, side="B")
    data = numbers((8, 4))[2][:-4] + struct.pack("<f", value)
    error = refused(adapter(tmp_path / "bad", weights=changed({name: ("F32", (8, 4), data)})))
    assert (error.param, "NaN or an Infinity" in error.public) == (name, True)


@pytest.mark.parametrize(("gone", "there"), [("A", "B"), ("B", "A")])
def test_half_of_a_pair_is_refused(tmp_path: Path, gone: str, there: str) -> None:
    error = refused(adapter(tmp_path / "bad", weights=changed({tensor_name("down_proj", layer=1, side=gone): None})))
    assert error.public == f"'down_proj' of layer 1 has lora_{there} without lora_{gone}."
    assert error.param == "layers.1.down_proj"


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (["q_proj"], "does not name 'model.layers.0.mlp.down_proj', which the weights have"),
        (["q_proj", "down_proj", "k_proj"], "names 'k_proj', for which the weights have nothing"),
        (["q_proj", "down_proj", "query"], "names 'query', for which the weights have nothing"),
        (["q_proj", "model.layers.0.mlp.down_proj"], "does not name 'model.layers.1.mlp.down_proj'"),
        (["q_proj", "down_proj", "n_proj"], "names 'n_proj', for which"),
        (["q_proj", "down_proj", ""], "names '', for which"),
    ],
)
def test_weights_and_configuration_must_name_the_same_modules(tmp_path: Path, said: list[str], sentence: str) -> None:
    error = refused(adapter(tmp_path / "bad", settings=config(target_modules=said)))
    assert (error.param, sentence in error.public) == ("target_modules", True)


def test_modules_may_be_named_by_any_end_of_their_paths_as_peft_does(tmp_path: Path) -> None:
    said = ["0.self_attn.q_proj", "model.layers.1.self_attn.q_proj", "mlp.down_proj"]
    folder = adapter(tmp_path / "good", settings=config(target_modules=said))
    assert check(folder, BASE).target_modules == ("down_proj", "q_proj")


def test_a_rank_beside_the_weights_is_refused(tmp_path: Path) -> None:
    assert "rank 8 on 'tiny' needs [8, 8]" in refused(adapter(tmp_path / "bad", settings=config(r=8))).public
    assert refused(adapter(tmp_path / "high", settings=config(r=4096), weights=tensors(rank=4096))).param == "r"


def test_on_a_mixture_of_experts_attention_is_adapted_and_nothing_else(tmp_path: Path) -> None:
    settings = config(base_model_name_or_path="many", target_modules=list(ATTENTION_MODULES))
    good = adapter(tmp_path / "good", settings=settings, weights=tensors(ATTENTION_MODULES))
    assert check(good, EXPERTS).target_modules == tuple(sorted(ATTENTION_MODULES))
    error = refused(adapter(tmp_path / "bad", settings=config(base_model_name_or_path="many")), EXPERTS)
    assert "adapts 'down_proj'; 'many' is a mixture of experts and is served with adapters of q_proj, " in error.public


def test_a_module_that_the_profile_leaves_out_is_refused(tmp_path: Path) -> None:
    base = replace(BASE, modules=("q_proj", "k_proj", "v_proj"))
    assert "served with adapters of q_proj, k_proj, v_proj only" in refused(adapter(tmp_path / "bad"), base).public


def test_a_base_without_adapters_takes_none(tmp_path: Path) -> None:
    error = refused(adapter(tmp_path / "good"), replace(BASE, enabled=False))
    assert error.public == "The base 'tiny' is served without adapters."
