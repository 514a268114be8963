"""What a set of files is called by: SHA-256 of one, and of the listing of many. Reads files, knows nothing of them."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import file_digest, sha256
from pathlib import Path


def file_sha256(path: Path) -> str:
    """64 hex digits, as `sha256sum` prints them. `OSError` when the file cannot be read."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def listing_sha256(digests: Mapping[str, str]) -> str:
    """64 hex digits of the lines that `sha256sum` prints for these files (name → SHA-256), sorted by name."""
    lines = [f"{digest}  {name}\n" for name, digest in sorted(digests.items())]
    return sha256("".join(lines).encode()).hexdigest()
