"""Keeps what a long test has shown: figures with their origin, one file per test, under benchmarks/results."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from benchmarks.origin import REPOSITORY, origin
from tests.e2e.conftest import PROVE


def proved(name: str, facts: Mapping[str, Any], *, counts: dict[str, int], started: float) -> None:
    """Write the file in a long run (`make prove`); a short one leaves nothing. `started`: epoch seconds."""
    if not PROVE:
        return
    folder = REPOSITORY / "benchmarks" / "results" / f"{datetime.now(UTC):%Y-%m-%d}-prove"
    folder.mkdir(exist_ok=True)
    found = {**facts, "origin": origin(config={"test": name}, seeds=[], counts=counts, started=started)}
    (folder / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
