import json
import math
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import pytest

from router.evaluate import Estimated, Miscalibration
from router.training.assess import STEPS, Assessment, crossvalidate, judge
from router.training.baselines import ngram_ridge, untrained
from router.training.data import Columns, Labelled, read_labelled
from router.training.fit import Recipe, train
from router.training.report import as_json, markdown, share_error, write_report
from tests.router.training.made import LETTERS, ROUNDS, TOPICS, features, trained, write

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
    assert found.ece.plain.value < 0.1
    assert set(values) == {"random", "prompt length", "oracle", "n-gram ridge", "nearest neighbours"}


def test_chance_stands_as_its_expectation(tmp_path: Path) -> None:
    labelled = made(tmp_path)
    found = judge(trained(tmp_path)[0].model, features(labelled), labelled=labelled).others["random"]
    for name, value in (("apgr", 0.5), ("cpt50", 0.5), ("cpt80", 0.8)):
        assert astuple(found[name]) == pytest.approx((value, value, value))


def test_labels_by_chance_give_a_router_that_knows_nothing(tmp_path: Path) -> None:
    labelled = made(tmp_path)
    mixed = np.random.default_rng(5).permutation(len(labelled))
    found, _ = assessed(replace(labelled, weak=labelled.weak[mixed]))
    assert found.router["apgr"].low < 0.5 < found.router["apgr"].high


def told_by_group(*, groups: int = 24, each: int = 8) -> Labelled:
    """Prompts that say nothing but whose group they are of; whether the small tier answers is the group's own luck."""
    chance = np.random.default_rng(6)
    names = ["".join(chance.choice(LETTERS, size=7)) for _ in range(groups)]
    luck = chance.permutation(np.arange(groups) % 2).astype(np.float64)
    of = np.repeat(np.arange(groups), each)
    texts = tuple(f"{names[at]} {names[at]} {row} {names[at]}" for row, at in enumerate(of))
    return Labelled(texts, luck[of], np.ones(len(of)), tuple(names[at] for at in of), ("small", "large"), "d")


def test_a_group_is_held_out_as_a_whole_so_that_its_own_prompts_teach_nothing_about_it() -> None:
    grouped = told_by_group()
    found, _ = assessed(grouped)
    parted, _ = assessed(replace(grouped, groups=None))
    for row in (found.router, found.others["nearest neighbours"], found.others["n-gram ridge"]):
        assert row["apgr"].value < 0.65
    assert parted.router["apgr"].value > 0.72  # all that is to be had: half of the groups need the large tier
    assert ("whole groups held out" in found.way, "whole groups" in parted.way) == (True, False)


def test_thresholds_are_set_by_what_was_said_of_groups_that_were_not_seen() -> None:
    grouped = told_by_group()
    recipe = Recipe("hashing", (1, 3, 6), 256, rounds=ROUNDS)
    unseen, seen = (
        np.ptp(train(features(one), one, recipe=recipe).model.manifest.quantiles["learned"])
        for one in (grouped, replace(grouped, groups=None))
    )
    assert unseen < 0.2
    assert seen > 1.0


def test_intervals_are_of_whole_groups(tmp_path: Path) -> None:
    labelled = told_by_group()
    known = trained(tmp_path)[0].model
    whole = judge(known, features(labelled), labelled=labelled)
    parted = judge(known, features(labelled), labelled=replace(labelled, groups=None))
    assert (whole.units, parted.units) == (24, 192)
    for name, one in whole.router.items():
        other = parted.router[name]
        assert one.value == other.value
        assert one.high - one.low > 1.3 * (other.high - other.low)
    assert "95 % intervals over 24 whole groups" in markdown(whole)
    assert "95 % intervals over prompts" in markdown(parted)


def test_groups_are_told_apart(tmp_path: Path) -> None:
    found, _ = assessed(made(tmp_path, group="topic"))
    assert {name: group.count for name, group in found.groups.items()} == dict.fromkeys(TOPICS, 40)
    assert found.warnings == (
        "The prompts are of 6 groups that share none: intervals over fewer than 20 are too narrow, over one there are"
        " none.",
    )
    assert "The groups of a fold are others than those that its thresholds were set by" in markdown(found)


@pytest.mark.parametrize("number", [1, 2])
def test_fewer_groups_than_three_are_refused(tmp_path: Path, number: int) -> None:
    labelled = made(tmp_path)
    with pytest.raises(ValueError, match=f"needs 3 different prompts, or groups of them; here: {number}"):
        assessed(replace(labelled, groups=tuple(str(at % number) for at in range(240))))


