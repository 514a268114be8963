import pytest

from models.demo.families import Example
from models.demo.grade import is_exact

ORDER = Example("extract", "p", '{"item": "oak lamps", "amount": 12}')


@pytest.mark.parametrize("answer", ['{"item": "oak lamps", "amount": 12}', ' {"amount":12,\n"item":"oak lamps"}\n'])
def test_json_is_right_in_any_layout(answer: str) -> None:
    assert is_exact(ORDER, answer)


@pytest.mark.parametrize(
    "answer",
    [
        '{"item": "oak lamps", "amount": "12"}',
        '{"item": "oak lamps", "amount": 12.0}',
        '{"item": "oak lamps"}',
        '{"item": "oak lamps", "amount": 12, "city": "x"}',
        '{"item": "oak lamps", "amount": 11, "amount": 12}',
        '{"item": "oak lamps", "amount": 12} and more',
        "",
    ],
)
def test_other_json_is_wrong(answer: str) -> None:
    assert not is_exact(ORDER, answer)


@pytest.mark.parametrize(
    ("answer", "right"), [("Yes, 12.", True), (" Yes, 12.\n", True), ("yes, 12.", False), ("", False)]
)
def test_text_must_be_the_same_but_for_blanks_around_it(answer: str, right: bool) -> None:
    assert is_exact(Example("arithmetic", "p", "Yes, 12."), answer) is right
