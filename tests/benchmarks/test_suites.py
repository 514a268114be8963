"""Suites: the shipped ones hold, and a bad one is refused with the field's name."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.prompts import Order, ask
from benchmarks.suite import SUITES, load_suite, seconds, suite_names
from models.errors import ConfigurationError

GOOD: dict[str, Any] = {
    "about": "A test.",
    "sizes": {
        "cpu": {
            "prompts": {"kind": "words", "words": [3, 5]},
            "workload": {"kind": "closed", "clients": 2},
            "answer_tokens": 8,
            "requests": 4,
        }
    },
}


def test_every_shipped_suite_opens_with_its_command_and_has_both_sizes() -> None:
    names = suite_names()
    assert len(names) >= 10
    for name in names:
        suite = load_suite(name)
        assert (SUITES / f"{name}.yaml").read_text().startswith(f"# penstock bench run {name} --target ")
        assert set(suite.sizes) == {"cpu", "gpu"}
        assert suite.slos
        assert all(ask(load.prompts, Order(1, 0)).messages for load in suite.sizes.values())


@pytest.mark.parametrize(
    ("where", "value", "says"),
    [
        ("sizes.cpu.workload.kind", "sometimes", "Unknown workload kind 'sometimes'"),
        ("sizes.cpu.workload.clients", 0, "clients"),
        ("sizes.cpu.prompts.words", [5, 3], "words"),
        ("sizes.cpu.prompts.colour", "red", "colour"),
        ("sizes.cpu.answer_tokens", "many", "sizes.cpu.answer_tokens"),
        ("sizes.cpu.models", {"zipf": 1}, "sizes.cpu.models.like"),
        ("sizes.cpu.models", {"like": "a-*", "zipf": -1}, "sizes.cpu.models.zipf"),
        ("sizes.cpu.requests", None, "requests or duration_s is needed"),
        ("sizes.cpu.workload", {"kind": "replay", "file": "nowhere.csv"}, "there is no trace 'nowhere.csv'"),
        ("slos", [{"name": "none"}], "a limit is needed"),
        ("sizes", {}, "sizes"),
        ("extra", 1, "extra"),
    ],
)
def test_a_bad_suite_is_refused_by_name(tmp_path: Path, where: str, value: Any, says: str) -> None:
    bad = yaml.safe_load(yaml.safe_dump(GOOD))
    *parents, last = where.split(".")
    place = bad
    for name in parents:
        place = place[name]
    place[last] = value
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(bad))
    with pytest.raises(ConfigurationError) as refused:
        load_suite(str(file))
    assert says in refused.value.public


@pytest.mark.parametrize("text", ["a: [", "[]", "", "just words"])
def test_what_is_no_suite_is_a_sentence(tmp_path: Path, text: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match="mine"):
        load_suite(str(file))


def test_an_unknown_suite_names_the_shipped_ones() -> None:
    with pytest.raises(ConfigurationError, match=r"Unknown suite 'nothing'\. Shipped: adapters-zipf, burst, chat-long"):
        load_suite("nothing")


def test_an_unknown_size_names_the_ones_there_are() -> None:
    with pytest.raises(ConfigurationError, match="It has: cpu, gpu"):
        load_suite("burst").size("huge")


@pytest.mark.parametrize(("text", "value"), [("500ms", 0.5), ("30s", 30), ("2m", 120), ("1.5", 1.5), ("1h", 3600)])
def test_durations_are_read_as_people_write_them(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "fast", "-1s", "1 parsec"])
def test_what_is_no_duration_is_a_sentence(text: str) -> None:
    with pytest.raises(ConfigurationError, match="is no duration"):
        seconds(text)
