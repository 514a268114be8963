"""What a file must be for its purpose, and what is found in it. Owns purposes; the formats are `finetune`'s."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

from finetune.data.check import check_file
from finetune.gate.golden import check_golden
from models.errors import InvalidRequest

RESULTS = "fine-tune-results"
"""The purpose of files that jobs make; nobody uploads any."""


def checked(path: Path, purpose: str) -> Mapping[str, Any]:
    """What is in a file. Raises `InvalidRequest`, which names the line that is to blame. Blocks."""
    try:
        return _CHECKS[require_purpose(purpose)](path)
    except InvalidRequest as error:
        raise InvalidRequest(error.public, param="file", detail=error.detail) from None


def require_purpose(purpose: str) -> str:
    """Refuse what files are not kept for."""
    if purpose not in _CHECKS:
        raise InvalidRequest(f"'purpose' must be one of {', '.join(map(repr, _CHECKS))}.", param="purpose")
    return purpose


def _training(path: Path) -> Mapping[str, Any]:
    return asdict(check_file(path))


def _golden(path: Path) -> Mapping[str, Any]:
    found = check_golden(path)
    return {"examples": found.examples, "tasks": dict(found.tasks), "metrics": dict(found.metrics)}


_CHECKS: Mapping[str, Callable[[Path], Mapping[str, Any]]] = MappingProxyType(
    {"fine-tune": _training, "evals": _golden}
)
