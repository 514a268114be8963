"""The command line's calls to one part of a stack's API, near or far. Owns the HTTP alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import httpx2
import orjson

from models.errors import PenstockError, Unavailable
from serving.commands.target import Target

PATIENCE_S = 600.0
"""A release answers when the last replica has loaded, an upload when the last line is checked."""


class StackCalls:
    """Calls under one path, such as `/v1/adapters`. Each raises what the stack refuses, in its words."""

    def __init__(self, target: Target, root: str) -> None:
        self.target = target
        self._root = root

    def answer(self, method: str, *path: str, **options: Any) -> dict[str, Any]:
        """The JSON that comes back; `options` as httpx takes them."""
        try:
            with self._client() as client:
                answer = client.request(method, self._url(*path), **options)
            found = answer.json()
        except (httpx2.HTTPError, ValueError) as error:
            raise Unavailable("The stack does not answer.", detail=str(error)) from error
        if not answer.is_success:
            raise _refusal(found)
        return cast("dict[str, Any]", found)

    def content(self, *path: str, to: Path) -> None:
        """A body, written into a new file as it comes."""
        try:
            with self._client() as client, client.stream("GET", self._url(*path)) as answer:
                _keep(answer, to)
        except httpx2.HTTPError as error:
            raise Unavailable("The stack does not answer.", detail=str(error)) from error

    def _client(self) -> httpx2.Client:
        headers = {"Authorization": f"Bearer {self.target.key}"}
        return httpx2.Client(base_url=self.target.url, headers=headers, timeout=PATIENCE_S, trust_env=False)

    def _url(self, *path: str) -> str:
        return "/".join([self._root, *(quote(part, safe="") for part in path)])


def _keep(answer: httpx2.Response, to: Path) -> None:
    """Write a body as it comes, if it is what was asked for."""
    if not answer.is_success:
        raise _refusal(orjson.loads(answer.read()))
    with to.open("xb") as out:
        for block in answer.iter_bytes():
            out.write(block)


def _refusal(body: Any) -> PenstockError:
    try:
        told = body["error"]
        where = f" ({told['param']})" if told["param"] and told["code"] == "adapter_invalid" else ""
        return PenstockError(f"{told['message']}{where}", code=told["code"], param=told["param"])
    except (KeyError, TypeError):
        return Unavailable("What answers is not a Penstock.", detail=repr(body)[:200])
