"""What a policy sees of a prompt: a handful of numbers from 0 to 1, each with what was counted.

Pure functions of the request: the same code scores a request that is served and one that is explained. Holds no weight
and takes no decision. The cues are English: a prompt in another language is judged by its length, numbers, facts, code
and turns alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from models.types import GenerationRequest

WINDOW = 4000
"""Characters looked at from the start and again from the end: the question stands at one of them. Keeps 4 MiB cheap."""

NUMBER = re.compile(
    r"\d+(?:[.,:]\d+)*"
    r"|\b(?:two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen"
    r"|eighteen|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred|thousand|million|half|double|twice)\b",
    re.IGNORECASE,
)
CALCULATION = re.compile(
    r"\b(?:how (?:many|much|long|old|far)|total|altogether|in all|sum|differences?|add|subtract|minus|plus"
    r"|divided?|multipl(?:y|ied)|average|mean|median|percent(?:age)?|ratio|remain(?:s|ing)?|left|more than|less than"
    r"|calculate|compute|solve|equations?|integral|derivative|probability)\b|[%=√∑∫]|\d\s+[-+*/^×÷]\s+\d|\d[+*^×÷]\d",
    re.IGNORECASE,
)
REASONING = re.compile(
    r"\b(?:why|explain|because|therefore|reason(?:s|ing)?|step by step|prove|proof|derive|deduce|infer|compare|contrast"
    r"|evaluate|analy[sz]e|argue|critique|trade-?offs?|pros and cons|plan|design|strategy|optimi[sz]e|hypothes[ie]s"
    r"|implications?|justify|debug|refactor|which of the following)\b",
    re.IGNORECASE,
)
LOOKUP = re.compile(
    r"(?:^|[.!?:,;]\s+|\b(?:tell me|know|say|find out|of|for|to|from|in)\s+)(?:who|whom|whose|where|when|which|what)\b"
    r"|\b(?:tell me|find|look up|give me|according to) (?:the|who|where|when|which|what)\b",
    re.IGNORECASE | re.MULTILINE,
)
CODE = re.compile(
    r"```|^[ \t]*(?:def \w+\(|class \w+[(:]|import \w+$|from \w+ import|fn \w+|func \w+\(|#include|select .+ from )"
    r"|;[ \t]*$|\b(?:python|javascript|typescript|rust|sql|regex|traceback|stack trace|compile[rs]?|unit tests?)\b",
    re.IGNORECASE | re.MULTILINE,
)
FORM = re.compile(
    r"\b(?:json|yaml|csv|xml|classify|categori[sz]e|label|class|sort (?:this|it|the)|kinds? of (?:this|the)"
    r"|kinds? of (?:message|ticket)|sentiment|extract|rewrite|rephrase|paraphrase|politely?|friendly"
    r"|kind(?:ly)? (?:way|request)|translate|spell|correct the|summari[sz]e|upper ?case|lower ?case)\b",
    re.IGNORECASE,
)
SENTENCE_END = re.compile(r"[.!?](?=\s|$)|\n")


class Feature(NamedTuple):
    """A value from 0 to 1 and the words that say what was seen."""

    value: float
    seen: str


def measure(request: GenerationRequest) -> Mapping[str, Feature]:
    """Every feature of this request, by name."""
    text = visible(request.text)
    found = {name: reader(text) for name, reader in READERS}
    return found | {"length": _length(request.text), "turns": _turns(request), "form": _form(text, request)}


def visible(text: str) -> str:
    """The part that is looked at: everything, or the first and the last `WINDOW` characters of a longer text."""
    return text if len(text) <= 2 * WINDOW else f"{text[:WINDOW]}\n{text[-WINDOW:]}"


def _length(text: str) -> Feature:
    return Feature(min(1.0, len(text) / 4000), f"{len(text)} characters")


def _numbers(text: str) -> Feature:
    count = len(NUMBER.findall(text))
    return Feature(_share(count, first=2, full=4), f"{count} numbers")


def _facts(text: str) -> Feature:
    count = sum(1 for part in SENTENCE_END.split(text) if len(part.split()) > 2)
    return Feature(_share(count, first=4, full=7), f"{count} sentences")


def _lookup(text: str) -> Feature:
    return _cue(LOOKUP, text)


def _calculation(text: str) -> Feature:
    return _cue(CALCULATION, text)


def _reasoning(text: str) -> Feature:
    return _cue(REASONING, text)


def _code(text: str) -> Feature:
    return _cue(CODE, text)


def _turns(request: GenerationRequest) -> Feature:
    messages = request.body.get("messages")
    turns = sum(1 for message in messages if _is_user(message)) if isinstance(messages, list) else 1
    return Feature(_share(turns, first=2, full=6), f"{turns} user turns")


def _form(text: str, request: GenerationRequest) -> Feature:
    shape = request.body.get("response_format")
    if isinstance(shape, Mapping) and str(shape.get("type", "")).startswith("json"):
        return Feature(1.0, "response_format asks for JSON")
    return _cue(FORM, text)


def _is_user(message: object) -> bool:
    return isinstance(message, Mapping) and message.get("role") == "user"


def _cue(pattern: re.Pattern[str], text: str) -> Feature:
    match = pattern.search(text)
    if match is None:
        return Feature(0.0, "none seen")
    return Feature(1.0, f"saw {' '.join(match.group().split())[:24].lower()!r}")


def _share(count: int, *, first: int, full: int) -> float:
    """0 below `first`, 1 from `full` on, even steps between."""
    return min(1.0, max(0.0, (count - first + 1) / (full - first + 1)))


READERS: tuple[tuple[str, Callable[[str], Feature]], ...] = (
    ("numbers", _numbers),
    ("facts", _facts),
    ("lookup", _lookup),
    ("calculation", _calculation),
    ("reasoning", _reasoning),
    ("code", _code),
)
