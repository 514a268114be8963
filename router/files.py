"""How a model's files take the place of older ones. Knows nothing of what is in them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def write_together(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write these files, name → content, into a folder that is made when it is missing.

    What is there stays whole until all are written beside it; then each takes its place, in their order, so that a
    process that dies in between leaves at most files which do not fit each other: whoever reads them holds the first
    ones against their digest in the last one. A file that is there already is not written again. `OSError` when a file
    cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    changed = {folder / name: content for name, content in files.items() if not _holds(folder / name, content)}
    beside = {file: file.with_name(f"{file.name}.{os.getpid()}") for file in changed}
    try:
        for file, content in changed.items():
            beside[file].write_bytes(content)
        for file in changed:
            beside[file].replace(file)
    finally:
        for draft in beside.values():
            draft.unlink(missing_ok=True)


def _holds(file: Path, content: bytes) -> bool:
    return file.exists() and file.read_bytes() == content
