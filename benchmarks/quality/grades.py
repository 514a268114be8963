"""How good an answer is, held against a reference: 0…1. Pure: owns the comparison, neither questions nor models.

Texts are compared by their words, as SQuAD's evaluation does (Rajpurkar et al. 2016, "SQuAD: 100,000+ Questions for
Machine Comprehension of Text"): lower case, no punctuation, no articles. Unlike there a number keeps its sign and its
decimals and loses its thousands' commas: -5 is not 5, 3.5 is not 35, 1,000 is 1000. A reference without any word is
compared as it stands.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType

from models.errors import ConfigurationError

Compare = Callable[[str, str], float]

ARTICLES = frozenset({"a", "an", "the"})
WORD = re.compile(r"(?:(?<!\w)[-−])?\d[\d,]*(?:\.\d+)?|[^\W\d]+")


def exact(answer: str, reference: str) -> float:
    """1 where the words are the same, in the same order."""
    return float(_same(answer, reference))


def contains(answer: str, reference: str) -> float:
    """1 where the reference's words stand in the answer, in a row: for models that answer in sentences."""
    wanted, given = _compared(answer, reference)
    if not wanted:
        return float(_same(answer, reference))
    starts = range(len(given) - len(wanted) + 1)
    return float(any(given[start : start + len(wanted)] == wanted for start in starts))


def f1(answer: str, reference: str) -> float:
    """SQuAD's F1: the harmonic mean of the parts of the answer's and of the reference's words that both have."""
    wanted, given = _compared(answer, reference)
    if not wanted or not given:
        return float(_same(answer, reference))
    shared = sum((Counter(wanted) & Counter(given)).values())
    return 2 * shared / (len(wanted) + len(given))


GRADES: Mapping[str, Compare] = MappingProxyType({"exact": exact, "contains": contains, "f1": f1})


def grader(name: str, references: Sequence[str]) -> Callable[[str], float]:
    """The quality of an answer by the reference that it comes nearest to; raises for a grade that is not there."""
    if name not in GRADES:
        raise ConfigurationError(f"There is no grade {name!r}. Choose one of {', '.join(GRADES)}.")
    return partial(_best, compare=GRADES[name], references=tuple(references))


def words(text: str) -> list[str]:
    """The words that are compared."""
    found = [word.replace(",", "").replace("−", "-") for word in WORD.findall(text.lower())]
    return [word for word in found if word not in ARTICLES] or found


def _compared(answer: str, reference: str) -> tuple[list[str], list[str]]:
    """The words of both; articles count where the reference is one, as the letter of a choice is."""
    wanted, given = words(reference), words(answer)
    if ARTICLES.issuperset(wanted):
        given = [word.replace(",", "") for word in WORD.findall(answer.lower())]
    return wanted, given


def _best(answer: str, *, compare: Compare, references: tuple[str, ...]) -> float:
    return max(compare(answer, reference) for reference in references)


def _same(answer: str, reference: str) -> bool:
    wanted, given = _compared(answer, reference)
    return given == wanted if wanted else answer.strip() == reference.strip()
