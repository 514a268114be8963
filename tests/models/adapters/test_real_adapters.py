"""Adapters that PEFT makes, and what the installed vLLM reads of what is published."""

from __future__ import annotations

import json
import warnings
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaForCausalLM

from models.adapters.archive import pack, unpack
from models.adapters.check import check, prepare
from models.adapters.config import INITS, OF_BASE, READ, TRAINING, UNSERVED
from models.adapters.foundation import PACKED, BaseModel, base_of
from models.adapters.refusal import AdapterInvalid
from models.catalog.loader import Catalog
from models.catalog.store import resolve
from tests.models.adapters.made import CONFIG_FILE, WEIGHTS_FILE

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # those of both libraries, at import
    from peft import LoraConfig, PeftModel, get_peft_model
    from vllm.lora.peft_helper import PEFTHelper
    from vllm.lora.utils import is_in_target_modules, parse_fine_tuned_lora_name

CARDS = Catalog.load()
CARD = CARDS.card("demo-small")
WEIGHTS = resolve(CARD)
PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def base() -> BaseModel:
    return base_of(CARD, WEIGHTS)


def peft_adapter(folder: Path, dtype: torch.dtype = torch.float32, **settings: Any) -> Path:
    """What `save_pretrained` leaves of an adapter on the small demo tier, its numbers all random."""
    torch.manual_seed(5)
    model = LlamaForCausalLM.from_pretrained(WEIGHTS, dtype=dtype)
    chosen = {"r": 8, "lora_alpha": 16, "target_modules": PROJECTIONS, "task_type": "CAUSAL_LM", **settings}
    adapted = get_peft_model(model, LoraConfig(**chosen))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.02)
    adapted.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"target_modules": "all-linear"},
        {"target_modules": r".*\.(q|v)_proj"},
        {"r": 16, "use_rslora": True},
        {"init_lora_weights": "gaussian", "lora_dropout": 0.1, "target_modules": ["q_proj", "v_proj"]},
        {"init_lora_weights": "orthogonal"},
        {"layers_to_transform": [0], "layers_pattern": "layers"},
        {"dtype": torch.bfloat16},
    ],
)
def test_what_peft_saves_is_published_and_means_the_same_to_vllm(
    tmp_path: Path, base: BaseModel, settings: dict[str, Any]
) -> None:
    folder = peft_adapter(tmp_path / "peft", **settings)
    (tmp_path / "into").mkdir()
    said = json.loads((folder / CONFIG_FILE).read_text())
    if isinstance(said["target_modules"], str):
        with pytest.raises(AdapterInvalid, match="list the names"):
            check(folder, base)
        return
    checked = prepare(folder, base, into=tmp_path / "into")
    before, after = (PEFTHelper.from_local_dir(str(place), None) for place in (folder, tmp_path / "into"))
    assert (before.r, before.vllm_lora_scaling_factor) == (after.r, after.vllm_lora_scaling_factor)
    named = {name.rpartition(".")[2] for name in before.target_modules}
    assert set(after.target_modules) == named == set(checked.target_modules)
    weights = load_file(tmp_path / "into" / WEIGHTS_FILE)
    assert checked.parameters == sum(tensor.numel() for tensor in weights.values())
    assert {parse_fine_tuned_lora_name(name)[0].rpartition(".")[2] for name in weights} == set(checked.target_modules)


def test_the_published_adapter_computes_what_the_trained_one_does(tmp_path: Path, base: BaseModel) -> None:
    folder = peft_adapter(tmp_path / "peft", use_rslora=True)
    (tmp_path / "sent").mkdir()
    (tmp_path / "into").mkdir()
    assert pack(folder, tmp_path / "sent.zip") == ("README.md",)
    unpack(tmp_path / "sent.zip", tmp_path / "sent", max_bytes=2**24)
    prepare(tmp_path / "sent", base, into=tmp_path / "into")
    ids = torch.arange(3, 20).reshape(1, -1)
    answers = []
    for place in (None, folder, tmp_path / "into"):
        model = LlamaForCausalLM.from_pretrained(WEIGHTS, dtype=torch.float32)
        adapted = model if place is None else PeftModel.from_pretrained(model, place)
        with torch.no_grad():
            answers.append(adapted(ids).logits)
    assert torch.equal(answers[1], answers[2])
    assert not torch.equal(answers[0], answers[1])


@pytest.mark.parametrize(
    ("settings", "param"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"rank_pattern": {"q_proj": 4}}, "rank_pattern"),
        ({"alpha_pattern": {"q_proj": 4}}, "alpha_pattern"),
        ({"bias": "all"}, "bias"),
        ({"lora_bias": True}, "lora_bias"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"trainable_token_indices": [1, 2]}, "trainable_token_indices"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights"),
        ({"init_lora_weights": "olora"}, "init_lora_weights"),
        ({"task_type": None}, "auto_mapping"),
        ({"exclude_modules": ["k_proj"]}, "exclude_modules"),
        ({"target_modules": ["q_proj", "embed_tokens"]}, "embed"),
        ({"r": 32}, "r"),
    ],
)
def test_what_peft_can_and_vllm_cannot_is_refused(
    tmp_path: Path, base: BaseModel, settings: dict[str, Any], param: str
) -> None:
    with pytest.raises(AdapterInvalid) as caught:
        check(peft_adapter(tmp_path / "peft", **settings), base)
    assert caught.value.param is not None
    assert caught.value.param == param or "embed_tokens" in caught.value.param


def test_an_adapter_of_the_other_tier_is_refused(tmp_path: Path) -> None:
    other = CARDS.card("demo-large")
    base = base_of(other, resolve(other))
    folder = peft_adapter(tmp_path / "peft")
    with pytest.raises(AdapterInvalid, match="is not the base 'demo-large'"):
        check(folder, base)
    said = json.loads((folder / CONFIG_FILE).read_text())
    (folder / CONFIG_FILE).write_text(json.dumps({**said, "base_model_name_or_path": "demo-large"}))
    with pytest.raises(AdapterInvalid, match="'demo-large' needs"):
        check(folder, base)


def test_every_field_of_the_installed_peft_and_vllm_is_accounted_for() -> None:
    known = {*READ, *OF_BASE, *TRAINING, *UNSERVED}
    later = {"kasa_config", "monteclora_config", "velora_config", "ensure_weight_tying", "runtime_config"}
    theirs = {field.name for field in fields(LoraConfig)}
    assert len(theirs) >= 40
    assert theirs - known == later
    read = {field.name for field in fields(PEFTHelper) if not field.name.startswith("vllm_")}
    assert read == {"r", "lora_alpha", "target_modules", "bias", "modules_to_save", "use_rslora", "use_dora"}
    assert set(INITS) < {True, False, None, "gaussian", "eva", "orthogonal", "olora"}


def test_the_groups_of_one_matrix_are_those_of_the_installed_vllm() -> None:
    packed = {whole: list(parts) for whole, parts in PACKED}
    dense = CARDS.card("qwen2.5-0.5b")
    for target in (*PROJECTIONS, "qkv_proj", "gate_up_proj"):
        wrapped = [
            name
            for name in (*packed, "o_proj", "down_proj")
            if is_in_target_modules(f"model.layers.0.x.{name}", [target], packed)
        ]
        expected = {part for name in wrapped for part in packed.get(name, [name])}
        assert set(base_of(dense, None, overrides={"lora_target_modules": [target]}).modules) == expected
