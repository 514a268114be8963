"""The first page, for the tests that do what it says. Owns how its blocks and lines are found, and tests nothing."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
LESSONS = "lessons/"


def blocks(language: str) -> list[str]:
    """What is between the fences of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.M | re.S)


def training_words(lessons: Path, *, data: str = "train.jsonl") -> list[str]:
    """The page's `penstock finetune run …`, without its first word, on the lessons in this folder. The recipe is named
    as the page names it: from the root of the repository. `data`: the lesson that is trained on.
    """
    (line,) = re.findall(r"^penstock (finetune run .*)$", README, flags=re.M)
    line = line.replace(f"--data {LESSONS}train.jsonl", f"--data {LESSONS}{data}")
    return [
        str(lessons / word.removeprefix(LESSONS)) if word.startswith(LESSONS) else word for word in shlex.split(line)
    ]
