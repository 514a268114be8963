"""What the letters of a prompt say of it: one row of numbers, the same in training and in serving.

Lengths, punctuation, numbers, listed options and common words. A learned model decides what they mean; nothing is
weighed here. Owns `VERSION`, which changes with every change of `NAMES` or of what a number counts: a model that was
trained on another version is refused. Looks at the visible part of a long prompt, as `router/features.py` does.
"""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.embedders.text import END_CHARACTERS
from router.features import visible

VERSION = 2

OPTION = re.compile(r"^[ \t]*\(?(?:[A-Ja-j]|[1-9])[.):][ \t]+(.*)$", re.MULTILINE)
TOKEN = re.compile(r"\w+|[^\w\s]")
WORD = re.compile(r"[A-Za-z]+")
NUMERAL = re.compile(r"\d+(?:[.,]\d+)*")
BARE_NUMBER = re.compile(r"[\d.,$%\s-]+")
SENTENCE = re.compile(r"[.!?]\s|\n")
CAPITALS, DIGITS = string.ascii_uppercase.encode(), string.digits.encode()
PLAIN = bytes(code for code in range(128) if chr(code).isalnum() or chr(code).isspace())
LONGEST = 2 * END_CHARACTERS + 1
"""Characters are counted up to here: of a longer prompt both ends are sent (`models/embedders/text.py`)."""
LARGEST = 1e15
"""Numbers are cut here, so that no count of digits overflows."""

MARKS = "%$/?,_\"\n'();:=+-*^<>[]{}\\|&#"
COMMON: tuple[str, ...] = (
    *("not", "except", "least", "false", "incorrect", "following", "all", "none", "both", "if", "then"),
    *("because", "which", "what", "who", "when", "how", "why", "where", "many", "much", "each", "every", "per"),
    *("more", "less", "than", "times", "total", "average", "half", "twice", "third", "percent", "left", "rest"),
    *("the", "a", "an", "of", "in", "is", "are", "was", "were", "he", "she", "they", "his", "her", "it"),
    *("this", "that", "would", "could", "should", "will", "can", "may", "must", "most", "best", "likely"),
    *("true", "according", "to", "by", "with", "for", "from", "and", "or", "but", "also", "only", "no"),
    *("statement", "i", "ii", "iii", "between", "after", "before", "during", "find", "value", "let"),
    *("function", "year", "years", "day", "week", "hours"),
)
SHAPE = (
    *("characters", "tokens", "words", "numbers", "different_numbers", "sentences", "stem_characters", "stem_words"),
    *("options", "option_mean", "option_spread", "option_longest", "option_shortest", "longest_option_at"),
    *("shortest_option_at", "options_with_digits", "options_of_digits", "option_initials", "options_told_in_stem"),
    *("options_alike", "word_length", "word_longest", "word_spread", "long_words", "short_words", "different_words"),
    *("capitalised", "acronyms", "upper_share", "digit_share", "mark_share", "foreign_share", "fractions"),
    *("largest_number", "middle_number", "smallest_number", "sentence_mean", "sentence_longest", "ends_asking"),
    *("ends_stating", "ends_with_colon", "ends_with_blank"),
)
NAMES: tuple[str, ...] = (
    *SHAPE,
    *(f"mark_{ord(mark)}" for mark in MARKS),
    *(f"word_{word}" for word in COMMON),
)
"""Column by column. Marks are named by their code point."""


def surface(texts: Sequence[str]) -> NDArray[np.float32]:
    """The rows of these prompts, `[len(texts), len(NAMES)]`; every value is finite."""
    rows = np.zeros((len(texts), len(NAMES)), np.float32)
    for row, text in enumerate(texts):
        rows[row] = _row(text)
    return rows


class _Parts(NamedTuple):
    """A prompt, cut once."""

    text: str
    stem: str
    options: list[str]
    tokens: list[str]
    words: list[str]


def _row(whole: str) -> list[float]:
    text = visible(whole)
    first = OPTION.search(text)
    parts = _Parts(
        text=text,
        stem=text[: first.start()] if first else text,
        options=OPTION.findall(text),
        tokens=TOKEN.findall(text),
        words=WORD.findall(text),
    )
    seen = Counter(token.lower() for token in parts.tokens)
    return [
        *_sizes(parts, whole=whole),
        *_options(parts),
        *_words(parts.words),
        *_letters(text),
        *_numbers(text),
        *_sentences(parts.stem),
        *(float(text.count(mark)) for mark in MARKS),
        *(float(seen[word]) for word in COMMON),
    ]


