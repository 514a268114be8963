"""From rated answers to examples: what an opinion teaches, and what is left out with its reason.

Pure: whoever calls reads the store. The rules:

* The correction is the answer to learn, whatever the rating; without one an answer that was rated `up` is.
* A `down` without a correction says that one answer was bad and not which is good: it teaches nothing. With one it is a
  pair for the format `preference`.
* Users who contradict each other teach nothing: two corrections, or an `up` and a `down` without any.
* The newest answer to a prompt counts. What the assistant said earlier in a conversation was not rated: it is context,
  with weight 0.
* Secrets and personal data are taken out, with one mark for one value in the whole example.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from finetune.data.examples import InvalidLine, parse_line
from finetune.data.private import Redactor
from finetune.data.rated import RatedCall

Wanted = Literal["up", "down", "any", "corrected"]
Written = Literal["chat", "preference"]

OPTED_OUT = "its org does not keep texts"
NOT_WHOLE = "the answer did not come to its end"
CANARY = "answered by a canary"
GATE = "asked by a gate"
OTHER_OPINION = "another opinion than was asked for"
DISAGREED = "users disagree"
NOT_CORRECTED = "rated down and not corrected"
NO_PAIR = "no correction that differs from the answer"
NO_MESSAGES = "recorded before messages were kept, and not surely one message"
NO_TEXT = "no texts were kept"
EMPTY = "the answer to learn is empty"
CONTINUED = "the prompt ends with words of the assistant"
DUPLICATE = "its prompt was rated again"
UNFIT = "no valid example"
MOST_LINE_BYTES = 2**20

FEATURE_OF_GATES = "gate"
_FIELDS: Mapping[str, tuple[str, ...]] = {
    "assistant": ("role", "content", "tool_calls"),
    "tool": ("role", "content", "tool_call_id"),
}


@dataclass(frozen=True, slots=True)
class Taking:
    """What is taken: of which opinions, in which format, how many at most, and whether private data is taken out."""

    feedback: Wanted = "any"
    format: Written = "chat"
    limit: int | None = None
    redact: bool = True


@dataclass(slots=True)
class Taken:
    """Lines of a training file, oldest first; `left_out`: reason → rated answers, `marks`: kind → values taken out."""

    lines: list[bytes] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    marks: Counter[str] = field(default_factory=Counter)
    corrected: int = 0


class _LeftOut(Exception):
    """Why an answer is no example."""


async def examples_of(calls: AsyncIterator[RatedCall], taking: Taking) -> Taken:
    """The lines that these calls make, which come newest first."""
    taken, seen = Taken(), set[bytes]()
    async for call in calls:
        try:
            target = _target(call, taking)
            key, line = _line(call, target, taking=taking, taken=taken)
            if key in seen:
                raise _LeftOut(DUPLICATE)
        except _LeftOut as reason:
            taken.left_out[str(reason)] += 1
            continue
        seen.add(key)
        taken.lines.append(line)
        taken.corrected += target != call.answer
        if len(taken.lines) == taking.limit:
            break
    taken.lines.reverse()
    return taken


def _target(call: RatedCall, taking: Taking) -> str:
    """The answer to learn."""
    for wrong, reason in (
        (not call.keeps_text, OPTED_OUT),
        (call.feature == FEATURE_OF_GATES, GATE),
        (call.cohort == "canary", CANARY),
        (not call.whole, NOT_WHOLE),
        (call.answer is None, NO_TEXT),
    ):
        if wrong:
            raise _LeftOut(reason)
    corrected = _opinion(call, taking)
    target = call.answer if corrected is None else corrected
    if not target or not target.strip():
        raise _LeftOut(EMPTY)
    if taking.format == "preference" and target == call.answer:
        raise _LeftOut(NO_PAIR)
    return target


def _opinion(call: RatedCall, taking: Taking) -> str | None:
    """The correction, or None where the answer is good as it is."""
    ratings = {one.rating for one in call.opinions}
    corrections = {one.corrected for one in call.opinions if one.corrected is not None}
    if len(corrections) > 1 or (len(ratings) > 1 and not corrections):
        raise _LeftOut(DISAGREED)
    wanted = {
        "any": True,
        "up": ratings == {"up"},
        "down": "down" in ratings,
        "corrected": bool(corrections),
    }
    if not wanted[taking.feedback]:
        raise _LeftOut(OTHER_OPINION)
    if ratings == {"down"} and not corrections:
        raise _LeftOut(NOT_CORRECTED)
    return next(iter(corrections), None)


def _line(call: RatedCall, target: str, *, taking: Taking, taken: Taken) -> tuple[bytes, bytes]:
    """What tells the prompt from others, and the example as a line."""
    messages, tools = _prompt(call)
    redactor = Redactor()
    clean = redactor.text if taking.redact else str
    prompt: dict[str, Any] = {"messages": [_message(message, clean) for message in messages]}
    if tools:
        prompt["tools"] = [_deep(tool, clean) for tool in tools]
    example = _example(prompt, clean(target), answer=clean(call.answer or ""), format=taking.format)
    line = _checked(example)
    taken.marks.update(redactor.counts)
    return orjson.dumps(prompt, option=orjson.OPT_SORT_KEYS), line


def _example(prompt: dict[str, Any], target: str, *, answer: str, format: Written) -> dict[str, Any]:
    good = {"role": "assistant", "content": target}
    if format == "preference":
        if target == answer:
            raise _LeftOut(NO_PAIR)
        return {
            "input": prompt,
            "preferred_output": [good],
            "non_preferred_output": [{"role": "assistant", "content": answer}],
        }
    context = [
        {**message, "weight": 0} if message["role"] == "assistant" else message for message in prompt["messages"]
    ]
    return {**prompt, "messages": [*context, good]}


def _checked(example: dict[str, Any]) -> bytes:
    """The line, which the check of training files passes."""
    try:
        line = orjson.dumps(example)
        parse_line(line, 1)
    except (TypeError, InvalidLine) as error:
        raise _LeftOut(UNFIT) from error
    if len(line) > MOST_LINE_BYTES:
        raise _LeftOut(UNFIT)
    return line + b"\n"


def _prompt(call: RatedCall) -> tuple[list[Mapping[str, Any]], list[Any]]:
    """Messages and tools as they came. A flat text of one line can have been one message only."""
    kept = call.messages
    if kept is None:
        if call.prompt is None:
            raise _LeftOut(NO_TEXT)
        if not call.prompt.strip() or "\n" in call.prompt:
            raise _LeftOut(NO_MESSAGES)
        return [{"role": "user", "content": call.prompt}], []
    if "omitted" in kept:
        raise _LeftOut(f"its messages were not kept: {kept['omitted']}")
    if kept["messages"][-1]["role"] == "assistant":
        raise _LeftOut(CONTINUED)
    return kept["messages"], kept.get("tools") or []


def _message(message: Mapping[str, Any], clean: Callable[[str], str]) -> dict[str, Any]:
    """The fields of a message that a template reads, without the name of who spoke."""
    names = _FIELDS.get(message["role"], ("role", "content"))
    kept = {name: message[name] for name in names if message.get(name) is not None}
    if isinstance(content := kept.get("content"), str):
        kept["content"] = clean(content)
    elif content is not None:
        kept["content"] = [{"type": "text", "text": clean(part["text"])} for part in content]
    if calls := kept.get("tool_calls"):
        kept["tool_calls"] = [_call(call, clean) for call in calls]
    return kept


def _call(call: Mapping[str, Any], clean: Callable[[str], str]) -> dict[str, Any]:
    function = call["function"]
    arguments = json.dumps(_deep(json.loads(function["arguments"]), clean), ensure_ascii=False)
    return {"id": call["id"], "type": "function", "function": {"name": function["name"], "arguments": arguments}}


def _deep(value: Any, clean: Callable[[str], str]) -> Any:
    """The same JSON with every text in it cleaned; the names of its members stay."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {name: _deep(item, clean) for name, item in value.items()}
    if isinstance(value, list):
        return [_deep(item, clean) for item in value]
    return value
