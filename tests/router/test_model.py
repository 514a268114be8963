import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.errors import ConfigurationError
from router.model import MANIFEST, WEIGHTS, RouterModel, read_model
from tests.router.training.made import trained


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> RouterModel:
    return trained(tmp_path_factory.mktemp("made"), count=120)[0].model


def test_a_model_that_is_read_scores_as_the_one_that_was_written(tmp_path: Path) -> None:
    found, prompts, _ = trained(tmp_path, count=120)
    found.model.write(tmp_path / "model")
    again = read_model(tmp_path / "model")
    assert np.array_equal(again.score(prompts).gain, found.model.score(prompts).gain)
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [MANIFEST, WEIGHTS]


def test_one_prompt_scores_as_it_does_among_others(tmp_path: Path) -> None:
    found, prompts, _ = trained(tmp_path, count=120)
    alone = [found.model.score(prompts.take(np.array([at]))).gain[0] for at in range(10)]
    assert np.allclose(alone, found.model.score(prompts).gain[:10], atol=1e-5)


def test_a_threshold_for_a_share_is_a_quantile_of_prompts_held_out(model: RouterModel) -> None:
    quantiles = model.manifest.quantiles
    assert model.threshold_for(1.0) == quantiles[0]
    assert model.threshold_for(0.25) == pytest.approx(quantiles[75])
    assert model.threshold_for(0.0) > quantiles[-1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"surface_version": 0}, "features of version 0"),
        ({"format": 9}, "format 9"),
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
    other = replace(model, manifest=model.manifest.model_copy(update={"threshold": 0.5}))

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="No space"):
            other.write(tmp_path)
    assert read_model(tmp_path).manifest.threshold is None
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
