"""What a policy sees of a prompt: a handful of numbers from 0 to 1, each with what was counted.

Pure functions of the request: the same code scores a request that is served and one that is explained. Holds no weight
and takes no decision. The cues are English: a prompt in another language is judged by its length, numbers, facts, code
and turns alone. Runs on the way to the first token, so the prompt is cut into tokens once and cues are looked up.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise, product
from typing import NamedTuple

from models.types import GenerationRequest

WINDOW = 2000
"""Characters looked at from the start and again from the end: the question stands at one of them. Keeps 4 MiB cheap."""

TOKEN = re.compile(r"\w+|[^\w\s]|\n")
NUMERAL = re.compile(r"\d+(?:[.,:]\d+)*")
OPERATION = re.compile(r"\d\s+[-+*/^×÷]\s+\d|\d[+*^×÷]\d")
SENTENCE_END = re.compile(r"[.!?](?=\s|$)|\n")
CODE_LINE = re.compile(
    r"\n[ \t]*(?:def \w+\(|class \w+[(:]|import \w+\n|from \w+ import|fn \w+|func \w+\(|#include|select .+ from )"
    r"|;[ \t]*\n"
)


class Feature(NamedTuple):
    """A value from 0 to 1 and the words that say what was seen."""

    value: float
    seen: str


class Cues(NamedTuple):
    """What speaks for a feature: single tokens, and phrases as they read with one space between their tokens."""

    words: tuple[str, ...]
    phrases: tuple[str, ...]


class Prompt(NamedTuple):
    """The visible part of a prompt in lower case: as it stands, as tokens, as the set and as one line of them."""

    text: str
    tokens: list[str]
    words: frozenset[str]
    line: str


def cues(words: str, *phrases: str) -> Cues:
    """Words apart by spaces; in a phrase `a/b` stands for either: "more/less than" is two phrases."""
    spelled = (" ".join(choice) for phrase in phrases for choice in product(*(w.split("/") for w in phrase.split())))
    return Cues(tuple(words.split()), tuple(_line(TOKEN.findall(phrase)) for phrase in spelled))


def _line(tokens: Iterable[str]) -> str:
    return f" {' '.join(tokens)} "


NUMBER_WORDS = frozenset(
    cues(
        "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
        " eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million half double"
        " twice"
    ).words
)
QUESTIONS = frozenset(cues("who whom whose where when which what").words)
OPENINGS = frozenset(cues(". ! ? : , ; know say of for to from in").words) | {"\n"}
"""Before one of these a question word asks for something to be looked up; elsewhere it joins two clauses."""

LOOKUP = cues(
    "",
    "tell me the/who/whom/whose/where/when/which/what",
    "find out who/whom/whose/where/when/which/what",
    "find the/who/where/when/which/what",
    "look up the/who/where/when/which/what",
    "give me the/who/where/when/which/what",
    "according to the/who/where/when/which/what",
)
CALCULATION = cues(
    "total altogether sum difference differences add subtract minus plus divide divided multiply multiplied average"
    " mean median percent percentage ratio remain remains remaining left calculate compute solve equation equations"
    " integral derivative probability % = √ ∑ ∫",
    "how many/much/long/old/far",
    "in all",
    "more/less than",
)
REASONING = cues(
    "why explain because therefore reason reasons reasoning prove proof derive deduce infer compare contrast evaluate"
    " analyse analyze argue critique tradeoff tradeoffs plan design strategy optimise optimize hypothesis hypotheses"
    " implication implications justify debug refactor",
    "trade-off",
    "trade-offs",
    "step by step",
    "pros and cons",
    "which of the following",
)
CODE = cues(
    "python javascript typescript rust sql regex traceback compile compiler compiles",
    "```",
    "stack trace",
    "unit test/tests",
)
FIELDS = cues("json yaml csv xml extract")
FORM = cues(
    "classify categorise categorize label class sentiment rewrite rephrase paraphrase"
    " politely friendly translate spell summarise summarize uppercase lowercase",
    "sort this/it/the",
    "kind/kinds of this/the/message/ticket",
    "kind/kindly way/request",
    "correct the",
    "upper/lower case",
)


def measure(request: GenerationRequest) -> Mapping[str, Feature]:
    """Every feature of this request, by name."""
    prompt = read(request.text)
    found = {name: reader(prompt) for name, reader in READERS}
    return found | {"length": _length(request.text), "turns": _turns(request), "fields": _fields(prompt, request)}


def read(text: str) -> Prompt:
    """Cut the visible part into tokens: words, marks and line ends."""
    lower = visible(text).lower()
    tokens = TOKEN.findall(lower)
    return Prompt(lower, tokens, frozenset(tokens), _line(tokens))


def visible(text: str) -> str:
    """The part that is looked at: everything, or the first and the last `WINDOW` characters of a longer text."""
    return text if len(text) <= 2 * WINDOW else f"{text[:WINDOW]}\n{text[-WINDOW:]}"


def _length(text: str) -> Feature:
    return Feature(min(1.0, len(text) / 4000), f"{len(text)} characters")


def _numbers(prompt: Prompt) -> Feature:
    count = len(NUMERAL.findall(prompt.text)) + sum(map(NUMBER_WORDS.__contains__, prompt.tokens))
    return Feature(_share(count, first=2, full=4), f"{count} numbers")


def _facts(prompt: Prompt) -> Feature:
    count = sum(1 for part in SENTENCE_END.split(prompt.text) if len(part.split()) > 2)
    return Feature(_share(count, first=4, full=7), f"{count} sentences")


def _lookup(prompt: Prompt) -> Feature:
    if not prompt.words.isdisjoint(QUESTIONS):
        for before, word in pairwise(("\n", *prompt.tokens)):
            if word in QUESTIONS and before in OPENINGS:
                return _saw(word)
    return _cue(LOOKUP, prompt)


def _calculation(prompt: Prompt) -> Feature:
    found = _cue(CALCULATION, prompt)
    operation = None if found.value else OPERATION.search(prompt.text)
    return found if operation is None else _saw(operation.group())


def _reasoning(prompt: Prompt) -> Feature:
    return _cue(REASONING, prompt)


def _code(prompt: Prompt) -> Feature:
    found = _cue(CODE, prompt)
    line = None if found.value else CODE_LINE.search(f"\n{prompt.text}\n")
    return found if line is None else _saw(line.group())


def _turns(request: GenerationRequest) -> Feature:
    messages = request.body.get("messages")
    turns = sum(1 for message in messages if _is_user(message)) if isinstance(messages, list) else 1
    return Feature(_share(turns, first=2, full=6), f"{turns} user turns")


def _form(prompt: Prompt) -> Feature:
    return _cue(FORM, prompt)


def _fields(prompt: Prompt, request: GenerationRequest) -> Feature:
    shape = request.body.get("response_format")
    if isinstance(shape, Mapping) and str(shape.get("type", "")).startswith("json"):
        return Feature(1.0, "response_format asks for JSON")
    return _cue(FIELDS, prompt)


def _is_user(message: object) -> bool:
    return isinstance(message, Mapping) and message.get("role") == "user"


def _cue(sought: Cues, prompt: Prompt) -> Feature:
    """Full when one of the cues stands in the prompt; the first one of the table is told."""
    for word in sought.words:
        if word in prompt.words:
            return _saw(word)
    for phrase in sought.phrases:
        if phrase in prompt.line:
            return _saw(phrase)
    return Feature(0.0, "none seen")


def _saw(what: str) -> Feature:
    return Feature(1.0, f"saw {' '.join(what.split())[:24]!r}")


def _share(count: int, *, first: int, full: int) -> float:
    """0 below `first`, 1 from `full` on, even steps between."""
    return min(1.0, max(0.0, (count - first + 1) / (full - first + 1)))


READERS: tuple[tuple[str, Callable[[Prompt], Feature]], ...] = (
    ("numbers", _numbers),
    ("facts", _facts),
    ("lookup", _lookup),
    ("calculation", _calculation),
    ("reasoning", _reasoning),
    ("code", _code),
    ("form", _form),
)
