import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from serving.commands.config import PAGES
from serving.commands.docs import VARIABLES, configuration_page
from serving.commands.settings_origin import settings_with_origin
from serving.settings import Settings, load_settings, profile_names

Run = Callable[..., Result]

ROOT = Path(__file__).parents[3]


def test_every_value_names_its_origin(penstock: Run) -> None:
    found = json.loads(penstock("config", "show", "--json", PENSTOCK__GATEWAY__ATTEMPTS="2").stdout)
    assert found["gateway.attempts"] == {"value": 2, "origin": "environment"}
    assert found["router.kind"] == {"value": "learned", "origin": "profile"}
    assert found["engines.0.card"] == {"value": "demo-small", "origin": "profile"}
    assert found["timers.total_s"] == {"value": 900.0, "origin": "default"}


def test_a_variable_that_sets_a_whole_section_is_the_origin_of_its_fields(penstock: Run) -> None:
    result = penstock("config", "show", "--json", PENSTOCK__HTTP='{"port": 9000}')
    found = json.loads(result.stdout)
    assert found["http.port"] == {"value": 9000, "origin": "environment"}


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_secret_is_masked_in_every_form(penstock: Run, form: list[str]) -> None:
    result = penstock("config", "show", *form, PENSTOCK__STORE__URL="postgresql+asyncpg://u:hunter2@h/d")
    assert result.exit_code == 0
    assert "hunter2" not in result.output
    assert "*****" in result.stdout


@pytest.mark.parametrize("profile", profile_names())
def test_every_shipped_profile_can_be_shown(penstock: Run, profile: str) -> None:
    found = json.loads(penstock("config", "show", "--profile", profile, "--json").stdout)
    assert found["profile"]["value"] == profile
    assert len(found) > 40


def test_an_unknown_profile_is_one_sentence_and_exit_code_1(penstock: Run) -> None:
    result = penstock("config", "show", "--profile", "nope")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "cpu-demo" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_wrong_value_names_the_field(penstock: Run) -> None:
    result = penstock("config", "show", PENSTOCK__TIMERS__TOTAL_S="soon")
    assert result.exit_code == 1
    assert "timers.total_s" in result.stderr


def test_nothing_of_the_settings_is_left_out_of_the_list() -> None:
    settings = load_settings("cpu-demo")
    sections = {item.path.split(".")[0] for item in settings_with_origin(settings, profile={}, environment={})}
    assert sections == set(Settings.model_fields)


@pytest.mark.parametrize("name", PAGES)
def test_a_committed_page_is_what_the_code_says_now(name: str) -> None:
    assert (ROOT / "docs" / name).read_text() == PAGES[name](), "run `penstock config docs`"


def test_the_command_writes_every_page_into_a_folder(penstock: Run, tmp_path: Path) -> None:
    result = penstock("config", "docs", "--out", str(tmp_path / "new"))
    assert (result.exit_code, result.stdout) == (0, "")
    assert {path.name: path.read_text() for path in (tmp_path / "new").iterdir()} == {
        name: page() for name, page in PAGES.items()
    }


def test_every_setting_is_on_the_page_with_a_reason() -> None:
    rows = [line for line in configuration_page().splitlines() if line.startswith("| `")]
    assert len(rows) >= 50
    assert [row for row in rows if re.fullmatch(r".*\|\s*\|", row)] == []


@pytest.mark.parametrize("name", [name for name, _, _ in VARIABLES])
def test_every_other_variable_of_the_page_is_read_somewhere(name: str) -> None:
    readers = [*ROOT.glob("serving/**/*.py"), *ROOT.glob("models/catalog/**/*.py"), ROOT / "setup.sh"]
    found = [path.name for path in readers if re.search(rf"\b{name}\b", path.read_text()) and path.name != "docs.py"]
    assert found
