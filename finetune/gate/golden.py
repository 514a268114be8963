"""Golden files: questions with the answers that are expected, as JSON lines.

A line is `{"messages", "expected", "task"?, "metric"?, "tools"?, "max_tokens"?, "threshold"?}`. A line of a training
file is taken too: of a chat the last assistant message is expected, of a completion the completion, of a preference an
answer nearer to what was preferred than to what was not. Owns the format, neither grades (`score.py`) nor who asks.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import nsmallest
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, cast, get_args

import orjson

from models.errors import InvalidRequest

Metric = Literal["exact", "json", "similarity", "judge", "preference"]
METRICS: tuple[Metric, ...] = get_args(Metric)
GRADED: frozenset[Metric] = frozenset({"similarity", "judge"})
"""The metrics whose grade is a number 0…1, so that a threshold makes sense."""

ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})
KEYS = frozenset({"messages", "expected", "task", "metric", "tools", "max_tokens", "threshold"})
TASK = "default"
MOST_EXAMPLES = 10_000
MOST_LINE_BYTES = 2**20
MOST_TASK_CHARS = 64
EXACT_WORDS = 8
"""An answer of a training file with more words is graded by its likeness, unless it is JSON."""

MOST_TOKENS = 4_096
BOM = b"\xef\xbb\xbf"


class InvalidGolden(InvalidRequest):
    """A golden file that cannot be used; its words begin with `line n: ` where one line is to blame."""

    default_code = "invalid_file"


@dataclass(frozen=True, slots=True)
class Golden:
    """One question. `messages` as clients send them, or, without any, `prompt` for the completions endpoint.

    `rejected`: of a preference alone; `threshold`: from which grade on it counts as right, else the grade itself is the
    score; `digest`: SHA-256 of the question and its expected answer, the same wherever the line stands; `line`: its
    number in the file, from 1.
    """

    messages: tuple[Mapping[str, Any], ...]
    expected: str
    digest: str
    task: str = TASK
    metric: Metric = "exact"
    prompt: str | None = None
    tools: tuple[Mapping[str, Any], ...] | None = None
    max_tokens: int | None = None
    threshold: float | None = None
    rejected: str | None = None
    line: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class GoldenFacts:
    """What a golden file holds: how many examples, and of which task and metric how many."""

    examples: int
    tasks: Mapping[str, int]
    metrics: Mapping[str, int]


def check_golden(path: Path) -> GoldenFacts:
    """The facts of a golden file, read line by line. Raises `InvalidGolden`."""
    tasks, metrics = Counter[str](), Counter[str]()
    for golden in read_golden(path):
        tasks[golden.task] += 1
        metrics[golden.metric] += 1
    return GoldenFacts(tasks.total(), MappingProxyType(dict(tasks)), MappingProxyType(dict(metrics)))


def load_golden(path: Path) -> list[Golden]:
    """The questions of a golden file or a training file, in its order; of more than `MOST_EXAMPLES` those with the
    lowest digests. A line of a training file that asks nothing, such as a greeting alone, is passed over.

    Raises `InvalidGolden` where no question is left.
    """
    found: list[tuple[str, int, Golden]] = []
    with path.open("rb") as file:
        for number, raw in _lines(file):
            try:
                golden = golden_of(raw, number)
            except InvalidGolden:
                continue
            found.append((golden.digest, number, golden))
            if len(found) > 2 * MOST_EXAMPLES:
                found = _lowest(found)
    if not found:
        raise InvalidGolden("No line of the file is a question with an answer.", param="file")
    return [golden for *_, golden in sorted(_lowest(found), key=lambda one: one[1])]


def _lowest(found: list[tuple[str, int, Golden]]) -> list[tuple[str, int, Golden]]:
    return nsmallest(MOST_EXAMPLES, found, key=lambda one: one[:2])


def read_golden(path: Path) -> Iterator[Golden]:
    """The questions one after the other. Raises `InvalidGolden`, also for a file without any or with too many."""
    found = 0
    with path.open("rb") as file:
        for number, raw in _lines(file):
            found += 1
            if found > MOST_EXAMPLES:
                raise InvalidGolden(f"A golden file has at most {MOST_EXAMPLES:,} examples: take fewer.", param="file")
            yield golden_of(raw, number)
    if not found:
        raise InvalidGolden("The file has no example: write one JSON object per line.", param="file")


def golden_of(raw: bytes, number: int) -> Golden:
    """One line (`number` counts from 1). Raises `InvalidGolden`, which never repeats the line's text."""
    try:
        line = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise _bad(number, "is not JSON (UTF-8)") from error
    if not isinstance(line, dict):
        raise _bad(number, "must be a JSON object")
    if "input" in line:
        return _preference(line, number)
    if "prompt" in line:
        return _completion(line, number)
    if "expected" in line:
        return _golden(line, number)
    return _chat(line, number)


