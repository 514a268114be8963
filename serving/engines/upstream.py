"""The wire to the engine replicas: one keep-alive pool per gateway process, and the request as vLLM gets it.

Owns the connection pool, the cluster token and the cache salt. Does not choose a replica, retry or read answers.
"""

from __future__ import annotations

import hmac
from io import BytesIO
from types import TracebackType

import aiohttp
import orjson

from models.types import Endpoint, GenerationRequest, RequestKind
from serving.engines.door import GENERATIONS

PATHS: dict[RequestKind, str] = {"chat": "/v1/chat/completions", "completion": "/v1/completions"}
READ_BUFFER_BYTES = 2**16
WARNS_ABOVE_BYTES = 2**20
KEEP_ALIVE_S = 15.0


class Upstream:
    """Posts to replicas. The session is made in the loop of the first request and closed by `aclose()`."""

    def __init__(self, *, token: str, salt_secret: bytes, connect_s: float = 2.0) -> None:
        self._authorization = f"Bearer {token}"
        self._salt_secret = salt_secret
        self._connect_s = connect_s
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Upstream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every pooled connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def salt(self, org: str) -> str:
        """What isolates an org's prefix cache inside vLLM: nobody can guess it, and no two orgs share it."""
        return hmac.digest(self._salt_secret, org.encode(), "sha256").hex()

    def body(self, request: GenerationRequest, card: str, *, org: str) -> bytes:
        """The request as this card's engine gets it. Usage is always asked for: the record wants the engine's count."""
        fields = {**request.body, "model": card, "cache_salt": self.salt(org)}
        if request.stream:
            fields["stream_options"] = {"include_usage": True}
        return orjson.dumps(fields)

    async def post(self, endpoint: Endpoint, request: GenerationRequest, *, body: bytes) -> aiohttp.ClientResponse:
        """Send, and return as soon as the status and headers are there. Raises aiohttp's errors as they are."""
        headers = {
            "authorization": self._authorization,
            "content-type": "application/json",
            "x-request-id": request.id,
            GENERATIONS: str(request.generations),
        }
        if request.traceparent:
            headers["traceparent"] = request.traceparent
        # aiohttp warns of bodies above 1 MiB given as bytes; a buffer is written in pieces.
        data = body if len(body) <= WARNS_ABOVE_BYTES else BytesIO(body)
        url = endpoint.base_url + PATHS[request.kind]
        return await self._pool().post(url, data=data, headers=headers, allow_redirects=False)

    def _pool(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_s),
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("user-agent", "accept-encoding"),
                auto_decompress=False,
                read_bufsize=READ_BUFFER_BYTES,
            )
        return self._session


async def read_all(content: aiohttp.StreamReader, most_bytes: int) -> bytes:
    """The rest of a body, and at most one read more than `most_bytes` of it."""
    parts: list[bytes] = []
    length = 0
    while length <= most_bytes and (part := await content.readany()):
        parts.append(part)
        length += len(part)
    return b"".join(parts)
