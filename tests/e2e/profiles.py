"""Profiles that differ from `cpu-demo` by a number, as an operator would edit them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from serving.settings import PROFILES


def changed_profile(folder: Path, engines: dict[str, dict[str, Any]], **sections: Any) -> Path:
    """`cpu-demo` with fields of some engines, and whole sections, replaced."""
    profile = yaml.safe_load((PROFILES / "cpu-demo.yaml").read_text())
    for engine in profile["engines"]:
        engine |= engines.get(engine["card"], {})
    path = folder / "cpu-demo-changed.yaml"
    path.write_text(yaml.safe_dump({**profile, **sections}))
    return path
