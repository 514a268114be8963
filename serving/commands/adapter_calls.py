"""The command line's calls to `/v1/adapters` of the stack that is meant. Owns which there are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from serving.commands.calls import StackCalls
from serving.commands.options import environment, state_of
from serving.commands.target import Target, target_of


class AdapterCalls:
    """One stack's adapters."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._calls = StackCalls(target, "/v1/adapters")

    @classmethod
    def of(cls, state_dir: Path | None) -> AdapterCalls:
        """Those of the stack of a state folder, or of `PENSTOCK_URL`."""
        return cls(target_of(state_of(state_dir), environment()))

    def ask(self, method: str, *path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The answer of `/v1/adapters/…`; raises what the stack refuses, in its words."""
        sent = {name: value for name, value in (body or {}).items() if value is not None}
        return self._calls.answer(method, *path, json=sent if body is not None else None)

    def push(self, name: str, archive: Path, *, facts: Mapping[str, str]) -> dict[str, Any]:
        """A new version from a zip."""
        with archive.open("rb") as file:
            headers = {"content-type": "application/zip", "content-length": str(archive.stat().st_size)}
            return self._calls.answer("POST", name, "versions", params=facts, content=file, headers=headers)

    def content(self, name: str, number: int, *, to: Path) -> None:
        """A version's files, as a zip."""
        self._calls.content(name, "versions", str(number), "content", to=to)
