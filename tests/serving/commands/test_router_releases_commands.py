"""`penstock router promote`, `set-threshold`, `shadow`, `rollback` and `status` on the store of a state folder."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from models.embedders import identity_of
from models.embedders.hashing import HashingSettings
from router.model import RouterModel
from router.training.calibrate import with_threshold
from serving.store.store import Store
from tests.router.training.made import trained

Run = Callable[..., Result]
HASHING = HashingSettings(kind="hashing")
SETTINGS = {"PENSTOCK__ROUTER": json.dumps({"kind": "learned", "classifier": {"embedder": HASHING.model_dump()}})}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> RouterModel:
    """Made with the embedder of these settings."""
    made = with_threshold(trained(tmp_path_factory.mktemp("data"), count=80)[0].model, 0.25)
    return replace(made, manifest=made.manifest.model_copy(update={"embedder": identity_of(HASHING).id}))


@pytest.fixture
def penstock(penstock: Run) -> Run:
    """With a classifier that has that embedder."""
    return partial(penstock, **SETTINGS)


@pytest.fixture
def started(tmp_path: Path) -> Path:
    """The state folder of a stack that has been started once."""
    (tmp_path / "state").mkdir()

    async def migrate() -> None:
        async with Store.open(f"sqlite+aiosqlite:///{tmp_path}/state/penstock.db"):
            pass

    asyncio.run(migrate())
    return tmp_path / "state"


@pytest.fixture
def versions(penstock: Run, model: RouterModel, tmp_path: Path) -> list[str]:
    found = []
    for seed in (0, 1):
        replace(model, manifest=model.manifest.model_copy(update={"seed": seed})).write(tmp_path / f"m{seed}")
        found.append(penstock("router", "publish", str(tmp_path / f"m{seed}")).stdout.strip())
    return found


def changed(penstock: Run, *arguments: str) -> dict[str, Any]:
    said = penstock("router", *arguments, "--json")
    assert said.exit_code == 0, said.stderr
    return dict(json.loads(said.stdout))


def test_a_version_is_promoted_by_its_first_digits(started: Path, penstock: Run, versions: list[str]) -> None:
    assert started.is_dir()
    row = changed(penstock, "promote", versions[0][:6])
    assert (row["action"], row["version"], row["threshold"], row["basis"]) == (
        "promote",
        versions[0],
        0.25,
        "calibrated",
    )
    said = penstock("router", "promote", versions[1], "--large-share", "0.3")
    assert f"Live: version {versions[1]} from" in said.stderr
    assert "for 30% large calls by training prompts" in said.stderr


def test_threshold_shadow_and_rollback_change_what_is_live(started: Path, penstock: Run, versions: list[str]) -> None:
    assert started.is_dir()
    changed(penstock, "promote", versions[0])
    assert changed(penstock, "set-threshold", "--threshold", "0.5")["threshold"] == 0.5
    assert changed(penstock, "shadow", versions[1])["shadow"] == versions[1]
    assert changed(penstock, "shadow", "--off")["shadow"] is None
    changed(penstock, "promote", versions[1])
    assert changed(penstock, "rollback")["version"] == versions[0]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("promote", "ffffff"), "No version of router 'default' begins with 'ffffff'"),
        (("promote", "ffffff", "--threshold", "1", "--large-share", "1"), "not both"),
        (("set-threshold",), "Name the new threshold"),
        (("set-threshold", "--threshold", "1"), "No router version is live"),
        (("rollback",), "No router version is live"),
        (("shadow",), "Name a version, or --off."),
        (("shadow", "ffffff", "--off"), "Name a version, or --off."),
        (("status",), "No stack"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    started: Path, penstock: Run, versions: list[str], arguments: tuple[str, ...], sentence: str
) -> None:
    assert started.is_dir()
    assert len(versions) == 2
    said = penstock("router", *arguments)
    assert (said.exit_code, said.stdout) == (1, "")
    assert sentence in said.stderr


def test_a_version_of_another_embedder_is_published_with_a_warning_and_never_live(
    started: Path, penstock: Run, versions: list[str], model: RouterModel, tmp_path: Path
) -> None:
    assert started.is_dir()
    changed(penstock, "promote", versions[0])
    other = model.manifest.model_copy(update={"embedder": "minilm-l6@00000000"})
    replace(model, manifest=other).write(tmp_path / "other")
    said = penstock("router", "publish", str(tmp_path / "other"))
    version = said.stdout.strip()
    assert "Warning: The classifier of profile 'cpu-demo' cannot use this version." in said.stderr
    assert "trained with embedder minilm-l6@00000000 at depths" in said.stderr
    assert "Make it live" not in said.stderr
    for command in ("promote", "shadow"):
        refused = penstock("router", command, version)
        assert (refused.exit_code, "trained with embedder minilm-l6@00000000" in refused.stderr) == (1, True)
    moved = changed(penstock, "set-threshold", "--threshold", "0.5")
    assert (moved["version"], moved["shadow"]) == (versions[0], None)


def test_what_cannot_be_used_any_more_is_not_gone_back_to(started: Path, penstock: Run, versions: list[str]) -> None:
    assert started.is_dir()
    for version in versions:
        changed(penstock, "promote", version)
    wider = {"kind": "learned", "classifier": {"embedder": {"kind": "hashing", "max_tokens": 99}}}
    refused = penstock("router", "rollback", PENSTOCK__ROUTER=json.dumps(wider))
    assert (refused.exit_code, "and 256 tokens; here it is" in refused.stderr) == (1, True)
    assert changed(penstock, "rollback")["version"] == versions[0]


def test_without_a_stack_there_is_no_release(penstock: Run, versions: list[str]) -> None:
    assert "No stack has been started" in penstock("router", "promote", versions[0]).stderr
