"""What `adapter_config.json` may say, and what is published instead of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.adapters.config import OF_BASE, READ, TRAINING, UNSERVED, AdapterConfig, read_config, rebuilt
from models.adapters.refusal import AdapterInvalid
from tests.models.adapters.made import BASE, CONFIG_FILE, config


def read(fields: Any) -> AdapterConfig:
    return read_config(json.dumps(fields).encode(), BASE)


def test_what_peft_writes_is_read() -> None:
    assert read(config()) == AdapterConfig(4, 8, False, ("down_proj", "q_proj"), None)


@pytest.mark.parametrize(
    "changes",
    [
        {"base_model_name_or_path": "tiny"},
        {"revision": "a" * 40},
        {"task_type": None},
        {"r": 8},
        {"r": 1, "lora_alpha": 0.5, "use_rslora": True},
        {"init_lora_weights": "gaussian", "inference_mode": False, "lora_dropout": 0, "peft_version": None},
        {"layers_to_transform": [0, 1], "layers_pattern": ["layers"]},
        {"layers_to_transform": 1, "layers_pattern": ""},
        {"a_field_of_tomorrow": None, "another": {}, "a_third": 0.0, "a_fourth": False},
        {"modules_to_save": [], "exclude_modules": [], "loftq_config": None, "rank_pattern": None},
    ],
)
def test_what_means_the_same_to_an_engine_is_read_as_well(changes: dict[str, Any]) -> None:
    assert read(config(**changes)).target_modules == ("down_proj", "q_proj")


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("peft_type", "LOHA", "only 'LORA' is served"),
        ("peft_type", None, "is not given"),
        ("r", 4096, "is 4096; 'tiny' is served with ranks up to 8"),
        ("r", 9, "ranks up to 8"),
        ("r", 0, "not a whole number of 1 or more"),
        ("r", True, "not a whole number"),
        ("r", 4.0, "not a whole number"),
        ("r", None, "is not given"),
        ("lora_alpha", 0, "not a number above 0"),
        ("lora_alpha", 1e300, "at most 65,536"),
        ("lora_alpha", 10**400, "at most 65,536"),
        ("lora_alpha", "8", "not a number above 0"),
        ("target_modules", "q_proj", "list the names"),
        ("target_modules", "all-linear", "list the names"),
        ("target_modules", r".*\.(q|v)_proj", "list the names"),
        ("target_modules", [], "list the names"),
        ("target_modules", [1], "list the names"),
        ("target_modules", None, "list the names"),
        ("use_rslora", "yes", "neither true nor false"),
        ("bias", "all", "vLLM serves no bias"),
        ("bias", "lora_only", "vLLM serves no bias"),
        ("task_type", "SEQ_CLS", "only 'CAUSAL_LM' is served"),
        ("base_model_name_or_path", "someone/else", "is not the base 'tiny'"),
        ("base_model_name_or_path", "https://example.org/tiny", "is not the base 'tiny'"),
        ("base_model_name_or_path", "../tiny", "is not the base 'tiny'"),
        ("base_model_name_or_path", "TINY", "is not the base 'tiny'"),
        ("base_model_name_or_path", ["tiny"], "is not the base 'tiny'"),
        ("base_model_name_or_path", None, "is not given"),
        ("revision", "main", "is served at 'aaaa"),
        ("revision", "b" * 40, "is served at 'aaaa"),
        ("revision", "refs/pr/1", "is served at 'aaaa"),
        ("auto_mapping", {"base_model_class": "A", "parent_library": "os"}, "names classes to import"),
        ("rank_pattern", {"q_proj": 2}, "whose scale vLLM would get wrong"),
        ("alpha_pattern", {"q_proj": 2}, "which vLLM would ignore"),
        ("use_dora", True, "another method than LoRA"),
        ("use_qalora", True, "another method than LoRA"),
        ("use_bdlora", {"a": 1}, "another method than LoRA"),
        ("modules_to_save", ["lm_head"], "replaces whole modules"),
        ("lora_bias", True, "adds a bias"),
        ("fan_in_fan_out", True, "transposed"),
        ("trainable_token_indices", [1], "embeddings of tokens"),
        ("exclude_modules", ["k_proj"], "leaves modules out"),
        ("exclude_modules", ".*", "leaves modules out"),
        ("layer_replication", [[0, 2]], "repeats layers"),
        ("alora_invocation_tokens", [1], "begin at certain tokens"),
        ("target_parameters", ["experts.up"], "beside its projections"),
        ("megatron_config", {"a": 1}, "names code"),
        ("megatron_core", "evil.module", "the name of other code"),
        ("arrow_config", {"a": 1}, "mixes several adapters"),
        ("eva_config", {"rho": 2.0}, "belongs to the training"),
        ("corda_config", {"a": 1}, "changes the base"),
        ("lora_ga_config", {"a": 1}, "changes the base"),
        ("loftq_config", {"loftq_bits": 4}, "changes the base"),
        ("init_lora_weights", "pissa", "changes the base"),
        ("init_lora_weights", "pissa_niter_16", "changes the base"),
        ("init_lora_weights", "olora", "changes the base"),
        ("init_lora_weights", "loftq", "changes the base"),
        ("init_lora_weights", 1, "changes the base"),
        ("layers_to_transform", "0", "not a list of layers"),
        ("layers_to_transform", [0.5], "not a list of layers"),
        ("layers_pattern", "blocks", "can only be 'layers'"),
        ("kasa_config", {"a": 1}, "a field that is not known"),
        ("ensure_weight_tying", True, "a field that is not known"),
        ("a_field_of_tomorrow", 1, "a field that is not known"),
        ("auto_map", {"AutoModel": "evil--code.Model"}, "a field that is not known"),
        ("trust_remote_code", True, "a field that is not known"),
    ],
)
def test_a_field_that_cannot_be_served_as_it_is_meant_is_refused_by_name(field: str, value: Any, sentence: str) -> None:
    with pytest.raises(AdapterInvalid) as caught:
        read(config(**{field: value}))
    assert sentence in caught.value.public
    assert caught.value.public.startswith(f"{CONFIG_FILE}: {field!r} ")
    assert (caught.value.param, caught.value.code) == (field, "adapter_invalid")


@pytest.mark.parametrize("field", ["peft_type", "r", "lora_alpha", "target_modules", "base_model_name_or_path"])
def test_a_field_that_an_engine_needs_may_not_be_missing(field: str) -> None:
    fields = config()
    del fields[field]
    with pytest.raises(AdapterInvalid, match="not given") as caught:
        read(fields)
    assert caught.value.param == field


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (b"", "is not JSON"),
        (b"\xff\xfe{}", "is not JSON in UTF-8"),
        (b"[]", "is not a JSON object"),
        (b"1", "is not a JSON object"),
        (b'{"r": 4, "r": 8}', "holds the key 'r' twice"),
        (b'{"r": Infinity}', "holds Infinity"),
        (b'{"a": ' + b'{"a": ' * 10_000, "is not JSON"),
    ],
)
def test_what_is_no_strict_json_object_is_refused(raw: bytes, sentence: str) -> None:
    with pytest.raises(AdapterInvalid, match=sentence) as caught:
        read_config(raw, BASE)
    assert caught.value.param == CONFIG_FILE


def test_what_is_published_holds_nothing_of_the_sender_but_what_is_known_and_reads_the_same() -> None:
    first = read(config(lora_dropout=0.3, peft_version="<script>", use_rslora=True, lora_alpha=16.0))
    written = rebuilt(first, BASE)
    assert written == {
        "base_model_name_or_path": "tiny",
        "bias": "none",
        "inference_mode": True,
        "lora_alpha": 16,
        "peft_type": "LORA",
        "r": 4,
        "revision": "a" * 40,
        "target_modules": ["down_proj", "q_proj"],
        "task_type": "CAUSAL_LM",
        "use_rslora": True,
    }
    assert read(written) == first


def test_every_field_stands_in_one_list_only() -> None:
    lists = [set(READ), set(OF_BASE), set(TRAINING), set(UNSERVED)]
    assert sum(map(len, lists)) == len(set().union(*lists)) >= 35


NAMES = st.sampled_from(sorted({*config(), "x"}))
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(changes=st.dictionaries(NAMES, ANYTHING, max_size=4))
@settings(max_examples=300, deadline=None)
def test_no_values_bring_out_anything_but_a_refusal_or_a_configuration(changes: dict[str, Any]) -> None:
    try:
        found = read(config(**changes))
    except AdapterInvalid:
        return
    assert 1 <= found.rank <= BASE.max_rank
    assert rebuilt(found, BASE).keys() == rebuilt(read(config()), BASE).keys()