def text_of(message: Mapping[str, Any]) -> str:
    """What an assistant message says: its text, or else its tool calls as a JSON array of names and arguments."""
    if calls := message.get("tool_calls"):
        return orjson.dumps([_call(one["function"]) for one in calls], option=orjson.OPT_SORT_KEYS).decode()
    content = message.get("content")
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    return content if isinstance(content, str) else ""


def _golden(line: Mapping[str, Any], number: int) -> Golden:
    if unknown := sorted(line.keys() - KEYS):
        raise _bad(number, f"has an unknown field {unknown[0][:64]!r}; there are {', '.join(sorted(KEYS))}")
    expected, metric = line["expected"], line.get("metric", "exact")
    if not isinstance(expected, str) or not expected.strip():
        raise _bad(number, "must be a text that is not empty", param="expected")
    if metric not in METRICS or metric == "preference":
        raise _bad(number, "must be exact, json, similarity or judge", param="metric")
    if metric == "json":
        _require_json(expected, number)
    return _made(
        number,
        messages=_messages(line, number),
        expected=expected,
        task=_task(line, number),
        metric=cast(Metric, metric),
        tools=_tools(line, number),
        max_tokens=_max_tokens(line, number),
        threshold=_threshold(line, number, metric=metric),
    )


def _chat(line: Mapping[str, Any], number: int) -> Golden:
    """A line of a training file: the last assistant message is what is expected, and what follows it does not count."""
    messages = _messages(line, number)
    places = [place for place, message in enumerate(messages) if message["role"] == "assistant"]
    if not places or places[-1] == 0:
        raise _bad(number, "has neither 'expected' nor an assistant message after a question", param="messages")
    last = messages[places[-1]]
    expected = text_of(last)
    if not expected.strip():
        raise _bad(number, "must end with an assistant message that is not empty", param="messages")
    metric: Metric = "json" if last.get("tool_calls") else _metric_of(expected)
    return _made(
        number,
        messages=messages[: places[-1]],
        expected=expected,
        task=TASK,
        metric=metric,
        tools=_tools(line, number),
    )


def _completion(line: Mapping[str, Any], number: int) -> Golden:
    prompt, expected = line["prompt"], line.get("completion")
    if not isinstance(prompt, str) or not isinstance(expected, str) or not expected.strip():
        raise _bad(number, "needs 'prompt' and 'completion', both texts, the second not empty", param="completion")
    return _made(number, messages=(), prompt=prompt, expected=expected, task=TASK, metric=_metric_of(expected))


def _metric_of(expected: str) -> Metric:
    """Of a line that names none: prose is never said in the same words twice; labels, numbers and JSON are."""
    if len(expected.split()) <= EXACT_WORDS:
        return "exact"
    try:
        orjson.loads(expected)
    except orjson.JSONDecodeError:
        return "similarity"
    return "exact"


def _preference(line: Mapping[str, Any], number: int) -> Golden:
    given = line["input"]
    if not isinstance(given, dict):
        raise _bad(number, "must be an object with 'messages'", param="input")
    preferred, rejected = (_output(line, number, name=name) for name in ("preferred_output", "non_preferred_output"))
    return _made(
        number,
        messages=_messages(given, number),
        expected=preferred,
        rejected=rejected,
        task=TASK,
        metric="preference",
        tools=_tools(given, number),
    )


