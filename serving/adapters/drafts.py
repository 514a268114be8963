"""The folder of files on their way in or out: a process that dies leaves some there, and nobody comes back for them."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path


def tidy(work: Path, *, before: float) -> list[str]:
    """Remove what nobody has written to since a moment (epoch seconds); the names, sorted. Blocks."""
    old = sorted(path for path in work.iterdir() if _touched(path) < before)
    for path in old:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return [path.name for path in old]


def _touched(path: Path) -> float:
    """When a file, or anything in a folder, was written last; now for what goes away meanwhile."""
    newest = 0.0
    with suppress(FileNotFoundError):
        newest = path.lstat().st_mtime
        for place, folders, files in os.walk(path):
            for name in (*folders, *files):
                newest = max(newest, Path(place, name).lstat().st_mtime)
        return newest
    return float("inf")
