import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from router.evaluate import Miscalibration
from router.training.assess import STEPS, Assessment, crossvalidate, judge
from router.training.baselines import ngram_ridge, untrained
from router.training.data import Columns, Labelled, read_labelled
from router.training.fit import Recipe
from router.training.report import as_json, markdown, share_error, write_report
from tests.router.training.made import ROUNDS, features, trained, write

PNG = b"\x89PNG\r\n\x1a\n"


def made(folder: Path, *, group: str | None = None, seed: int = 3) -> Labelled:
    return read_labelled([write(folder / "made.jsonl", 240, seed=seed)], Columns(group=group))


def assessed(labelled: Labelled) -> tuple[Assessment, int]:
    heard: list[int] = []
    recipe = Recipe("hashing", (1, 3, 6), 256, rounds=ROUNDS, heard=lambda: heard.append(1))
    return crossvalidate(features(labelled), labelled, recipe=recipe), len(heard)


def test_cross_validation_finds_what_there_is_to_learn_and_ranks_the_baselines(tmp_path: Path) -> None:
    found, heard = assessed(made(tmp_path))
    assert heard == STEPS
    values = {name: row["apgr"].value for name, row in found.others.items()}
    ours = found.router["apgr"]
    assert ours.low < ours.value < ours.high
    assert values["random"] < ours.value <= values["oracle"]
    assert abs(values["random"] - 0.5) < 0.12
    assert found.ece.value < 0.1
    assert set(values) == {"random", "prompt length", "oracle", "n-gram ridge", "nearest neighbours"}


def test_labels_by_chance_give_a_router_that_knows_nothing(tmp_path: Path) -> None:
    labelled = made(tmp_path)
    mixed = np.random.default_rng(5).permutation(len(labelled))
    found, _ = assessed(replace(labelled, weak=labelled.weak[mixed]))
    assert found.router["apgr"].low < 0.5 < found.router["apgr"].high


def test_groups_are_held_out_as_a_whole_and_told_apart(tmp_path: Path) -> None:
    found, _ = assessed(made(tmp_path, group="topic"))
    assert "whole groups held out" in found.way
    assert sum(group.count for group in found.groups.values()) == found.prompts == 240
    assert len(found.groups) == 6


def test_one_group_is_refused(tmp_path: Path) -> None:
    labelled = made(tmp_path)
    with pytest.raises(ValueError, match="of one group"):
        assessed(replace(labelled, groups=("a",) * 240))


def test_prompts_that_stand_there_often_do_not_help_their_own_kind(tmp_path: Path) -> None:
    unique = made(tmp_path).take(np.arange(60))
    chance = np.random.default_rng(2).random(60).round()
    often = replace(unique, weak=chance)
    found, _ = assessed(often.take(np.repeat(np.arange(60), 4)))
    assert found.router["apgr"].value < 0.65  # a leak would have the oracle's 1.5


def test_a_trained_model_is_judged_on_other_prompts(tmp_path: Path) -> None:
    known, _, _ = trained(tmp_path)
    other = made(tmp_path, seed=11)
    found = judge(known.model, features(other), labelled=other)
    assert found.router["apgr"].value > 0.65
    assert set(found.others) == {"random", "prompt length", "oracle", "nearest neighbours"}
    assert share_error(found)["worst"] < 0.25
    near = judge(known.model, features(other), labelled=other, policy="knn")
    assert near.router["apgr"] == found.others["nearest neighbours"]["apgr"]
    assert near.way == "a model trained before, by nearest neighbours"


def test_prompts_that_the_model_was_trained_on_are_counted_and_said(tmp_path: Path) -> None:
    known, _, _ = trained(tmp_path, count=240)
    old = read_labelled([write(tmp_path / "old.jsonl", 30)], Columns())
    mixed = replace(made(tmp_path, seed=11), prompts=(*old.prompts, *made(tmp_path, seed=11).prompts[30:]))
    found = judge(known.model, features(mixed), labelled=mixed)
    assert (found.trained_on, as_json(found)["trained_on"]) == (30, 30)
    assert found.warnings[0].startswith("The model was trained on 30 of these 240 prompts")
    assert found.warnings[0] in markdown(found)
    other = made(tmp_path, seed=11)
    assert judge(known.model, features(other), labelled=other).warnings == known.model.manifest.warnings


def test_the_report_holds_every_figure_with_its_interval(tmp_path: Path) -> None:
    found, _ = assessed(made(tmp_path, group="topic"))
    write_report(found, tmp_path / "report")
    told = json.loads((tmp_path / "report" / "report.json").read_text())
    for name in ("apgr", "cpt50", "cpt80", "ece"):
        low, high = told[f"{name}_interval"]
        assert low <= told["ece_corrected" if name == "ece" else name] <= high
    assert told["ece_corrected"] < told["ece"]
    assert told["share_error"]["mean"] <= told["share_error"]["worst_share"] <= told["share_error"]["worst"]
    assert told["others"]["oracle"]["apgr"] > told["apgr"] - 1e-9
    text = (tmp_path / "report" / "report.md").read_text()
    assert f"| this router | {told['apgr']:.3f}" in text
    assert "| apples | 40 |" in text
    for picture in ("quality-over-cost", "reliability"):
        assert (tmp_path / "report" / f"{picture}.png").read_bytes().startswith(PNG)
        assert "<svg" in (tmp_path / "report" / f"{picture}.svg").read_text()


def test_an_interval_that_there_is_none_of_is_null(tmp_path: Path) -> None:
    found, _ = assessed(made(tmp_path))
    odd = replace(found, ece=Miscalibration(0.1, 0.05, math.nan, math.nan))
    assert as_json(odd)["ece_interval"] is None
    assert "0.100" in markdown(odd)


def test_the_worst_share_is_that_of_the_worst_fold(tmp_path: Path) -> None:
    labelled = made(tmp_path)
    known = trained(tmp_path)[0].model
    found = replace(
        judge(known, features(labelled), labelled=labelled), share_errors={0.1: (0.0, 0.3), 0.5: (0.2, 0.2)}
    )
    assert share_error(found) == {"mean": pytest.approx(0.175), "worst_share": 0.2, "worst": 0.3}
    assert "20.0% for the worst share (mean over folds), 30.0% for the worst share of the worst fold" in markdown(found)


def test_the_n_gram_ridge_learns_words(tmp_path: Path) -> None:
    labelled = made(tmp_path)
    gain = labelled.strong - labelled.weak
    hard = np.array(["cost" in prompt for prompt in labelled.prompts[120:]])
    ridge = ngram_ridge((labelled.prompts[:120], labelled.prompts[120:]), gain[:120])
    assert ridge[hard].mean() > ridge[~hard].mean() + 0.2


def test_the_oracle_knows_both_answers_and_length_counts_letters(tmp_path: Path) -> None:
    labelled = made(tmp_path)
    found = untrained(labelled, seed=0)
    assert np.array_equal(found["oracle"], labelled.strong - labelled.weak)
    assert found["prompt length"][0] == len(labelled.prompts[0])
