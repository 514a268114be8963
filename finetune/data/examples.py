"""One line of a training file: the three formats, read strictly. OpenAI's names and shapes.

Owns what a line may hold and the words for what is wrong with it: `line 7: messages[2].content must be …`, never a
word of the line itself. Does not own the file as a whole (`check`) or what a model makes of an example (`encode`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from finetune.data.fields import MAX_MESSAGES, Problem, messages_of, switch_of, text_of, tools_of
from models.errors import InvalidRequest
from models.strict_json import parse_object

Format = Literal["chat", "completion", "preference"]
Message: TypeAlias = Mapping[str, Any]

BOM = b"\xef\xbb\xbf"
MAX_DEPTH = 64

__all__ = ["MAX_MESSAGES", "Chat", "Completion", "Example", "Format", "InvalidLine", "Preference", "parse_line"]


class InvalidLine(InvalidRequest):
    """A line that is no example. `public` begins with `line 7: `; `field`: the path of what is wrong in it."""

    def __init__(self, number: int, problem: str, *, field: str | None = None) -> None:
        super().__init__(f"line {number}: {problem}", param="file")
        self.number = number
        self.problem = problem
        self.field = field


@dataclass(frozen=True, slots=True)
class Chat:
    """A conversation that ends with an assistant's turn. Messages are as in the file, `weight` included.

    `parallel_tool_calls` is part of the format and has no influence: the turns show whether calls came together.
    """

    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...] | None = None
    parallel_tool_calls: bool | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """A text and how it goes on; only what goes on is trained."""

    prompt: str
    completion: str


@dataclass(frozen=True, slots=True)
class Preference:
    """A conversation, and two assistant messages that could follow: the better and the worse one."""

    messages: tuple[Message, ...]
    preferred: tuple[Message, ...]
    rejected: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...] | None = None
    parallel_tool_calls: bool | None = None


Example: TypeAlias = Chat | Completion | Preference


def format_of(example: Example) -> Format:
    """The format that an example is written in."""
    return _FORMATS[type(example)]


def turns_of(example: Example) -> tuple[Message, ...]:
    """Every message of an example, that of both answers where there are two; a completion has none."""
    if isinstance(example, Completion):
        return ()
    answers = (*example.preferred, *example.rejected) if isinstance(example, Preference) else ()
    return (*example.messages, *answers)


def parse_line(raw: bytes, number: int) -> Example:
    """The example on a line, which is counted from 1; raises `InvalidLine`.

    The line's end may be there or not, and before line 1 a byte order mark.
    """
    raw = raw.removeprefix(BOM) if number == 1 else raw
    try:
        fields = parse_object(raw.rstrip(b"\r\n"), MAX_DEPTH, whole="it")
        return _example(fields)
    except Problem as problem:
        raise InvalidLine(number, problem.sentence, field=problem.path) from None
    except InvalidRequest as error:
        raise InvalidLine(number, error.public, field=error.param) from None


def _example(fields: dict[str, Any]) -> Example:
    if "messages" in fields:
        return _chat(fields)
    if "prompt" in fields or "completion" in fields:
        return _completion(fields)
    if "input" in fields or "preferred_output" in fields or "non_preferred_output" in fields:
        return _preference(fields)
    raise Problem(
        "", "holds neither 'messages', nor 'prompt' and 'completion', nor 'input' and 'preferred_output'", whole="it"
    )


def _chat(fields: dict[str, Any]) -> Chat:
    _require_keys(fields, "", required=("messages",), allowed=("tools", "parallel_tool_calls"))
    messages = messages_of(fields["messages"], "messages")
    if not any(message["role"] == "assistant" and message.get("weight") != 0 for message in messages):
        raise Problem("messages", "must hold an assistant message to learn, one whose weight is not 0")
    if messages[-1]["role"] != "assistant":
        raise Problem("messages", "must end with an assistant message")
    return Chat(messages, *_tools(fields, ""))


def _completion(fields: dict[str, Any]) -> Completion:
    _require_keys(fields, "", required=("prompt", "completion"))
    completion = text_of(fields["completion"], "completion")
    if not completion:
        raise Problem("completion", "must not be empty")
    return Completion(text_of(fields["prompt"], "prompt"), completion)


def _preference(fields: dict[str, Any]) -> Preference:
    _require_keys(fields, "", required=("input", "preferred_output", "non_preferred_output"))
    given = fields["input"]
    if not isinstance(given, dict):
        raise Problem("input", "must be an object")
    _require_keys(given, "input.", required=("messages",), allowed=("tools", "parallel_tool_calls"))
    messages = messages_of(given["messages"], "input.messages", weights=False)
    if messages[-1]["role"] == "assistant":
        raise Problem("input.messages", "must end with the message that is answered, not with an assistant message")
    preferred, rejected = (_output(fields[name], name) for name in ("preferred_output", "non_preferred_output"))
    if preferred == rejected:
        raise Problem("non_preferred_output", "is the same as preferred_output, which teaches nothing")
    return Preference(messages, preferred, rejected, *_tools(given, "input."))


def _output(value: Any, path: str) -> tuple[Message, ...]:
    messages = messages_of(value, path, weights=False)
    if len(messages) != 1 or messages[0]["role"] != "assistant":
        raise Problem(path, "must hold exactly one assistant message")
    return messages


def _tools(fields: Mapping[str, Any], where: str) -> tuple[tuple[Mapping[str, Any], ...] | None, bool | None]:
    tools = tools_of(fields["tools"], f"{where}tools") if fields.get("tools") is not None else None
    return tools, switch_of(fields.get("parallel_tool_calls"), f"{where}parallel_tool_calls")


def _require_keys(
    fields: Mapping[str, Any], where: str, *, required: tuple[str, ...], allowed: tuple[str, ...] = ()
) -> None:
    for name in required:
        if name not in fields:
            raise Problem(f"{where}{name}", "is missing")
    if unknown := len(fields.keys() - {*required, *allowed}):
        known = ", ".join((*required, *allowed))
        raise Problem(where.rstrip("."), f"holds {unknown} unknown fields; known here: {known}", whole="it")


_FORMATS: Mapping[type[Any], Format] = {Chat: "chat", Completion: "completion", Preference: "preference"}
