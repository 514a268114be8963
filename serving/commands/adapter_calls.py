"""The command line's calls to `/v1/adapters` of the stack that is meant, near or far. Owns the HTTP alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import httpx2

from models.errors import PenstockError, Unavailable
from serving.commands.options import environment, state_of
from serving.commands.target import Target, target_of

PATIENCE_S = 600.0
"""A release answers when the last replica has loaded."""


class AdapterCalls:
    """One stack's adapters."""

    def __init__(self, target: Target) -> None:
        self.target = target

    @classmethod
    def of(cls, state_dir: Path | None) -> AdapterCalls:
        """Those of the stack of a state folder, or of `PENSTOCK_URL`."""
        return cls(target_of(state_of(state_dir), environment()))

    def ask(self, method: str, *path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The answer of `/v1/adapters/…`; raises what the stack refuses, in its words."""
        sent = {name: value for name, value in (body or {}).items() if value is not None}
        return self._answer(method, *path, json=sent if body is not None else None)

    def push(self, name: str, archive: Path, *, facts: Mapping[str, str]) -> dict[str, Any]:
        """A new version from a zip."""
        with archive.open("rb") as file:
            headers = {"content-type": "application/zip", "content-length": str(archive.stat().st_size)}
            return self._answer("POST", name, "versions", params=facts, content=file, headers=headers)

    def content(self, name: str, number: int, *, to: Path) -> None:
        """A version's files, as a zip."""
        client = self._client()
        try:
            with client, client.stream("GET", _url(name, "versions", str(number), "content")) as answer:
                if not answer.is_success:
                    answer.read()
                    raise _refusal(answer.json())
                with to.open("xb") as out:
                    for block in answer.iter_bytes():
                        out.write(block)
        except (httpx2.HTTPError, ValueError) as error:
            raise Unavailable("The stack does not answer.", detail=str(error)) from error

    def _answer(self, method: str, *path: str, **options: Any) -> dict[str, Any]:
        try:
            with self._client() as client:
                answer = client.request(method, _url(*path), **options)
            found = answer.json()
        except (httpx2.HTTPError, ValueError) as error:
            raise Unavailable("The stack does not answer.", detail=str(error)) from error
        if not answer.is_success:
            raise _refusal(found)
        return cast("dict[str, Any]", found)

    def _client(self) -> httpx2.Client:
        headers = {"Authorization": f"Bearer {self.target.key}"}
        return httpx2.Client(base_url=self.target.url, headers=headers, timeout=PATIENCE_S, trust_env=False)


def _url(*path: str) -> str:
    return "/".join(["/v1/adapters", *(quote(part, safe="") for part in path)])


def _refusal(body: Any) -> PenstockError:
    try:
        told = body["error"]
        where = f" ({told['param']})" if told["param"] and told["code"] == "adapter_invalid" else ""
        return PenstockError(f"{told['message']}{where}", code=told["code"], param=told["param"])
    except (KeyError, TypeError):
        return Unavailable("What answers is not a Penstock.", detail=repr(body)[:200])
