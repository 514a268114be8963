import re
from itertools import islice
from random import Random

import pytest

from models.demo.families import (
    FAMILIES,
    TRAINED,
    Difficulty,
    Split,
    answer,
    arithmetic,
    chat,
    classify,
    draw,
    extract,
    mix,
    rewrite,
    topics,
    triage,
    unknown,
    values,
    wording,
)
from models.demo.families.example import split_of
from models.demo.families.wording import Wordings

PARTS = (
    (values.FIRST_NAMES, values.LAST_NAMES),
    (values.QUALITIES, values.GOODS),
    (values.PLACE_HEADS, values.PLACE_TAILS),
)
COMPOUNDS = {f"{head} {tail}" for heads, tails in PARTS for head in heads for tail in tails}
COMPOUNDS |= {f"{depot}{digit}" for depot in values.DEPOTS for digit in range(1, 10)}
MODULES = (answer, arithmetic, chat, classify, extract, rewrite, topics, triage, unknown, wording)


def wordings(thing: object) -> list[Wordings]:
    if isinstance(thing, Wordings):
        return [thing]
    if isinstance(thing, answer.Relation):
        return [thing.facts, thing.questions]
    return [one for value in thing.values() for one in wordings(value)] if isinstance(thing, dict) else []


def compounds_in(text: str) -> set[str]:
    pairs = re.findall(r"(?=\b(\w+ \w+)\b)", text)
    return COMPOUNDS & {*pairs, *re.findall(r"\b[A-Z]{3}\d\b", text)}


def test_no_wording_stands_on_both_sides_of_the_split() -> None:
    found = [one for module in MODULES for value in vars(module).values() for one in wordings(value)]
    assert len(found) > 30
    for one in found:
        assert one.train
        assert one.held_out
        assert not {text.lower() for text in one.train} & {text.lower() for text in one.held_out}


@pytest.mark.parametrize("split", list(Split))
def test_every_name_in_a_prompt_belongs_to_its_side(split: Split) -> None:
    texts = [f"{one.prompt} {one.answer}" for family in TRAINED for one in draw(family, split, count=150, seed=3)]
    found = set().union(*map(compounds_in, texts))
    assert len(found) > 300
    assert {split_of(value) for value in found} == {split}


def test_a_pair_of_numbers_is_trained_or_evaluated_never_both() -> None:
    def pairs(split: Split) -> set[str]:
        rng = Random(1)
        return {values.pair_key(*values.number_pair(rng, split)) for _ in range(2_000)}

    assert not pairs(Split.TRAIN) & pairs(Split.HELD_OUT)


def test_no_held_out_prompt_occurs_in_training() -> None:
    trained = {one.prompt for one in islice(mix(Split.TRAIN, seed=11), 20_000)}
    for family in TRAINED:
        assert not trained & {one.prompt for one in draw(family, Split.HELD_OUT, count=200, seed=11)}


def test_the_mix_never_shows_the_family_left_for_adapters() -> None:
    examples = list(islice(mix(Split.TRAIN, seed=5), 5_000))
    assert {one.family for one in examples} == set(TRAINED)
    assert not any("Desk:" in one.answer or "desk" in one.prompt for one in examples)


def test_the_same_seed_draws_the_same_examples() -> None:
    first, second = (draw("answer", Split.HELD_OUT, count=20, seed=7) for _ in range(2))
    assert first == second != draw("answer", Split.HELD_OUT, count=20, seed=8)


def test_easy_and_hard_prompts_share_openings_and_words() -> None:
    def starts(difficulty: Difficulty) -> set[str]:
        names = [name for name, one in FAMILIES.items() if one.difficulty is difficulty]
        prompts = [one.prompt for name in names for one in draw(name, Split.HELD_OUT, count=200, seed=2)]
        return {" ".join(prompt.split()[:4]) for prompt in prompts if prompt.startswith(wording.OPENINGS.held_out)}

    easy, hard = starts(Difficulty.EASY), starts(Difficulty.HARD)
    assert len(easy & hard) >= len(wording.OPENINGS.held_out) - 2


def test_sums_and_differences_are_right_and_the_number_that_does_not_count_stands_on_either_side() -> None:
    ahead = 0
    for one in draw("arithmetic", Split.HELD_OUT, count=200, seed=4):
        result = int(next(word for word in one.answer.split() if word.isdigit()))
        numbers = [int(word) for word in re.findall(r"\d+", one.prompt)]
        ahead += bool(re.search(r"(note|page|week) \d+[:,.] \w+ .*\d", one.prompt))
        pairs = ((numbers[0], numbers[1]), (numbers[1], numbers[2]))
        assert result in {total for first, second in pairs for total in (first + second, first - second)}
    assert 60 <= ahead <= 140


def test_the_answer_is_the_only_sentence_of_the_text_about_what_is_asked_or_said_to_be_missing() -> None:
    missing = 0
    for one in draw("answer", Split.HELD_OUT, count=200, seed=4):
        subject = " ".join(one.answer.split()[:2])
        missing += one.answer == answer.MISSING
        assert one.answer == answer.MISSING or (one.answer in one.prompt and one.prompt.count(subject) == 2)
    assert 5 <= missing <= 40
