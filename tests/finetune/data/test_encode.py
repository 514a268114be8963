"""Which tokens a model is given, and which of them it learns to say."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from finetune.data.encode import Encoded, Encoder
from finetune.data.examples import Chat, Completion, Preference, parse_line
from finetune.data.template import TemplateRefused
from models.errors import ConfigurationError
from tests.finetune.data.made import DEMO, THINKING, chatml, line, llama, said, with_template

TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}]
CALL = {
    "role": "assistant",
    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Köln"}'}}],
}
CONVERSATIONS: dict[str, list[dict[str, Any]]] = {
    "one turn": said("2 plus 2?", "4"),
    "two turns": said("Hello.", "Good day, naïve 😀!", "Café?", " Yes.\n", system="Be kind <b>&</b>."),
    "spaces": said("  a  ", "\n\n b \n"),
}
STYLES: dict[str, Callable[[Path], Path]] = {"demo": lambda _: DEMO, "chatml": chatml, "llama": llama}


@pytest.fixture(params=STYLES)
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return STYLES[request.param](tmp_path / "model")


def chat(messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None = None) -> Chat:
    given = {"messages": messages} if tools is None else {"messages": messages, "tools": tools}
    example = parse_line(line(**given), 1)
    assert isinstance(example, Chat)
    return example


def spoken(model: Path, encoded: Encoded) -> str:
    """What is trained, as text."""
    ids = [one for one, trained in zip(encoded.ids, encoded.trained, strict=True) if trained]
    return str(AutoTokenizer.from_pretrained(model).decode(ids, skip_special_tokens=False))


@pytest.mark.parametrize("tools", [None, TOOLS], ids=["plain", "tools"])
@pytest.mark.parametrize("name", CONVERSATIONS)
def test_the_tokens_are_those_of_transformers(model: Path, name: str, tools: list[dict[str, Any]] | None) -> None:
    example = chat(CONVERSATIONS[name], tools)
    theirs = AutoTokenizer.from_pretrained(model)
    expected = theirs.apply_chat_template(CONVERSATIONS[name], tools=tools, tokenize=True, return_dict=False)
    encoder = Encoder.of(model)
    assert encoder.encode(example).ids == expected
    assert encoder.text(example) == theirs.apply_chat_template(CONVERSATIONS[name], tools=tools, tokenize=False)


@pytest.mark.parametrize("style", ["demo", "chatml"])
def test_arguments_of_calls_are_given_to_the_template_as_objects(style: str, tmp_path: Path) -> None:
    model = STYLES[style](tmp_path / "model")
    messages = [
        *said("Weather?"),
        CALL,
        {"role": "tool", "tool_call_id": "c1", "content": "rain"},
        *said("", "Rain.")[1:],
    ]
    read = copy.deepcopy(messages)
    read[1]["tool_calls"][0]["function"]["arguments"] = {"city": "Köln"}
    read[1]["content"] = ""
    expected = AutoTokenizer.from_pretrained(model).apply_chat_template(read, tools=TOOLS, tokenize=False)
    encoder = Encoder.of(model)
    assert encoder.text(chat(messages, TOOLS)) == expected
    assert "Köln" in spoken(model, encoder.encode(chat(messages, TOOLS)))


def test_what_is_trained_is_what_assistants_say_and_the_token_that_ends_it(tmp_path: Path) -> None:
    turns = said("Hi.", "First!", "And?", "Second!")
    ends = {"demo": "<|end|>", "chatml": "<|im_end|>\n", "llama": "<|eot_id|>"}
    for name, end in ends.items():
        model = STYLES[name](tmp_path / name)
        assert spoken(model, Encoder.of(model).encode(chat(turns))) == f"First!{end}Second!{end}"


def test_a_turn_of_weight_0_is_read_and_not_learned(model: Path) -> None:
    turns = said("Hi.", "First!", "And?", "Second!")
    whole = Encoder.of(model).encode(chat(turns))
    turns[1]["weight"], turns[3]["weight"] = 0, 1
    some = Encoder.of(model).encode(chat(turns))
    assert some.ids == whole.ids
    assert "First" not in spoken(model, some)
    assert spoken(model, some).startswith("Second!")


def test_a_template_that_writes_bos_gets_no_second_one(tmp_path: Path) -> None:
    model = llama(tmp_path / "model")
    bos = AutoTokenizer.from_pretrained(model).bos_token_id
    assert Encoder.of(model).encode(chat(said("a", "b"))).ids.count(bos) == 1


def test_text_parts_are_one_text_where_the_template_knows_no_parts(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    example = chat([{"role": "user", "content": parts}, {"role": "assistant", "content": parts}])
    assert "user\none\ntwo<|im_end|>" in Encoder.of(chatml(tmp_path / "model")).text(example)
    assert Encoder.of(DEMO).text(example) == "<|user|>onetwo<|end|><|assistant|>onetwo<|end|>"


def test_a_template_that_rewrites_earlier_turns_is_refused_for_them_and_taken_for_none(tmp_path: Path) -> None:
    encoder = Encoder.of(with_template(tmp_path / "model", THINKING))
    turns = said("Hi.", "First!", "And?", "Second!")
    with pytest.raises(TemplateRefused, match=r"messages\[1\] in another way"):
        encoder.encode(chat(turns))
    turns[1]["weight"] = 0
    assert any(encoder.encode(chat(turns)).trained)


def test_a_conversation_that_the_template_raises_for_is_refused_without_its_text(tmp_path: Path) -> None:
    messages = [{"role": "developer", "content": "secret"}, *said("a", "b")]
    with pytest.raises(TemplateRefused, match="refuses this conversation") as refused:
        Encoder.of(llama(tmp_path / "model")).encode(chat(messages))
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("source", ["{{ ''.__class__.__mro__ }}", "{{ messages.append(1) }}", "{{ 1 / 0 }}"])
def test_a_template_that_leaves_its_sandbox_or_fails_is_refused(tmp_path: Path, source: str) -> None:
    encoder = Encoder.of(with_template(tmp_path / "model", source))
    with pytest.raises(TemplateRefused):
        encoder.encode(chat(said("a", "b")))


def test_a_completion_is_trained_to_its_end_and_begins_with_bos_once(tmp_path: Path) -> None:
    model = llama(tmp_path / "model")
    theirs = AutoTokenizer.from_pretrained(model)
    encoded = Encoder.of(model).encode(Completion("2 plus 2 =", " 4"))
    assert encoded.ids == [*theirs("2 plus 2 = 4").input_ids, theirs.eos_token_id]
    assert spoken(model, encoded) == " 4<|eot_id|>"
    assert (
        Encoder.of(model).encode(Completion("<|begin_of_text|>2", " 4<|eot_id|>")).ids.count(theirs.bos_token_id) == 1
    )


def test_a_completion_of_a_model_without_bos_begins_with_its_prompt() -> None:
    encoded = Encoder.of(DEMO).encode(Completion("ab", " cd"))
    assert encoded.ids == [*AutoTokenizer.from_pretrained(DEMO)("ab cd").input_ids, 1]


def test_a_token_never_holds_the_end_of_a_prompt_and_the_beginning_of_its_completion() -> None:
    theirs = AutoTokenizer.from_pretrained(DEMO)
    encoded = Encoder.of(DEMO).encode(Completion("a", "b"))
    assert len(theirs("ab").input_ids) == 1
    assert encoded.ids == [*theirs("a").input_ids, *theirs("b").input_ids, 1]
    assert encoded.trained == [False, True, True]


def test_both_answers_of_a_pair_follow_the_same_prompt(model: Path) -> None:
    example = Preference(tuple(said("Hi.")), tuple(said("", "Good day.")[1:]), tuple(said("", "What?")[1:]))
    encoder = Encoder.of(model)
    pair = encoder.pair(example)
    assert pair.prompt + pair.preferred == encoder.encode(Chat((*example.messages, *example.preferred))).ids
    assert pair.prompt + pair.rejected == encoder.encode(Chat((*example.messages, *example.rejected))).ids
    assert pair.preferred != pair.rejected


def test_a_model_without_a_template_learns_completions_alone(tmp_path: Path) -> None:
    model = chatml(tmp_path / "model")
    (model / "chat_template.jinja").unlink()
    assert any(Encoder.of(model).encode(Completion("a", "b")).trained)
    with pytest.raises(ConfigurationError, match="'prompt' and 'completion'"):
        Encoder.of(model).encode(chat(said("a", "b")))


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"])
def test_a_broken_file_of_the_model_is_told(tmp_path: Path, name: str) -> None:
    model = chatml(tmp_path / "model")
    (model / name).write_text("{% if")
    with pytest.raises(ConfigurationError, match="model"):
        Encoder.of(model)


def test_a_list_of_templates_serves_tools_with_its_own(tmp_path: Path) -> None:
    model = chatml(tmp_path / "model")
    (model / "chat_template.jinja").unlink()
    config = json.loads((model / "tokenizer_config.json").read_text())
    both = [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "tools"}]
    (model / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": both}))
    assert Encoder.of(model).text(chat(said("a", "b"))) == "plain"
    assert Encoder.of(model).text(chat(said("a", "b"), TOOLS)) == "tools"
