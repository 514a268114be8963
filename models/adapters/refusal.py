"""How an adapter is refused: one sentence, and the file, field or tensor that is meant. Owns no rule."""

from __future__ import annotations

from models.errors import InvalidRequest

LONGEST = 64


class AdapterInvalid(InvalidRequest):
    """This can never be an adapter of that base; `param` names the file, field or tensor: 64 printable characters."""

    default_code = "adapter_invalid"

    def __init__(self, public: str, *, param: str) -> None:
        super().__init__(public, param=printable(param))


def printable(text: str) -> str:
    """At most 64 characters with both ends of a longer text; what cannot be printed is a question mark."""
    short = text if len(text) <= LONGEST else f"{text[: LONGEST // 2 - 1]}…{text[-LONGEST // 2 :]}"
    return "".join(character if character.isprintable() else "?" for character in short)


def shown(value: object) -> str:
    """Somebody else's value inside a sentence: quoted, short, and nothing in it that a terminal would obey."""
    if value is None:
        return "not given"
    return repr(printable(value)) if isinstance(value, str) else printable(repr(value))
