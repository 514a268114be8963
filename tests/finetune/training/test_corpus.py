import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from finetune.order import TrainingFailed
from finetune.training.corpus import collected, encoder_of, examples_of, pairs_of
from finetune.training.facts import BaseFacts
from models.demo.tiers import WEIGHTS
from tests.finetune.tiny import Told, chat_lines, pair_line

LARGE = WEIGHTS / "large"


def test_only_what_the_assistant_says_is_learned(tmp_path: Path) -> None:
    corpus = examples_of(chat_lines(tmp_path / "d.jsonl", count=1), encoder_of(LARGE), longest=128)
    tokenizer = Tokenizer.from_file(str(LARGE / "tokenizer.json"))
    assert tokenizer.decode(corpus.ids.tolist(), False) == "<|user|>order<|end|><|assistant|>order<|end|>"
    assert tokenizer.decode(corpus.ids[corpus.learned].tolist(), False) == "order<|end|>"


def test_a_line_that_is_no_example_is_named_and_not_echoed(tmp_path: Path) -> None:
    path = chat_lines(tmp_path / "d.jsonl", count=3)
    path.write_text(path.read_text() + '{"messages": "secret"}\n')
    with pytest.raises(TrainingFailed) as failed:
        examples_of(path, encoder_of(LARGE), longest=128)
    assert (failed.value.code, failed.value.line) == ("invalid_data", 4)
    assert "secret" not in failed.value.public


def test_each_recipe_refuses_the_other_kind_of_example(tmp_path: Path) -> None:
    chats, pairs = chat_lines(tmp_path / "c.jsonl"), tmp_path / "p.jsonl"
    pairs.write_text(pair_line("late", "refund", "thanks"))
    for read, path in ((pairs_of, chats), (examples_of, pairs)):
        with pytest.raises(TrainingFailed, match="line 1"):
            read(path, encoder_of(LARGE), longest=128)


def test_what_is_cut_and_what_has_nothing_left_to_learn_is_told(tmp_path: Path) -> None:
    told = Told(tmp_path)
    corpus = examples_of(chat_lines(tmp_path / "d.jsonl"), encoder_of(LARGE), longest=8, reporter=told)
    assert len(corpus) == 24 - corpus.left_out
    assert corpus.left_out > 0
    assert any("cut" in event for event in told.events)
    assert any("left out" in event for event in told.events)


def test_a_pair_of_which_one_side_is_cut_away_is_left_out_whole() -> None:
    whole = ([1, 2, 3], [False, False, True])
    found = collected([[whole, whole], [whole, ([1] * 9 + [2], [False] * 9 + [True])]], longest=5)
    assert (len(found), found.left_out) == (2, 1)


def test_a_file_with_nothing_to_learn_cannot_be_trained_on() -> None:
    with pytest.raises(TrainingFailed) as failed:
        collected([[([1, 2], [False, False])]], longest=5)
    assert failed.value.code == "invalid_data"


@pytest.mark.parametrize("read", [encoder_of, BaseFacts.of])
def test_a_base_that_is_not_there_is_unavailable(tmp_path: Path, read: object) -> None:
    with pytest.raises(TrainingFailed) as failed:
        read(tmp_path)  # type: ignore[operator]
    assert failed.value.code == "model_unavailable"


def test_the_facts_of_a_base_are_read_without_loading_it() -> None:
    facts = BaseFacts.of(LARGE)
    assert (facts.parameters, facts.context) == (
        2_429_440,
        json.loads((LARGE / "config.json").read_text())["max_position_embeddings"],
    )
    assert len(facts.modules) == 7
