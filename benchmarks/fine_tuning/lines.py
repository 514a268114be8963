"""Lines of the demo's untrained task family, to make jobs of; `models/demo/lessons.py` writes them.

Owns how many. For measures of time: what is learned is of no matter, but a job's gate has to let it pass.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson

from models.demo.lessons import Sizes, lessons

SIZES = Sizes(new=900, replay=0, questions=120, old_questions=1, pairs=1)
"""No replay: nothing is held against what the base could do before."""

Lines = list[dict[str, Any]]


def lines(seed: int) -> tuple[Lines, Lines]:
    """To train on, and to be judged by. Blocks."""
    with TemporaryDirectory() as folder:
        out = Path(folder, "lessons")
        lessons(out, sizes=SIZES, seed=seed)
        training, golden = (
            [orjson.loads(line) for line in (out / f"{name}.jsonl").read_bytes().splitlines()]
            for name in ("train", "golden")
        )
    return training, golden
