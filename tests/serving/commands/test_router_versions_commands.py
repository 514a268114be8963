import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from router.model import MANIFEST, RouterModel, read_model
from tests.models.catalog.origins import S3_KEYS, s3_server
from tests.router.training.made import trained

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> RouterModel:
    return trained(tmp_path_factory.mktemp("data"), count=80)[0].model


@pytest.fixture
def folder(model: RouterModel, tmp_path: Path) -> Path:
    model.write(tmp_path / "router")
    return tmp_path / "router"


def listed(penstock: Run, *arguments: str, **environment: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(penstock("router", "versions", "--json", *arguments, **environment).stdout)
    return found


def test_a_model_is_published_and_listed_with_what_it_was_trained_on(
    penstock: Run, folder: Path, model: RouterModel
) -> None:
    said = penstock("router", "publish", str(folder))
    assert said.exit_code == 0, said.stderr
    [row] = listed(penstock)
    assert (row["version"], row["name"], row["kind"]) == (said.stdout.strip(), "default", "router")
    assert (row["about"]["prompts"], row["about"]["data_digest"]) == ("80", model.manifest.data_digest)
    assert (row["about"]["small"], row["about"]["large"]) == ("small", "large")
    assert row["version"] in penstock("router", "versions", COLUMNS="60").stdout


def test_the_table_fits_80_columns_and_cuts_nothing(penstock: Run, model: RouterModel, tmp_path: Path) -> None:
    thresholds = {"learned": 0.3560754321, "knn": -0.2104321}
    manifest = model.manifest.model_copy(update={"thresholds": thresholds, "prompts": 100_000})
    for small, large in (("small", "large"), ("qwen2.5-0.5b-instruct", "llama-3.3-70b-instruct")):
        replace(model, manifest=manifest.model_copy(update={"small": small, "large": large})).write(tmp_path / "m")
        assert penstock("router", "publish", str(tmp_path / "m")).exit_code == 0
    for row in listed(penstock):
        said = penstock("router", "versions", COLUMNS="80").stdout
        assert max(map(len, said.splitlines())) <= 80
        assert "…" not in said
        assert row["version"] in said
    assert {"100000", "0.356", "-0.210", "small", "→"} < set(said.split())
    assert "qwen2.5-0.5b-instruct → llama-3.3-70b-instruct" in penstock("router", "versions", COLUMNS="200").stdout


def test_the_same_model_is_the_same_version_and_another_threshold_is_another(
    penstock: Run, folder: Path, model: RouterModel
) -> None:
    first, again = (json.loads(penstock("router", "publish", str(folder), "--json").stdout) for _ in range(2))
    assert first == again
    penstock("router", "calibrate", "--router", str(folder), "--large-share", "0.3")
    other = json.loads(penstock("router", "publish", str(folder), "--json").stdout)
    assert [row["version"] for row in listed(penstock)] == [other["version"], first["version"]]
    assert (first["about"]["thresholds"], other["about"]["thresholds"].split()[0]) == ("", "learned")


def test_each_name_has_its_own_versions(penstock: Run, folder: Path) -> None:
    for name in ("maths", "default"):
        penstock("router", "publish", str(folder), "--name", name)
    assert [row["name"] for row in listed(penstock)] == ["default", "maths"]
    assert [row["name"] for row in listed(penstock, "--name", "maths")] == ["maths"]
    assert listed(penstock, "--name", "law") == []


def test_where_nothing_is_published_the_next_step_is_named(penstock: Run) -> None:
    said = penstock("router", "versions")
    assert (said.exit_code, said.stdout) == (0, "")
    assert "penstock router publish FOLDER" in said.stderr


def test_a_broken_model_is_refused_before_anything_is_made(penstock: Run, folder: Path, tmp_path: Path) -> None:
    (folder / MANIFEST).write_text((folder / MANIFEST).read_text().replace('"prompts": 80', '"prompts": 0'))
    for wrong, sentence in ((folder, "cannot be read"), (tmp_path, "holds no router model")):
        said = penstock("router", "publish", str(wrong))
        assert (said.exit_code, said.stdout) == (1, "")
        assert sentence in said.stderr
    assert not (tmp_path / "state").exists()


def test_a_broken_manifest_is_told_by_its_first_wrong_field_alone(penstock: Run, folder: Path) -> None:
    (folder / MANIFEST).write_text((folder / MANIFEST).read_text().replace('"prompts": 80', '"prompts": 0, "more": 1'))
    said = penstock("router", "publish", str(folder)).stderr.splitlines()
    assert len(said) == 2, said
    assert said[1] == "prompts: Input should be greater than or equal to 1."


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("tiers: {small: a\nengines: [", "is not YAML: line 2, column 8: expected ',' or '}', but got ':'."),
        ("tiers: {small: a}", "tiers.large: Field required."),
        ("router: {kind: learned, classifier: {batch: 0}}", "router: classifier.batch: Input should be greater than"),
        ("artifacts: {path: here}", "artifacts: path: 'here' is not an absolute path."),
    ],
)
def test_a_broken_profile_is_one_sentence_with_the_field(
    penstock: Run, tmp_path: Path, text: str, sentence: str
) -> None:
    whole = "" if text.startswith("tiers") else "tiers: {small: demo-small, large: demo-small}\n"
    engines = "" if "engines" in text else "\nengines: [{card: demo-small}]\n"
    (tmp_path / "mine.yaml").write_text(whole + text.replace("artifacts: {", "artifacts: {kind: folder, ") + engines)
    said = penstock("router", "versions", "--profile", str(tmp_path / "mine.yaml"))
    assert (said.exit_code, said.stdout, len(said.stderr.splitlines())) == (1, "", 1), said.stderr
    assert sentence in said.stderr