def _made(number: int, **values: Any) -> Golden:
    seen = {key: values.get(key) for key in ("messages", "prompt", "tools", "expected", "rejected")}
    told = orjson.dumps(seen, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    return Golden(digest=hashlib.sha256(told).hexdigest(), line=number, **values)


def _messages(line: Mapping[str, Any], number: int) -> tuple[Mapping[str, Any], ...]:
    found = line.get("messages")
    if not isinstance(found, list) or not found:
        raise _bad(number, "must be a list of messages that is not empty", param="messages")
    for place, message in enumerate(found):
        param = f"messages[{place}]"
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise _bad(number, f"needs a role: {', '.join(sorted(ROLES))}", param=param)
        if calls := message.get("tool_calls"):
            _require_calls(calls, number, param=f"{param}.tool_calls")
        elif not isinstance(message.get("content"), str | list):
            raise _bad(number, "needs a content", param=param)
    return tuple(found)


def _require_calls(calls: Any, number: int, *, param: str) -> None:
    functions = [one.get("function") if isinstance(one, dict) else None for one in calls] if calls else []
    if not isinstance(calls, list) or not all(isinstance(one, dict) and "name" in one for one in functions):
        raise _bad(number, "must be a list of calls with a function and its name", param=param)


def _call(function: Mapping[str, Any]) -> dict[str, Any]:
    arguments = function.get("arguments", "{}")
    try:
        told = orjson.loads(arguments) if isinstance(arguments, str) else arguments
    except orjson.JSONDecodeError:
        told = arguments
    return {"name": function["name"], "arguments": told}


def _output(line: Mapping[str, Any], number: int, *, name: str) -> str:
    found = line.get(name)
    last = found[-1] if isinstance(found, list) and found else None
    if not isinstance(last, dict) or last.get("role") != "assistant" or not text_of(last).strip():
        raise _bad(number, "must be a list that ends with an assistant message", param=name)
    return text_of(last)


def _tools(line: Mapping[str, Any], number: int) -> tuple[Mapping[str, Any], ...] | None:
    tools = line.get("tools")
    if tools is None:
        return None
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise _bad(number, "must be a list of objects", param="tools")
    return tuple(cast(Sequence[Mapping[str, Any]], tools)) or None


def _task(line: Mapping[str, Any], number: int) -> str:
    task = line.get("task", TASK)
    if not isinstance(task, str) or not 1 <= len(task) <= MOST_TASK_CHARS or not task.isprintable():
        raise _bad(number, f"must be a text of 1 to {MOST_TASK_CHARS} characters", param="task")
    return task


def _max_tokens(line: Mapping[str, Any], number: int) -> int | None:
    found = line.get("max_tokens")
    if found is None:
        return None
    if not isinstance(found, int) or isinstance(found, bool) or not 1 <= found <= MOST_TOKENS:
        raise _bad(number, f"must be a whole number from 1 to {MOST_TOKENS}", param="max_tokens")
    return found


def _threshold(line: Mapping[str, Any], number: int, *, metric: str) -> float | None:
    found = line.get("threshold")
    if found is None:
        return None
    if metric not in GRADED:
        raise _bad(number, "is for similarity and judge alone", param="threshold")
    if not isinstance(found, int | float) or isinstance(found, bool) or not 0 < found <= 1 or math.isnan(found):
        raise _bad(number, "must be a number above 0 and at most 1", param="threshold")
    return float(found)


def _require_json(expected: str, number: int) -> None:
    try:
        orjson.loads(expected)
    except orjson.JSONDecodeError as error:
        raise _bad(number, "must be JSON where the metric is json", param="expected") from error


def _lines(file: Any) -> Iterator[tuple[int, bytes]]:
    number = 0
    while raw := file.readline(MOST_LINE_BYTES + 8):  # with its end, and a BOM
        number += 1
        if len(raw.rstrip(b"\r\n")) > MOST_LINE_BYTES + (len(BOM) if number == 1 else 0):
            raise _bad(number, f"is longer than {MOST_LINE_BYTES:,} bytes")
        text = raw.removeprefix(BOM).strip() if number == 1 else raw.strip()
        if text:
            yield number, text


def _bad(number: int, problem: str, *, param: str | None = None) -> InvalidGolden:
    subject = "" if param is None else f"{param!r} "
    return InvalidGolden(f"line {number}: {subject}{problem}.", param=param or "file")
