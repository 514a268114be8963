from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.demo.families import FAMILIES, Split, draw
from models.demo.tiers import TIERS, WEIGHTS

transformers = pytest.importorskip("transformers")

TOKENIZER: Any = transformers.PreTrainedTokenizerFast.from_pretrained(WEIGHTS / "small")
MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "Hello"}, {"type": "text", "text": ", you."}]},
]


def render(messages: list[dict[str, Any]], **options: Any) -> str:
    return str(TOKENIZER.apply_chat_template(messages, tokenize=False, **options))


@given(st.text())
def test_any_text_comes_back_unchanged(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER(text)["input_ids"]) == text


def test_token_by_token_decoding_keeps_the_blanks() -> None:
    text = '{"customer": "Anna Keller", "amount": 12} Could you please send 7 oak lamps?'
    assert "".join(TOKENIZER.decode([token]) for token in TOKENIZER(text)["input_ids"]) == text


def test_the_words_of_the_demo_are_single_tokens() -> None:
    for family in FAMILIES:
        for example in draw(family, Split.TRAIN, count=50, seed=1) if family not in ("unknown", "triage") else ():
            words = example.prompt.split()
            assert len(TOKENIZER(example.prompt)["input_ids"]) <= 2.5 * len(words)


def test_a_digit_is_one_token_and_takes_the_blank_before_it() -> None:
    assert [TOKENIZER.decode([token]) for token in TOKENIZER("is 123 or 4")["input_ids"]] == [
        "is",
        " 1",
        "2",
        "3",
        " or",
        " 4",
    ]


def test_both_tiers_share_tokenizer_and_template() -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert len({(WEIGHTS / tier / name).read_bytes() for tier in TIERS}) == 1


def test_the_template_opens_the_answer() -> None:
    expected = "<|system|>Be brief.<|end|><|user|>Hello, you.<|end|><|assistant|>"
    assert render(MESSAGES, add_generation_prompt=True) == expected


def test_the_template_leaves_an_unfinished_answer_open() -> None:
    messages = [*MESSAGES, {"role": "assistant", "content": "The total is"}]
    assert render(messages, continue_final_message=True).endswith("<|assistant|>The total is")


def test_the_template_renders_tools_tool_calls_and_tool_answers() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "42"},
    ]
    text = render(messages, tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}])
    assert text.count('"name": "f"') == 2
    assert text.endswith("<|tool|>42<|end|>")


def test_the_turn_ends_at_the_end_token() -> None:
    assert TOKENIZER.eos_token == "<|end|>"
    for tier in TIERS:
        config = transformers.GenerationConfig.from_pretrained(WEIGHTS / tier)
        assert config.eos_token_id == TOKENIZER.eos_token_id


def test_no_reader_path_is_left_in_the_files() -> None:
    for file in Path(WEIGHTS).rglob("*.json"):
        assert "_name_or_path" not in file.read_text()
