"""Whether an answer is exactly right. Pure: owns the comparison, not the prompts."""

from models.demo.families import Example
from models.json_values import same_json

JSON_FAMILIES = frozenset({"extract"})


def is_exact(example: Example, answer: str) -> bool:
    """The same JSON value for families that answer in JSON, else the same text; outer blanks do not count."""
    if example.family not in JSON_FAMILIES:
        return answer.strip() == example.answer
    return same_json(answer, example.answer)
