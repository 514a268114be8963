"""Folders and files for their owner alone, whatever the umask says: what holds prompts, or what was learned from them.

Folders that are there already stay as somebody made them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

FOLDER_MODE, FILE_MODE = 0o700, 0o600
OTHERS = 0o077


def private_folder(folder: Path) -> None:
    """Make a folder, and those above it that are missing, with mode 0700. `OSError` when that cannot be."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    for place in reversed(missing):
        place.mkdir(mode=FOLDER_MODE, exist_ok=True)  # another process may have been here in between
    folder.mkdir(mode=FOLDER_MODE, exist_ok=True)  # says so where a file of this name lies


def new_private_file(path: Path) -> BinaryIO:
    """A file of mode 0600 that was not there before, open for writing; `FileExistsError` when it was."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE), "wb")


@contextmanager
def for_owner_alone() -> Iterator[None]:
    """Whatever this process makes inside the block is its owner's alone. The umask is the whole process's: for commands
    that do one thing."""
    before = os.umask(OTHERS)
    try:
        yield
    finally:
        os.umask(before)
