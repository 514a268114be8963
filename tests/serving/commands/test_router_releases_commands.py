"""`penstock router promote`, `set-threshold`, `shadow`, `rollback` and `status` on the store of a state folder."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from router.model import RouterModel
from router.training.calibrate import with_threshold
from serving.store.store import Store
from tests.router.training.made import trained

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> RouterModel:
    return with_threshold(trained(tmp_path_factory.mktemp("data"), count=80)[0].model, 0.25)


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


def test_without_a_stack_there_is_no_release(penstock: Run, versions: list[str]) -> None:
    assert "No stack has been started" in penstock("router", "promote", versions[0]).stderr
