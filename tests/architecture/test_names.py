"""What things are called, and where they may lie."""

from collections.abc import Iterable
from pathlib import PurePosixPath

import pytest

from tests.architecture.tree import Module, functions, modules, repository_files

FOLDERS = {"serving", "models", "finetune", "router", "benchmarks", "k8s", "tests", "docs"}
FORBIDDEN = {"util", "utils", "helper", "helpers", "common", "misc", "manager", "base", "core", "service", "v2"}
SENTENCE_WORDS = 4


def strange_folders(files: Iterable[str]) -> set[str]:
    """Top-level folders beside the given ones; hidden ones belong to tools."""
    tops = {PurePosixPath(name).parts[0] for name in files if "/" in name}
    return {top for top in tops if top not in FOLDERS and not top.startswith(".")}


def forbidden_names(files: Iterable[str]) -> list[str]:
    return [
        name
        for name in files
        if name.endswith(".py") and {PurePosixPath(part).stem for part in PurePosixPath(name).parts} & FORBIDDEN
    ]


def no_sentences(found: Iterable[Module]) -> list[str]:
    return [
        f"{module.path}:{node.lineno} {node.name}"
        for module in found
        for node in functions(module)
        if node.name.startswith("test_") and len(node.name.split("_")) <= SENTENCE_WORDS
    ]


def test_nothing_joins_the_top_level() -> None:
    files = repository_files()
    assert len(files) >= 80
    assert strange_folders(files) == set()


def test_a_new_top_level_folder_is_found() -> None:
    assert strange_folders(["src/x.py", ".ci/run", "README.md", "docs/a.md"]) == {"src"}


def test_files_are_the_noun_they_hold() -> None:
    assert forbidden_names(repository_files()) == []


@pytest.mark.parametrize("name", ["serving/utils.py", "models/common/x.py", "router/base.py"])
def test_a_file_named_after_nothing_is_found(name: str) -> None:
    assert forbidden_names([name, "models/prices.py", "docs/base.md"]) == [name]


def test_test_names_are_sentences() -> None:
    found = modules("tests")
    assert len(found) >= 20
    assert no_sentences(found) == []


def test_a_test_that_says_nothing_is_found() -> None:
    text = "def test_router(): pass\ndef test_plan_ok_2(): pass\ndef test_a_plan_is_made(): pass"
    assert len(no_sentences([Module("tests/x.py", text)])) == 2
