import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from models.embedders.hashing import HashingSettings, build
from models.errors import ConfigurationError
from router.evaluate import Outcomes, apgr
from router.manifest import POLICIES
from router.model import MANIFEST, WEIGHTS, RouterModel, read_model
from router.training.data import Columns, Labelled, read_labelled
from tests.router.training.made import features, trained, write

Array = NDArray[Any]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> RouterModel:
    return trained(tmp_path_factory.mktemp("made"), count=120)[0].model


def other(folder: Path, *, count: int) -> Labelled:
    return read_labelled([write(folder / "other.jsonl", count, seed=21)], Columns())


def test_a_model_that_is_read_scores_as_the_one_that_was_written(tmp_path: Path) -> None:
    found, prompts, _ = trained(tmp_path, count=120)
    found.model.write(tmp_path / "model")
    again = read_model(tmp_path / "model")
    assert np.array_equal(again.score(prompts).gain, found.model.score(prompts).gain)
    assert np.array_equal(again.score(prompts, "knn").gain, found.model.score(prompts, "knn").gain)
    assert again.nearest(prompts.sentence[3]) == found.model.nearest(prompts.sentence[3])
    assert again.reference.names == found.model.reference.names
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [MANIFEST, WEIGHTS]


def test_one_prompt_scores_as_it_does_among_others(tmp_path: Path) -> None:
    found, prompts, _ = trained(tmp_path, count=120)
    for policy in POLICIES:
        for part in ("gain", "small", "large", "error", "distance"):
            among = getattr(found.model.score(prompts, policy), part)
            alone = [getattr(found.model.score(prompts.take(np.array([at])), policy), part)[0] for at in range(10)]
            assert np.allclose(alone, among[:10], atol=1e-5), (policy, part)


def test_a_threshold_for_a_share_is_a_quantile_of_prompts_held_out(model: RouterModel) -> None:
    for policy in POLICIES:
        quantiles = model.manifest.quantiles[policy]
        assert model.threshold_for(0.25, policy) == pytest.approx(quantiles[75])
        assert quantiles[0] <= model.threshold_for(0.99, policy) <= model.threshold_for(0.01, policy) <= quantiles[-1]


def test_shares_of_nothing_and_of_everything_hold_for_any_prompt(model: RouterModel, tmp_path: Path) -> None:
    extreme = replace(model, heads={**model.heads, "gain": replace(model.heads["gain"], middle=50.0, bias=50.0)})
    prompts = features(other(tmp_path, count=30))
    assert (extreme.score(prompts).gain == 1.0).all()
    assert (extreme.score(prompts).gain < model.threshold_for(0.0)).all()
    assert (-extreme.score(prompts).gain >= model.threshold_for(1.0)).all()
    assert (model.share_at(model.threshold_for(0.0)), model.share_at(model.threshold_for(1.0))) == (0.0, 1.0)


@pytest.mark.parametrize("share", [0.01, 0.254, 0.5, 0.97])
def test_the_share_at_a_threshold_is_the_one_that_it_was_made_for(model: RouterModel, share: float) -> None:
    steps = {"learned": tuple(at / 100 for at in range(101)), "knn": (0.0,) * 101}
    smooth = replace(model, manifest=model.manifest.model_copy(update={"quantiles": steps}))
    assert smooth.share_at(smooth.threshold_for(share)) == pytest.approx(share)
    assert smooth.share_at(smooth.threshold_for(share, "knn"), "knn") == float(
        share >= 0.5
    )  # all gains are equal: all or none
    assert smooth.share_at(0.001, "knn") == 0.0


def test_equal_gains_go_together_and_the_share_says_so(model: RouterModel) -> None:
    tied = {"learned": (0.0,) * 41 + (0.5,) * 60, "knn": (0.0, 1.0)}
    found = replace(model, manifest=model.manifest.model_copy(update={"quantiles": tied}))
    assert found.share_at(found.threshold_for(0.3)) == pytest.approx(0.59)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"surface_version": 0}, "features of version 0"),
        ({"format": 9}, "format 9, this version reads 2. Train it again"),
        ({"format": 1, "threshold": None}, "format 1, this version reads 2. Train it again"),
        ({"quantiles": {"learned": [0, 1]}}, "does not say how its policies scored"),
        ({"weights_digest": "0" * 64}, "not those that the manifest names"),
        ({"prompts": "many"}, "cannot be read"),
        ({"depths": [1]}, "cannot be used"),
    ],
)
def test_a_model_that_does_not_fit_is_refused_by_name(
    model: RouterModel, tmp_path: Path, change: dict[str, object], said: str
) -> None:
    model.write(tmp_path)
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    (tmp_path / MANIFEST).write_text(json.dumps(manifest | change))
    with pytest.raises(ConfigurationError, match=said):
        read_model(tmp_path)