def _sizes(parts: _Parts, *, whole: str) -> list[float]:
    numbers = NUMERAL.findall(parts.text)
    characters = min(len(whole), LONGEST)
    counts = (characters, len(parts.tokens), len(parts.words), len(numbers), len(set(numbers)))
    stem = (len(_pieces(parts.stem)), len(parts.stem), len(WORD.findall(parts.stem)))
    return [float(count) for count in (*counts, *stem)]


def _options(parts: _Parts) -> list[float]:
    options = parts.options
    if not options:
        return [0.0] * 12
    lengths = [len(option) for option in options]
    mean = sum(lengths) / len(lengths)
    sets = [set(option.lower().split()) for option in options]
    stem = {word.lower() for word in WORD.findall(parts.stem)}
    alike = [_overlap(other, sets[0]) for other in sets[1:]]
    return [
        float(len(options)),
        mean,
        _spread(lengths, mean),
        float(max(lengths)),
        float(min(lengths)),
        float(lengths.index(max(lengths))),
        float(lengths.index(min(lengths))),
        float(sum(any(letter.isdigit() for letter in option) for option in options)),
        float(sum(BARE_NUMBER.fullmatch(option) is not None for option in options)),
        float(len({option.strip()[:1].lower() for option in options})),
        sum(_overlap(one, stem) for one in sets) / len(sets),
        sum(alike) / len(alike) if alike else 0.0,
    ]


def _words(words: list[str]) -> list[float]:
    if not words:
        return [0.0] * 8
    lengths = [len(word) for word in words]
    mean = sum(lengths) / len(lengths)
    return [
        mean,
        float(max(lengths)),
        _spread(lengths, mean),
        sum(length > 8 for length in lengths) / len(words),
        sum(length < 4 for length in lengths) / len(words),
        len({word.lower() for word in words}) / len(words),
        sum(word[0].isupper() for word in words) / len(words),
        float(sum(len(word) > 1 and word.isupper() for word in words)),
    ]


def _letters(text: str) -> list[float]:
    """Shares of capitals, digits, marks and letters beyond ASCII. ASCII, nearly every prompt, is counted as bytes."""
    size = max(1, len(text))
    if text.isascii():
        content = text.encode()
        found = (len(content) - len(content.translate(None, some)) for some in (CAPITALS, DIGITS, PLAIN))
        capitals, digits, plain = found
        return [capitals / size, digits / size, (len(content) - plain) / size, 0.0]
    return [
        sum(map(str.isupper, text)) / size,
        sum(map(str.isdigit, text)) / size,
        sum(not letter.isalnum() and not letter.isspace() for letter in text) / size,
        sum(letter > "\x7f" for letter in text) / size,
    ]


def _numbers(text: str) -> list[float]:
    values = sorted(min(LARGEST, _value(numeral)) for numeral in NUMERAL.findall(text))
    if not values:
        return [0.0] * 4
    middle = (values[(len(values) - 1) // 2] + values[len(values) // 2]) / 2
    fractions = sum(value != int(value) for value in values)
    return [float(fractions), *(math.log1p(value) for value in (values[-1], middle, values[0]))]


def _sentences(stem: str) -> list[float]:
    lengths = [len(piece.split()) for piece in _pieces(stem)]
    last = stem.strip()[-1:]
    mean = sum(lengths) / len(lengths) if lengths else 0.0
    return [mean, float(max(lengths, default=0)), *(float(last == mark) for mark in "?.:_")]


def _pieces(text: str) -> list[str]:
    return [piece for piece in SENTENCE.split(text) if piece.strip()]


def _value(numeral: str) -> float:
    """What the digits say, in any script; a second point, as in 1.2.3, ends the number."""
    whole, point, rest = numeral.replace(",", "")[:40].partition(".")
    return float(f"{whole}{point}{rest.partition('.')[0]}")


def _overlap(one: set[str], other: set[str]) -> float:
    return len(one & other) / max(1, len(one))


def _spread(lengths: Sequence[int], mean: float) -> float:
    return math.sqrt(sum((length - mean) ** 2 for length in lengths) / len(lengths))
