"""With the real embedder, on a file of a few prompts."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from typer.testing import Result

from router.tasks import TaskHead
from tests.router.tasks.made import examples

Run = Callable[..., Result]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Prompts to learn from, and others to measure on."""
    families: dict[str, dict[str, object]] = {}
    for one in examples():
        family = families.setdefault(one.family, {"task": one.task, "retrieval": one.retrieval, "texts": []})
        family["texts"] = [*family["texts"], one.text]  # type: ignore[misc]
    learned, unseen = tmp_path / "learned.yaml", tmp_path / "unseen.yaml"
    learned.write_text(yaml.safe_dump({"values": {}, "families": families}))
    unseen.write_text(yaml.safe_dump({"prompts": list(families.values())}))
    return learned, unseen


def test_a_head_is_trained_measured_and_kept(penstock: Run, files: tuple[Path, Path], tmp_path: Path) -> None:
    to, (learned, unseen) = tmp_path / "head", files
    arguments = ("router", "train-tasks", "--out", to, "--prompts", learned, "--unseen", unseen)
    said = json.loads(penstock(*arguments, "--json").stdout)
    assert (said["prompts"], said["measured"]["unseen"]["prompts"]) == (80, 80)
    assert TaskHead.read(to).manifest.embedder == said["embedder"]
    shown = penstock(*arguments).stdout
    assert "| the list that is never trained on | 80 | " in shown
    assert "Trained on 80 prompts" in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--out", "/proc/no"), "No folder can be made"),
        (("--out", "head", "--prompts", "nowhere.yaml"), "'nowhere.yaml' cannot be read"),
    ],
)
def test_a_mistake_is_one_sentence(penstock: Run, arguments: tuple[str, ...], said: str) -> None:
    result = penstock("router", "train-tasks", *arguments)
    assert result.exit_code == 1
    assert said in result.stderr
    assert "Traceback" not in result.stderr
