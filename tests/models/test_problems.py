"""What pydantic and YAML say in many lines, in one."""

from typing import Any

import pytest
import yaml
from pydantic import ValidationError, field_validator, model_validator

from models.config import Frozen
from models.problems import first_problem, yaml_problem


class Inner(Frozen):
    share: float

    @field_validator("share")
    @classmethod
    def _is_small(cls, value: float) -> float:
        if value > 1:
            raise ValueError(f"{value} is more\nthan 1")
        return value


class Outer(Frozen):
    inner: tuple[Inner, ...]

    @model_validator(mode="after")
    def _is_any(self) -> "Outer":
        if not self.inner:
            raise ValueError("inner: name one.")
        return self


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"inner": [{"share": 0.5}, {"share": 2}]}, "inner.1.share: 2.0 is more than 1"),
        ({"inner": [{"share": "x"}], "other": 1}, "inner.0.share: Input should be a valid number"),
        ({"inner": []}, "the file: inner: name one"),
        ("text", "the file: Input should be a valid dictionary or instance of Outer"),
    ],
)
def test_the_first_problem_is_one_line_with_its_field(values: Any, said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate(values)
    assert first_problem(caught.value).startswith(said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: {b: 1\nc: [", "line 2, column 2: expected ',' or '}', but got ':'"),
        ("a: b: c", "line 1, column 5: mapping values are not allowed here"),
        ("a: \x01", "unacceptable character #x0001"),
    ],
)
def test_what_is_no_yaml_is_told_with_its_place(text: str, said: str) -> None:
    with pytest.raises(yaml.YAMLError) as caught:
        yaml.safe_load(text)
    found = yaml_problem(caught.value)
    assert found.startswith(said)
    assert "\n" not in found
