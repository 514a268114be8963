"""The report: JSON, the page that is made of it, and the picture."""

import json
from dataclasses import replace

from finetune.gate.plots import differences_png
from finetune.gate.report import NO_REGRESSION, GateReport, Looked, markdown
from finetune.gate.rule import GateRule, Scored, ruled
from tests.finetune.gate.drawn import golden

GOLDENS = [
    replace(golden(f"secret question {at}", '{"a": 1}', metric="json", task="a|b"), line=at + 1) for at in range(40)
]
SCORED = [Scored("a|b", float(at != 3), float(at == 3), None, 0.1, 0.1) for at in range(40)]
ANSWERS = ['{"a": 1}'] * 39 + ["{"]


def report(*, regression: bool = False) -> GateReport:
    looked = Looked("file-1", GOLDENS, ANSWERS, SCORED, left_out=2)
    rule = GateRule()
    kept = [Scored("old", 1.0, 1.0)] * 40
    others = Looked("file-2", GOLDENS, ANSWERS, kept) if regression else None
    ruling = ruled(SCORED, kept if regression else [], rule=rule)
    return GateReport(ruling, rule, {"candidate": "bot@1", "base": "demo-small"}, looked, others, seed=0)


def test_the_report_is_json_with_scores_controls_tasks_and_what_was_lost() -> None:
    found = report().as_json()
    assert json.loads(json.dumps(found)) == found
    assert found["passed"] is True
    assert found["golden"]["scores"] == {"candidate": 39 / 40, "base": 1 / 40}
    assert found["golden"]["tasks"] == {"a|b": {"examples": 40, "candidate": 39 / 40, "base": 1 / 40}}
    assert found["golden"]["valid_json"] == 39 / 40
    assert (found["golden"]["lost"], found["golden"]["lost_count"]) == ([4], 1)
    assert found["rule"] == GateRule().model_dump()


def test_the_report_holds_no_text_of_a_question() -> None:
    assert "secret" not in json.dumps(report(regression=True).as_json())


def test_a_missing_regression_set_is_told_loudly() -> None:
    assert report().as_json()["warnings"] == [NO_REGRESSION]
    assert f"**{NO_REGRESSION}**" in markdown(report().as_json())
    assert report(regression=True).as_json()["warnings"] == []


def test_the_page_has_a_row_for_every_check_and_every_task() -> None:
    page = markdown(report(regression=True).as_json())
    assert "The candidate **passed**." in page
    for name in ("constant", "permuted", "base", "live", "forgetting"):
        assert f"| {name} |" in page
    assert "| a\\|b | 40 | 97.5% | 2.5% |" in page
    assert "## Regression set: 40 examples" in page
    assert "Left out: 2" in page


def test_the_picture_is_a_png_with_every_difference() -> None:
    assert differences_png(report(regression=True).as_json()).startswith(b"\x89PNG\r\n")


def test_a_page_is_made_of_whatever_part_of_a_report_there_is() -> None:
    whole = report(regression=True).as_json()
    for name in whole:
        assert markdown({key: value for key, value in whole.items() if key != name}).startswith("# The gate\n")
    for name in whole["golden"]:
        part = {key: value for key, value in whole["golden"].items() if key != name}
        assert "## Golden set: " in markdown({**whole, "golden": part})
    assert markdown({}) == "# The gate\n\nThe candidate **did not pass**.\n\n"
    assert "{" not in markdown(whole)


def test_nothing_of_a_clients_text_is_markup_on_the_page() -> None:
    check = {"name": "forgetting: <b>*x*</b>\n# a", "outcome": "failed", "sentence": "[a](b) | `c`"}
    page = markdown({"reasons": ["<i>"], "warnings": ["_w_"], "checks": [check]})
    assert "| forgetting: \\<b\\>\\*x\\*\\</b\\> \\# a | failed | \\[a\\](b) \\| \\`c\\` |" in page
    assert "* \\<i\\>\n* **\\_w\\_**" in page


def test_the_page_tells_what_was_left_out_and_what_was_counted_as_wrong() -> None:
    golden = {"examples": 9, "left_out": 2, "unjudged": 1, "failed": 4, "valid_json": 0.5}
    page = markdown({"golden": golden})
    for said in ("Left out: 2 that could not be asked, 1 without", "Counted as wrong: 4 to which", "for: 50.0% of"):
        assert said in page
