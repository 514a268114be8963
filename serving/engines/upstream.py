"""The wire to the engine replicas: one keep-alive pool per gateway process, and the request as vLLM gets it.

Owns the connection pool, the cluster token and the cache salt. Does not choose a replica, retry or read answers.
"""

from __future__ import annotations

import hmac
from functools import lru_cache, partial
from types import TracebackType

import orjson

from models.adapters.names import ServedAdapter
from models.types import Attempt, Endpoint, GenerationRequest, RequestKind
from serving.engines.adapter_door import ADAPTER
from serving.engines.door import GENERATIONS
from serving.engines.wire import Pool, Reply

SALTS = 4096  # orgs whose salt is kept: to compute one takes 40 us of every call
PATHS: dict[RequestKind, str] = {"chat": "/v1/chat/completions", "completion": "/v1/completions"}


class Upstream:
    """Posts to replicas; `aclose()` ends every connection."""

    def __init__(self, *, token: str, salt_secret: bytes, connect_s: float = 2.0) -> None:
        self._authorization = f"Bearer {token}"
        self.salt = lru_cache(SALTS)(partial(_salt, salt_secret))
        self._pool = Pool(connect_s=connect_s)

    async def __aenter__(self) -> Upstream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every pooled connection."""
        self._pool.close()

    def body(self, request: GenerationRequest, attempt: Attempt, *, org: str) -> bytes:
        """The request as this engine gets it. Usage is always asked for: the record wants the engine's count."""
        model = attempt.card if attempt.adapter is None else attempt.adapter.ref.engine_name
        fields = {**request.body, "model": model, "cache_salt": self.salt(org)}
        if request.stream:
            fields["stream_options"] = {"include_usage": True}
        return orjson.dumps(fields)

    async def post(
        self, endpoint: Endpoint, request: GenerationRequest, *, body: bytes, adapter: ServedAdapter | None = None
    ) -> Reply:
        """Send, and return as soon as the status and headers are there; raises `OSError`."""
        headers = {
            "authorization": self._authorization,
            "content-type": "application/json",
            "x-request-id": request.id,
            GENERATIONS: str(request.generations),
        }
        if request.traceparent:
            headers["traceparent"] = request.traceparent
        if adapter is not None:
            headers[ADAPTER] = adapter.ref.header
        return await self._pool.post(endpoint.base_url, PATHS[request.kind], headers=headers, body=body)


def _salt(secret: bytes, org: str) -> str:
    """What isolates an org's prefix cache inside vLLM: nobody can guess it, and no two orgs share it."""
    return hmac.digest(secret, org.encode(), "sha256").hex()


async def read_all(content: Reply, most_bytes: int) -> bytes:
    """The rest of a body, and at most one read more than `most_bytes` of it."""
    parts: list[bytes] = []
    length = 0
    while length <= most_bytes and (part := await content.readany()):
        parts.append(part)
        length += len(part)
    return b"".join(parts)
