"""Labels come from the tiers that run: easy prompts are right on both, hard ones on the large one."""

from __future__ import annotations

import json
from pathlib import Path

from models.demo.families import FAMILIES, Difficulty
from router.training.data import Columns, read_labelled
from tests.e2e.conftest import PROVE, Stack

PROMPTS = 800 if PROVE else 160


def test_demo_prompts_are_labelled_by_both_tiers_and_a_second_call_has_nothing_to_ask(
    stack: Stack, tmp_path: Path
) -> None:
    file = tmp_path / "labels.jsonl"
    command = ("router", "label", "--demo", str(PROMPTS), "--split", "held_out", "--out", str(file), "--json")
    said = json.loads(stack.run(*command).stdout)
    assert (said["labelled"], said["skipped"], said["failed"]) == (PROMPTS, 0, {})
    assert said["models"] == {"small": "demo-small", "large": "demo-large"}
    for name, found in said["kinds"].items():
        hard = FAMILIES[name].difficulty is Difficulty.HARD
        assert hard == (found["large"] - found["small"] > 0.3), (name, found)
    labelled = read_labelled([file], Columns(group="family"))
    assert set(labelled.groups or ()) == set(FAMILIES)
    again = json.loads(stack.run(*command).stdout)
    assert (again["asked"], again["skipped"]) == (0, PROMPTS)
