"""Which regular expressions are handed on."""

import pytest

from models.errors import InvalidRequest
from serving.api.patterns import check_pattern

LINEAR = [
    *("", "abc", "^[a-z0-9]+$", r"^\d{3}-\d{4}$", "(foo|bar)*", "^(a|b|c)*$", r"(\d{4}-)+", r"(\d{1,3}\.){3}\d{1,3}"),
    *("(?:ab?)c*", "a{1000}", "((((a)))){2}", "[[a]]", "(?i:x)+", "(ab?)+"),
]
REFUSED = [
    *("(a+)+$", "(a*)*", "(a|aa)+", "(a|a)*", "(.*a){20}", "((a+)b?)+", "(a{1,9})*", "(a?){50}", "(|a)*", "(a+|b)*"),
    *("[", "(", "a{2,1}", "*", "(?P<n>a)(?P=n)", "(?=a)b", "(?<!a)b", r"(a)\1", "a{1001}", "(a{100}){100}"),
    *("a" * 257, "(" * 250),
]


@pytest.mark.parametrize("pattern", LINEAR)
def test_a_linear_pattern_passes_the_check(pattern: str) -> None:
    check_pattern(pattern, "p")


@pytest.mark.parametrize("pattern", REFUSED)
def test_a_pattern_that_could_explode_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_pattern(pattern, "p")
    assert refused.value.param == "p"
    assert len(pattern) < 4 or pattern not in refused.value.public


@pytest.mark.parametrize("value", [1, None, ["a"], {}])
def test_a_pattern_is_a_string(value: object) -> None:
    with pytest.raises(InvalidRequest):
        check_pattern(value, "p")
