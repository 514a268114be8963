"""A member of a training in several processes: `python -m finetune.recipes.member FILE`, started by its leader.

It trains by the order in the file and tells nobody. It ends when the pipe that is its standard input does, whatever it
is doing then; what it fails by lies in a file for the leader.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from threading import Thread
from typing import Any

from finetune.order import Stop, TrainingFailed, TrainingOrder
from finetune.recipes import train_by
from finetune.training.group import MemberLost, failure_of


class Silent:
    """A reporter that nobody hears."""

    def event(self, message: str, **_: Any) -> None:
        """The leader tells it."""

    def planned(self, *, steps: int, tokens: int) -> None:
        """The leader tells it."""

    def metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        """The leader tells them."""

    def checkpoint(self, step: int, folder: Path, *, metrics: Mapping[str, float]) -> None:
        """The leader writes it."""

    def stop(self) -> Stop | None:
        """The leader says it."""
        return None


def main(file: str) -> int:
    """Train by the order in this file."""
    Thread(target=_end_with_the_leader, daemon=True).start()
    order = TrainingOrder.model_validate_json(Path(file).read_text())
    try:
        train_by(order, Silent())
    except TrainingFailed as failure:
        told = {"code": failure.code, "public": failure.public, "line": failure.line, "detail": failure.detail}
        draft = failure_of(order).with_suffix(".draft")
        draft.write_text(json.dumps(told))
        draft.rename(failure_of(order))
        return 1
    except MemberLost:
        return 1
    return 0


def _end_with_the_leader() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
