import json
from collections.abc import Callable

from typer.testing import Result

Run = Callable[..., Result]


def test_json_holds_the_plan_the_points_and_what_was_dropped(penstock: Run) -> None:
    found = json.loads(penstock("router", "explain", "How many lamps are left?", "--json").stdout)
    assert found["route"]["policy"] == "threshold"
    assert [attempt["card"] for attempt in found["attempts"]] == ["demo-large", "demo-small"]
    points = {part["feature"]: part["points"] for part in found["contributions"]}
    assert points["calculation"] == 0.45
    assert round(sum(points.values()), 4) == found["route"]["score"]


def test_a_named_model_drops_the_others_with_a_reason(penstock: Run) -> None:
    found = json.loads(penstock("router", "explain", "Hi", "--model", "demo-small", "--json").stdout)
    assert found["dropped"] == [{"card": "demo-large", "reason": "the request names another model"}]


def test_the_profile_decides_the_policy(penstock: Run) -> None:
    assert "score 0.50 >= 0.40" in penstock("router", "explain", "Explain the proof").stdout
    result = penstock("router", "explain", "Explain the proof", PENSTOCK__ROUTER__THRESHOLD="1")
    assert "score 0.50 < 1.00" in result.stdout
    assert "1. demo-small" in result.stdout


def test_a_person_sees_features_reason_and_order(penstock: Run) -> None:
    result = penstock("router", "explain", "[b]Explain[/b] why")
    assert result.exit_code == 0
    assert "reasoning" in result.stdout
    assert "1. demo-large" in result.stdout


def test_an_unknown_model_is_one_sentence_and_exit_code_1(penstock: Run) -> None:
    result = penstock("router", "explain", "x", "--model", "gpt-9")
    assert result.exit_code == 1
    assert "'gpt-9'" in result.stderr
