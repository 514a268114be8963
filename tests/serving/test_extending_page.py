"""The page docs/extending.md does what it says."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.catalog import Catalog
from models.plugins import Registry
from models.types import GenerationRequest
from router.policies import POLICIES
from serving.fitting import refusals
from serving.settings import load_settings

PAGE = (Path(__file__).parents[2] / "docs" / "extending.md").read_text()


def block(name: str) -> str:
    """The code block that begins with this file name."""
    found = re.search(rf"```\w+\n(# (?:\S+/)?{re.escape(name)}.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found.group(1)


@pytest.fixture
def policies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """The table of kinds with the page's file and its one row."""
    (tmp_path / "extending_short.py").write_text(block("short.py"))
    monkeypatch.syspath_prepend(tmp_path)
    yield Registry("router policy", {"static": "router.policies.static", "short": "extending_short"})
    sys.modules.pop("extending_short", None)


def test_the_policy_of_the_page_is_read_by_its_row_and_decides(policies: Registry) -> None:
    settings = policies.read({"kind": "short", "most_characters": 3})
    policy = policies.module("short").build(settings)
    asked = [
        GenerationRequest("r", "chat", "auto", {}, stream=False, include_usage=False, text=text, received=0)
        for text in ("abc", "abcd")
    ]
    assert [policy.choose(request).ranking[0] for request in asked] == ["small", "large"]
    assert policies.module("short").Settings.model_fields["most_characters"].description


def test_the_page_names_the_table_that_there_is() -> None:
    assert "`POLICIES` in `router/policies/__init__.py`" in PAGE
    assert "short" not in POLICIES.kinds


def test_the_card_of_the_page_joins_the_catalog(tmp_path: Path) -> None:
    (tmp_path / "models.yaml").write_text(block("models.yaml"))
    catalog = Catalog.load(tmp_path / "models.yaml")
    assert catalog.card("house-7b").tier == "large"
    assert len(catalog) == len(Catalog.load()) + 1


def test_the_profile_of_the_page_loads_and_fits_the_gpu_that_it_names(tmp_path: Path) -> None:
    (tmp_path / "models.yaml").write_text(block("models.yaml"))
    (tmp_path / "house.yaml").write_text(block("house.yaml"))
    settings = load_settings(str(tmp_path / "house.yaml"))
    assert settings.tiers.card("large") == "house-7b"
    assert refusals(settings, Catalog.load(tmp_path / "models.yaml")) == []


def test_a_profile_that_asks_for_too_much_is_refused_as_the_page_says(tmp_path: Path) -> None:
    (tmp_path / "models.yaml").write_text(block("models.yaml"))
    (tmp_path / "house.yaml").write_text(block("house.yaml").replace("a100-80gb", "l4-24gb"))
    settings = load_settings(str(tmp_path / "house.yaml"))
    assert refusals(settings, Catalog.load(tmp_path / "models.yaml")) != []
