"""With the real embedder: what is said about quality is said of the features that a stack would serve with."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import Result

from router.model import MANIFEST
from tests.router.training.made import trained, write

Run = Callable[..., Result]
QUICK = ("--rounds", "30")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write(tmp_path / "data.jsonl", 100)


@pytest.fixture
def usual_umask() -> Iterator[None]:
    """As on most machines: everybody may read what nobody thought of."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.usefixtures("usual_umask")
def test_what_a_training_writes_is_for_its_owner_alone(penstock: Run, data: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for to in (tmp_path / "new" / "router", tmp_path / "there"):
        assert penstock("router", "train", "--data", data, "--out", to, *QUICK).exit_code == 0
        assert penstock("router", "calibrate", "--router", to, "--large-share", "0.4").exit_code == 0
    made = [path for folder in ("state", "new", "there") for path in (tmp_path / folder).rglob("*")]
    made += [tmp_path / "state", tmp_path / "new"]
    assert {path.name for path in made} > {"router", "embeddings", MANIFEST, "weights.safetensors"}
    assert [path for path in made if path.stat().st_mode & 0o077] == []
    assert (tmp_path / "there").stat().st_mode & 0o777 == 0o755


def test_train_evaluate_and_calibrate_follow_each_other(penstock: Run, data: Path, tmp_path: Path) -> None:
    router, other = tmp_path / "router", write(tmp_path / "other.jsonl", 80, seed=8)
    said = json.loads(penstock("router", "train", "--data", data, "--out", router, *QUICK, "--json").stdout)
    assert (said["prompts"], said["small"], said["large"], said["warnings"]) == (100, "small", "large", [])

    told = penstock("router", "evaluate", "--router", router, "--data", other, "--json")
    found = json.loads(told.stdout)
    assert found["prompts"] == 80
    assert found["apgr"] > 0.6
    assert {"apgr_interval", "cpt50", "cpt80", "ece", "ece_interval"} < set(found)
    assert found["warnings"][0].startswith("80 different prompts are few to judge a router by")
    assert f"Warning: {found['warnings'][0]}" in told.stderr

    said = json.loads(penstock("router", "calibrate", "--router", router, "--large-share", "0.4", "--json").stdout)
    assert json.loads((router / MANIFEST).read_text())["thresholds"] == {"learned": said["threshold"]}
    sure = ("--quality-floor", "0.95", "--confidence", "0.8", "--data", other, "--group", "topic")
    floor = penstock("router", "calibrate", "--router", router, *sure)
    assert "at least 95.0% of always-large's quality" in floor.stdout
    assert "with 80% confidence" in floor.stdout
    assert "The prompts are of 6 groups" in floor.stderr
    assert "trained on" not in floor.stderr

    near = ("--router", router, "--policy", "knn", "--json")
    said = json.loads(penstock("router", "calibrate", *near, "--large-share", "0.4").stdout)
    assert json.loads((router / MANIFEST).read_text())["thresholds"]["knn"] == said["threshold"]
    known = penstock("router", "evaluate", *near, "--data", data)
    assert json.loads(known.stdout)["trained_on"] == 100
    assert "trained on 100 of these 100 prompts" in known.stderr


def test_labels_of_a_pair_that_the_router_never_learned_about_are_warned_of(
    penstock: Run, data: Path, tmp_path: Path
) -> None:
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    pairs = tmp_path / "pairs.jsonl"
    scores = [{"a": row["weak_correct"], "b": row["strong_correct"], "c": row["weak_correct"]} for row in rows]
    named = [{"prompt": row["prompt"], "scores": one} for row, one in zip(rows, scores, strict=True)]
    pairs.write_text("".join(json.dumps(row) + "\n" for row in named))
    one, other = ("--weak", "a", "--strong", "b"), ("--weak", "c", "--strong", "b")
    penstock("router", "train", "--data", pairs, *one, "--out", tmp_path / "r", *QUICK)
    said = penstock("router", "evaluate", "--router", tmp_path / "r", "--data", pairs, *other, "--json")
    sentence = (
        "The router was trained for 'a' and 'b'; these labels are of 'c' and 'b', a pair that it never learned about."
    )
    assert sentence in json.loads(said.stdout)["warnings"]
    assert f"Warning: {sentence}" in said.stderr
    same = penstock("router", "evaluate", "--router", tmp_path / "r", "--data", pairs, *one)
    assert "never learned about" not in same.stdout + same.stderr


def test_without_a_router_the_recipe_is_judged_fold_by_fold(penstock: Run, data: Path, tmp_path: Path) -> None:
    result = penstock("router", "evaluate", "--data", data, "--group", "topic", "--out", tmp_path / "report", *QUICK)
    assert result.exit_code == 0, result.stderr
    assert "| this router |" in result.stdout
    assert "whole groups held out" in result.stdout
    assert (tmp_path / "report" / "quality-over-cost.svg").exists()
    origin = json.loads((tmp_path / "report" / "origin.json").read_text())
    assert origin["counts"] == {"prompts": 100}
    assert {"numpy", "scikit-learn", "lightgbm", "torch"} < set(origin["packages"])


def test_a_training_on_little_says_what_speaks_against_it(penstock: Run, tmp_path: Path) -> None:
    few = write(tmp_path / "few.jsonl", 40)
    result = penstock("router", "train", "--data", few, "--out", tmp_path / "r", "--group", "topic", *QUICK)
    assert result.exit_code == 0
    assert "Warning: 40 prompts are few" in result.stderr
    assert "40 prompts are few" in json.loads((tmp_path / "r" / MANIFEST).read_text())["warnings"][0]


def test_a_router_of_another_embedder_is_refused_before_anything_is_embedded(
    penstock: Run, data: Path, tmp_path: Path
) -> None:
    trained(tmp_path, count=40)[0].model.write(tmp_path / "r")
    for command in (("evaluate",), ("calibrate", "--quality-floor", "0.9")):
        result = penstock("router", *command, "--router", tmp_path / "r", "--data", data)
        assert (result.exit_code, "trained with embedder hashing at depths" in result.stderr) == (1, True)
        assert "embedding" not in result.stderr
    assert not (tmp_path / "state" / "embeddings").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("evaluate", "--router", "nowhere"), "'nowhere' holds no router model"),
        (("evaluate", "--weak", "a"), "both models of the pair"),
        (("evaluate", "--group", "colour"), "no field 'colour'"),
        (("train", "--out", "/proc/no"), "No folder can be made"),
        (("train", "--out", "/proc"), "'/proc' cannot be written"),
        (("evaluate", "--out", "/proc"), "'/proc' cannot be written"),
    ],
)
def test_a_mistake_is_one_sentence(penstock: Run, data: Path, arguments: tuple[str, ...], said: str) -> None:
    result = penstock("router", *arguments, "--data", data)
    assert result.exit_code == 1
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_calibration_wants_one_target_and_what_belongs_to_it(penstock: Run, data: Path, tmp_path: Path) -> None:
    trained = penstock("router", "train", "--data", data, "--out", tmp_path / "r", *QUICK)
    assert trained.exit_code == 0, trained.output
    for arguments, said in (
        ((), "Name one target"),
        (("--large-share", "0.1", "--quality-floor", "0.9"), "Name one target"),
        (("--cost-ceiling", "0.5"), "--small-price"),
        (("--quality-floor", "0.9"), "--data FILE"),
    ):
        result = penstock("router", "calibrate", "--router", tmp_path / "r", *arguments)
        assert result.exit_code == 1
        assert said in result.stderr