@pytest.mark.parametrize(
    ("name", "extra", "sentence"),
    [("Upper", None, "cannot be the name"), ("default", "old.pkl", "cannot be published. Files may end in")],
)
def test_what_cannot_be_published_is_one_sentence(
    penstock: Run, folder: Path, name: str, extra: str | None, sentence: str
) -> None:
    if extra is not None:
        (folder / extra).write_bytes(b"")
    said = penstock("router", "publish", str(folder), "--name", name)
    assert (said.exit_code, said.stdout, sentence in said.stderr) == (1, "", True)
    assert "Traceback" not in said.stderr


def test_names_of_tiers_are_shown_as_they_were_given(penstock: Run, model: RouterModel, tmp_path: Path) -> None:
    named = model.manifest.model_copy(update={"small": "[/dim] :smile:"})
    replace(model, manifest=named).write(tmp_path / "router")
    assert penstock("router", "publish", str(tmp_path / "router")).exit_code == 0
    assert "[/dim] :smile:" in penstock("router", "versions").stdout


def test_the_state_folder_that_is_made_for_it_is_private(penstock: Run, folder: Path, tmp_path: Path) -> None:
    version = penstock("router", "publish", str(folder)).stdout.strip()
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    kept = tmp_path / "state" / "artifacts" / "router" / "default" / version
    assert read_model(kept).manifest == read_model(folder).manifest


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment that puts versions into a bucket."""
    with s3_server(tmp_path_factory.mktemp("s3") / "log") as address:
        values = {"kind": "s3", "bucket": "weights", "endpoint": address}
        yield {**S3_KEYS, "PENSTOCK__ARTIFACTS": json.dumps(values), "PATH": os.environ["PATH"]}


def test_the_settings_decide_where_versions_lie(
    penstock: Run, folder: Path, bucket: dict[str, str], tmp_path: Path
) -> None:
    version = penstock("router", "publish", str(folder), **bucket).stdout.strip()
    elsewhere = {**bucket, "PENSTOCK_STATE_DIR": str(tmp_path / "another-machine")}
    assert [row["version"] for row in listed(penstock, **elsewhere)] == [version]
    assert listed(penstock) == []
