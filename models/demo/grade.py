"""Whether an answer is exactly right. Pure: owns the comparison, not the prompts."""

import json
from typing import Any

from models.demo.families import Example

JSON_FAMILIES = frozenset({"extract"})


def is_exact(example: Example, answer: str) -> bool:
    """The same JSON value for families that answer in JSON, else the same text; outer blanks do not count."""
    if example.family not in JSON_FAMILIES:
        return answer.strip() == example.answer
    try:
        found = json.loads(answer, object_pairs_hook=_no_repeats)
    except ValueError:
        return False
    return bool(_typed(found) == _typed(json.loads(example.answer)))


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key appears twice")
    return found


def _typed(value: Any) -> Any:
    """12 and 12.0 and true are different answers, though Python calls some of them equal."""
    if isinstance(value, dict):
        return {key: _typed(item) for key, item in value.items()}
    return (type(value).__name__, value)