def test_a_model_stays_whole_when_another_cannot_be_written(
    model: RouterModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.write(tmp_path)
    other = replace(model, manifest=model.manifest.model_copy(update={"thresholds": {"learned": 0.5}}))

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="No space"):
            other.write(tmp_path)
    assert read_model(tmp_path).manifest.thresholds == {}
    assert other.write(tmp_path) == read_model(tmp_path).manifest


def test_a_folder_without_a_manifest_holds_no_model(model: RouterModel, tmp_path: Path) -> None:
    model.write(tmp_path)
    (tmp_path / MANIFEST).unlink()
    with pytest.raises(ConfigurationError, match="holds no router model"):
        read_model(tmp_path)


def test_weights_that_are_no_numbers_are_refused(model: RouterModel, tmp_path: Path) -> None:
    head = model.heads["gain"]
    broken = replace(model, heads={**model.heads, "gain": replace(head, weights=head.weights * np.float32(np.nan))})
    broken.write(tmp_path)
    with pytest.raises(ConfigurationError, match="cannot be used"):
        read_model(tmp_path)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("examples.ends", lambda ends: ends[::-1].copy()),
        ("examples.small", lambda small: small + 2),
        ("examples.text", lambda text: text[:-1].copy()),
        ("examples.vectors", lambda vectors: vectors[:, 1:].copy()),
        ("drift.edges", lambda edges: edges[:, ::-1].copy()),
        ("drift.counts", lambda counts: counts * 0),
        ("drift.mean", lambda mean: mean[1:].copy()),
        ("known", lambda known: known.astype(np.int64)),
        ("gain.weights", lambda weights: weights[1:].copy()),
        ("axes.surface_mean", lambda mean: mean[1:].copy()),
    ],
)
def test_numbers_that_do_not_fit_each_other_are_refused(
    model: RouterModel, tmp_path: Path, part: str, value: Callable[[Array], Array]
) -> None:
    model.write(tmp_path)
    arrays = load_file(tmp_path / WEIGHTS)
    save_file({**arrays, part: value(arrays[part])}, tmp_path / WEIGHTS)
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    digest = hashlib.sha256((tmp_path / WEIGHTS).read_bytes()).hexdigest()
    (tmp_path / MANIFEST).write_text(json.dumps(manifest | {"weights_digest": digest}))
    with pytest.raises(ConfigurationError, match="cannot be used"):
        read_model(tmp_path)


def test_a_model_knows_the_prompts_that_it_was_trained_on(tmp_path: Path) -> None:
    found, _, labelled = trained(tmp_path, count=120)
    assert found.model.trained_on(labelled.prompts).all()
    assert found.model.trained_on([f"{labelled.prompts[0]}\n", "never seen"]).tolist() == [True, False]


def test_the_manifest_says_how_far_and_how_unsure_the_training_prompts_were(tmp_path: Path) -> None:
    model = trained(tmp_path)[0].model
    manifest = model.manifest
    assert manifest.farthest == pytest.approx(model.examples.apart().max())
    assert 0 < manifest.farthest < 2
    assert manifest.widest["learned"] > 0
    assert manifest.widest["knn"] > 0
    assert manifest.max_tokens == 256


def test_what_is_like_nothing_that_was_learned_from_is_farther_than_any_example(model: RouterModel) -> None:
    texts = ["If 3 apples cost 4, what do 5 cost?", "Zwölf Boxkämpfer jagen Viktor quer über den Deich"]
    near, far = model.distance(build(HashingSettings(kind="hashing")).embed(texts).sentence)
    assert near < model.manifest.farthest < far


def test_the_neighbours_foretell_other_prompts_too(tmp_path: Path) -> None:
    found, _, labelled = trained(tmp_path)
    assert apgr(found.knn, Outcomes(labelled.weak, labelled.strong)) > 0.6
    asked = other(tmp_path, count=200)
    scores = found.model.score(features(asked), "knn")
    assert apgr(scores.gain, Outcomes(asked.weak, asked.strong)) > 0.6
    assert np.allclose(scores.large - scores.small, scores.gain, atol=1e-5)
