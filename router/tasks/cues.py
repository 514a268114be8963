"""What the task head sees of a prompt beside its sentence vector: one row of numbers, the same in training and serving.

Sizes and marks of the whole prompt, the features of `router/features.py`, and groups of words that tell whose matter is
asked about and what is to be done. Words are looked for at the prompt's ends only, because there stands what the user
wants; between them may stand a pasted text with words of its own. Owns `VERSION`, which changes with every change of
what a number counts. Nothing is weighed here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from router.features import READERS, Cues, cues, read

VERSION = 1

HEAD, TAIL = 300, 200
"""Characters that are looked at from the start and the end of a longer prompt."""
FIRST, LAST = 40, 25
"""Tokens of those that may belong to the request itself."""

NUMBERED = re.compile(r"\d{3}|#\d")
QUOTED = re.compile(r"[\"“][^\"”]{30,}[\"”]")
CODE_MARKS = "{}()[];=<>_"

GROUPS: tuple[tuple[str, Cues], ...] = (
    ("ours", cues("our ours us we", "the company", "the handbook", "at our", "with us", "in house", "in-house")),
    ("mine", cues("my mine i me")),
    (
        "given",
        cues(
            "following below pasted",
            "this mail/text/clause/review/message/email/code/notice/page/log/paragraph",
            "the text/mail/paragraph/log below",
            "according to the text/paragraph/mail/minutes",
            "from this/the text/mail/log/page",
            "these minutes/notes/figures/reviews/lines",
            "here is/are",
            "here's",
        ),
    ),
    (
        "fresh",
        cues(
            "today tonight now current currently latest yesterday recent recently news moment still already",
            "this/last week/month/morning/year/quarter/night/sprint",
            "so far",
            "right now",
        ),
    ),
    (
        "rules",
        cues(
            "policy policies handbook rules agreement contract guideline guidelines clause terms allowed approval"
            " approve plan allowance benefits conventions"
        ),
    ),
    (
        "records",
        cues(
            "invoice invoices order orders ticket tickets account balance status licence licences shipment payment"
            " payments minutes paid supplier suppliers customers budget results"
        ),
    ),
    ("people", cues("who whom whose contact responsible phone extension colleague manager")),
    (
        "places",
        cues("office room building floor canteen desk store warehouse parking site team department", "where do/is/can"),
    ),
    (
        "internal",
        cues("internal intranet portal wiki repository repo monorepo staging deployed", "code base", "access to"),
    ),
    (
        "general",
        cues("usually typical typically normally common generally roughly meaning mean means define", "in general"),
    ),
    ("make", cues("write draft compose create prepare announcement letter mail email post speech text names slogan")),
    (
        "put_differently",
        cues(
            "rewrite rephrase translate translation correct shorten simplify reply answer tone politely polite formal"
            " friendly style grammar wording word sound"
        ),
    ),
    (
        "pick",
        cues(
            "extract list pull summarise summarize summary tldr classify label sentiment json bullets gist points find"
            " sort topic condense digest mentioned"
        ),
    ),
    (
        "think",
        cues(
            "why compare should plan prove weigh argue recommend decide strategy risks reasons conclude consequences"
            " wiser better worth pros cons cause causes explain tradeoffs",
            "trade - offs",
            "how would",
            "step by step",
            "what if",
        ),
    ),
    ("amounts", cues("many much percent total per each cost costs average times rate hours euros left")),
    (
        "program",
        cues(
            "function script code query regex bug test tests compile docker git api loop library command python java"
            " sql typescript javascript bash shell cron endpoint database server config yaml branch commit build deploy"
            " pipeline formula error exception"
        ),
    ),
    ("greets", cues("hello hi hey thanks thx bye morning welcome")),
)
OPENERS: tuple[tuple[str, frozenset[str]], ...] = (
    ("what", frozenset(cues("what what's whats which").words)),
    ("who", frozenset(cues("who whom where when whose who's when's").words)),
    ("how", frozenset(("how",))),
    ("why", frozenset(("why",))),
    ("closed", frozenset(cues("is are do does did can could may am has have was were will would should").words)),
)
SIZES = ("characters", "words", "lines", "behind_first_line", "longest_line", "code_marks", "digits", "capitals")
MARKS = ("asks", "ends_asking", "ends_with_colon", "quoted", "fenced", "numbered")
NAMES: tuple[str, ...] = (
    *SIZES,
    *MARKS,
    *(f"feature_{name}" for name, _ in READERS),
    *(f"group_{name}" for name, _ in GROUPS),
    *(f"opens_{name}" for name, _ in OPENERS),
)
"""Column by column."""


def rows(texts: Sequence[str], places: Mapping[str, int]) -> NDArray[np.float32]:
    """The numbers of these prompts, `[len(texts), len(NAMES) + len(places)]`; every value is finite.

    `places` says behind the named columns which one is 1 where a word stands in the request: 0, 1, … by word.
    """
    found = np.zeros((len(texts), len(NAMES) + len(places)), np.float32)
    for at, text in enumerate(texts):
        found[at, : len(NAMES)], words = _row(text)
        for word in words:
            if (place := places.get(word)) is not None:
                found[at, len(NAMES) + place] = 1
    return found


def ends(text: str) -> str:
    """The part in which words are looked for: everything, or the first and the last characters of a longer text."""
    return text if len(text) <= HEAD + TAIL else f"{text[:HEAD]}\n{text[-TAIL:]}"


def _row(text: str) -> tuple[list[float], frozenset[str]]:
    """The named columns, and the words of the request."""
    seen = ends(text)
    prompt = read(seen)
    tokens = [token for token in prompt.tokens if token != "\n"]
    request = tokens if len(tokens) <= FIRST + LAST else [*tokens[:FIRST], *tokens[-LAST:]]
    words, line = frozenset(request), f" {' '.join(request)} "
    row = [
        *_sizes(text, seen),
        *_marks(seen),
        *(reader(prompt).value for _, reader in READERS),
        *(float(_has(group, words, line=line)) for _, group in GROUPS),
        *_opens(tokens),
    ]
    return row, words


def _sizes(text: str, seen: str) -> list[float]:
    """Lengths of the whole as logarithms, shares of what is seen."""
    share = 1 / max(1, len(seen))
    return [
        math.log1p(len(text)),
        math.log1p(text.count(" ")),
        math.log1p(text.count("\n")),
        math.log1p(len(text.partition("\n")[2])),
        math.log1p(max(map(len, seen.split("\n")))),
        sum(map(seen.count, CODE_MARKS)) * share,
        sum(map(seen.count, "0123456789")) * share,
        sum(map(str.isupper, seen)) * share,
    ]


def _marks(seen: str) -> list[float]:
    last = seen.rstrip()[-1:]
    found = ("?" in seen, last == "?", last == ":", QUOTED.search(seen), "```" in seen, NUMBERED.search(seen))
    return [float(bool(mark)) for mark in found]


def _opens(tokens: Sequence[str]) -> list[float]:
    """Which kind of question word stands among the first four words."""
    start = frozenset(tokens[:4])
    return [float(not start.isdisjoint(words)) for _, words in OPENERS]


def _has(group: Cues, words: frozenset[str], *, line: str) -> bool:
    return not words.isdisjoint(group.words) or any(phrase in line for phrase in group.phrases)
