"""GET /health, /ready, /metrics, /version: for Kubernetes, Prometheus and operators. Owns no figure itself."""

from __future__ import annotations

import orjson
from starlette.requests import Request
from starlette.responses import Response

from serving.api.access import METRICS, authorize
from serving.api.deps import ApiDependencies

_EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"


class Operations:
    """The four routes; only the first two are open."""

    def __init__(self, deps: ApiDependencies) -> None:
        self._deps = deps

    async def health(self, request: Request) -> Response:
        """The process is alive and its event loop turns."""
        del request
        return Response(b'{"status":"ok"}', media_type="application/json")

    async def ready(self, request: Request) -> Response:
        """Whether requests can be served; 503 names what is missing."""
        del request
        readiness = await self._deps.readiness.report()
        body = {"status": "ready" if readiness.ok else "not ready", "not_ready": readiness.not_ready}
        headers = None if readiness.ok else {"retry-after": "1"}
        return Response(
            orjson.dumps(body), 200 if readiness.ok else 503, media_type="application/json", headers=headers
        )

    async def metrics(self, request: Request) -> Response:
        """The figures of this gateway and of the engines behind it."""
        await authorize(request.scope, self._deps.keys, roles=METRICS)
        return Response(await self._deps.metrics.exposition(), media_type=_EXPOSITION)

    async def version(self, request: Request) -> Response:
        """Which release runs here."""
        await authorize(request.scope, self._deps.keys, roles=METRICS)
        return Response(orjson.dumps({"version": self._deps.version}), media_type="application/json")
