import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from models.catalog.store import PACKAGE

Run = Callable[..., Result]
HARD = "We had 84 green lamps. Then 23 lamps were sold and 12 lamps came back. How many lamps are there now?"
PROFILE = (
    "tiers: {small: demo-small, large: demo-large}\nengines: [{card: demo-small}, {card: demo-large}]\n"
    "router: {kind: threshold}\n"
)


@pytest.fixture
def rules(tmp_path: Path) -> str:
    """A profile whose policy needs no classifier."""
    (tmp_path / "rules.yaml").write_text(PROFILE)
    return str(tmp_path / "rules.yaml")


def test_json_holds_the_plan_the_points_and_what_was_dropped(penstock: Run, rules: str) -> None:
    found = json.loads(penstock("router", "explain", "How many lamps are left?", "--profile", rules, "--json").stdout)
    assert (found["profile"], found["route"]["policy"]) == ("rules", "threshold")
    assert [attempt["card"] for attempt in found["attempts"]] == ["demo-large", "demo-small"]
    points = {part["feature"]: part["points"] for part in found["contributions"]}
    assert points["calculation"] == 0.45
    assert round(sum(points.values()), 4) == found["route"]["score"]
    assert (found["reading"], found["nearest"]) == (None, [])


def test_a_named_model_drops_the_others_with_a_reason(penstock: Run) -> None:
    found = json.loads(penstock("router", "explain", "Hi", "--model", "demo-small", "--json").stdout)
    assert found["dropped"] == [{"card": "demo-large", "reason": "the request names another model"}]


def test_the_profile_decides_the_policy(penstock: Run, rules: str) -> None:
    assert "score 0.50 >= 0.40" in penstock("router", "explain", "Explain the proof", "--profile", rules).stdout
    result = penstock("router", "explain", "Explain the proof", "--profile", rules, PENSTOCK__ROUTER__THRESHOLD="1")
    assert "score 0.50 < 1.00" in result.stdout
    assert "1. demo-small" in result.stdout


def test_a_person_sees_features_reason_and_order(penstock: Run, rules: str) -> None:
    result = penstock("router", "explain", "[b]Explain[/b] why", "--profile", rules)
    assert result.exit_code == 0
    assert "reasoning" in result.stdout
    assert "1. demo-large" in result.stdout


def test_a_learned_policy_without_a_release_says_so_and_takes_the_default_tier(penstock: Run, tmp_path: Path) -> None:
    (tmp_path / "bare.yaml").write_text(PROFILE.replace("threshold", "learned"))
    asked = ("router", "explain", "Hi", "--profile", str(tmp_path / "bare.yaml"))
    found = json.loads(penstock(*asked, "--json").stdout)
    assert found["reading"] == {"cause": "none", "objection": "no router model is promoted"}
    assert (found["route"]["policy"], found["attempts"][0]["tier"]) == ("default", "large")
    assert "default: no router model is promoted" in penstock(*asked).stdout


def test_before_the_first_start_the_profiles_own_model_explains_and_says_that_it_does(
    penstock: Run, tmp_path: Path
) -> None:
    said = penstock("router", "explain", HARD, "--profile", "cpu-demo", "--json")
    found = json.loads(said.stdout)
    assert "this is the profile's own model, 'demo/router', which the next `penstock up` makes live" in said.stderr
    assert (found["route"]["policy"], found["attempts"][0]["tier"]) == ("learned", "large")
    assert len(found["nearest"]) == 5
    published = penstock("router", "publish", str(PACKAGE / "demo" / "router"))
    version = published.stdout.strip()
    assert found["reading"]["version"] == version
    assert f"Make it live: penstock router promote {version}" in published.stderr
    assert not (tmp_path / "state" / "penstock.db").exists()


def test_an_unknown_model_is_one_sentence_and_exit_code_1(penstock: Run) -> None:
    result = penstock("router", "explain", "x", "--model", "gpt-9")
    assert result.exit_code == 1
    assert "'gpt-9'" in result.stderr
