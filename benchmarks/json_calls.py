"""Calls to a stack's own API with JSON answers, for what is made and read around a measure. Owns how a refusal is told.

What is measured itself is streamed by `calls.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from benchmarks.calls import Address, message_of
from models.errors import ConfigurationError, InvalidKey, Unavailable

PATIENCE_S = 180.0


class JsonCalls:
    """One stack, one key."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def ask(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """The answer. `options` are aiohttp's: `json`, `data`, `headers`, `params`.

        Raises `Unavailable` without an answer, `InvalidKey` and `ConfigurationError` for one that refuses.
        """
        try:
            async with self._session.request(method, f"{self._url}{path}", **options) as answer:
                text = await answer.text()
                if answer.status < 300:
                    found: dict[str, Any] = await answer.json()
                    return found
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unavailable(f"{method} {path} got no answer.", detail=type(error).__name__) from error
        said = f"{method} {path}: {message_of(text)} (status {answer.status})"
        raise InvalidKey(said) if answer.status in (401, 403) else ConfigurationError(said)


@asynccontextmanager
async def json_calls(address: Address) -> AsyncIterator[JsonCalls]:
    """A stack's API while the block is open."""
    timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
    async with aiohttp.ClientSession(headers=address.headers, timeout=timeout) as session:
        yield JsonCalls(session, address.url)