def test_a_model_is_judged_on_one_group_without_intervals(tmp_path: Path) -> None:
    labelled = replace(made(tmp_path, seed=11), groups=("a",) * 240)
    found = judge(trained(tmp_path)[0].model, features(labelled), labelled=labelled)
    told = as_json(found)
    assert all(told[f"{name}_interval"] is None for name in ("apgr", "cpt50", "cpt80", "ece", "ece_corrected"))
    assert f"| this router | {told['apgr']:.3f} (no interval)" in markdown(found)


def test_prompts_that_stand_there_often_do_not_help_their_own_kind(tmp_path: Path) -> None:
    unique = made(tmp_path).take(np.arange(60))
    chance = np.random.default_rng(2).random(60).round()
    often = replace(unique, weak=chance)
    found, _ = assessed(often.take(np.repeat(np.arange(60), 4)))
    for row in (found.router, found.others["nearest neighbours"], found.others["n-gram ridge"]):
        assert row["apgr"].value < 0.65  # a leak would have the oracle's 1.5


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


def test_prompts_that_score_otherwise_are_called_drift_and_equal_gains_are_not(tmp_path: Path) -> None:
    model = trained(tmp_path)[0].model
    other = made(tmp_path, seed=11)
    sums = other.take(np.flatnonzero(["cost" in prompt for prompt in other.prompts]))
    assert ["(drift)" in said for said in judge(model, features(sums), labelled=sums).warnings] == [True]
    flat = replace(model, manifest=model.manifest.model_copy(update={"quantiles": {"learned": (0.2,) * 101}}))
    heads = {name: replace(head, middle=0.2, shares=(0.0, 0.0)) for name, head in model.heads.items()}
    told = judge(replace(flat, heads=heads), features(other), labelled=other)
    assert told.share_errors[0.3] == (-0.3,)
    assert told.warnings == ()


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
    for name in ("apgr", "cpt50", "cpt80", "ece", "ece_corrected"):
        low, high = told[f"{name}_interval"]
        assert low <= told[name] <= high
    assert told["ece_corrected"] < told["ece"]
    assert told["ece_corrected_interval"] != told["ece_interval"]
    shares = told["share_error"]
    assert shares["together"] <= shares["mean"] <= shares["worst_share"] <= shares["worst"]
    assert told["others"]["oracle"]["apgr"] > told["apgr"] - 1e-9
    text = (tmp_path / "report" / "report.md").read_text()
    assert f"| this router | {told['apgr']:.3f}" in text
    assert "| apples | 40 |" in text
    for picture in ("quality-over-cost", "reliability"):
        assert (tmp_path / "report" / f"{picture}.png").read_bytes().startswith(PNG)
        assert "<svg" in (tmp_path / "report" / f"{picture}.svg").read_text()


def test_an_interval_that_there_is_none_of_is_null(tmp_path: Path) -> None:
    found, _ = assessed(made(tmp_path))
    none = (math.nan, math.nan)
    odd = replace(found, ece=Miscalibration(Estimated(0.1, *none), Estimated(0.05, *none)))
    assert (as_json(odd)["ece_interval"], as_json(odd)["ece_corrected_interval"]) == (None, None)
    assert "0.100 (no interval)" in markdown(odd)


def test_the_worst_share_is_that_of_the_worst_fold(tmp_path: Path) -> None:
    labelled = made(tmp_path)
    known = trained(tmp_path)[0].model
    found = replace(
        judge(known, features(labelled), labelled=labelled), share_errors={0.1: (0.0, 0.3), 0.5: (-0.2, 0.2)}
    )
    assert share_error(found) == pytest.approx({"mean": 0.175, "worst_share": 0.2, "worst": 0.3, "together": 0.075})
    assert "20.0% for the worst share (mean over folds), 30.0% for the worst share of the worst fold" in markdown(found)


def test_the_n_gram_ridge_learns_words(tmp_path: Path) -> None:
    labelled = made(tmp_path)
    gain = labelled.strong - labelled.weak
    hard = np.array(["cost" in prompt for prompt in labelled.prompts[120:]])
    ridge = ngram_ridge((labelled.prompts[:120], labelled.prompts[120:]), gain[:120])
    assert ridge[hard].mean() > ridge[~hard].mean() + 0.2


def test_the_oracle_knows_both_answers_and_length_counts_letters(tmp_path: Path) -> None:
    labelled = made(tmp_path)
    found = untrained(labelled)
    assert np.array_equal(found["oracle"], labelled.strong - labelled.weak)
    assert found["prompt length"][0] == len(labelled.prompts[0])
