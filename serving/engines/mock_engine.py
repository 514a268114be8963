"""An engine for Ray Serve LLM that generates nothing: fixed times, many streams, to measure what stands before it.

`RAYLLM_VLLM_ENGINE_CLS=serving.engines.mock_engine.MockEngine` puts it into every replica, Penstock's and Ray Serve
LLM's own alike; `PENSTOCK_MOCK_SCRIPT` holds its `Script` as JSON. Edge file: imports Ray.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import orjson
from ray.llm._internal.serve.core.engine.protocol import LLMEngine

from serving.testing import FakeEngine, Script

SCRIPT = "PENSTOCK_MOCK_SCRIPT"


class MockEngine(LLMEngine):  # type: ignore[misc]
    """Answers as `serving.testing.FakeEngine` does: over HTTP to Penstock's gateway, by calls to Ray Serve LLM."""

    def __init__(self, llm_config: Any) -> None:  # noqa: ARG002 - of the protocol
        self._app = FakeEngine(Script(**json.loads(os.environ[SCRIPT])))
        self._engine_client = SimpleNamespace(is_sleeping=self.check_health, errored=False, shutdown=lambda: None)

    async def start(self) -> None:
        """There is nothing to load."""

    async def build_asgi_app(self) -> FakeEngine:
        """The HTTP server that a replica of Penstock puts behind its door."""
        return self._app

    async def check_health(self) -> None:
        """It is always well."""

    async def chat(self, request: Any, raw_request_info: Any = None) -> AsyncIterator[str]:  # noqa: ARG002
        """The events of a streamed chat completion."""
        async for event in self._events("/v1/chat/completions", request):
            yield event

    async def completions(self, request: Any, raw_request_info: Any = None) -> AsyncIterator[str]:  # noqa: ARG002
        """The events of a streamed completion."""
        async for event in self._events("/v1/completions", request):
            yield event

    async def _events(self, path: str, request: Any) -> AsyncIterator[str]:
        """What the ASGI app sends for this request, piece by piece."""
        sent: asyncio.Queue[str | None] = asyncio.Queue()
        body = orjson.dumps(request.model_dump(mode="json", exclude_unset=True))
        told = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive() -> dict[str, Any]:
            message = next(told, None)
            return message if message is not None else await asyncio.Future()

        async def send(message: Any) -> None:
            if message["type"] == "http.response.body":
                sent.put_nowait(message["body"].decode())
                if not message.get("more_body"):
                    sent.put_nowait(None)

        scope = {"type": "http", "method": "POST", "path": path, "headers": [], "client": ("mock", 0)}
        work = asyncio.create_task(self._app(scope, receive, send))
        try:
            while (event := await sent.get()) is not None:
                yield event
            await work
        finally:
            work.cancel()

    def routing_stats(self) -> dict[str, Any]:
        """Nothing to route by."""
        return {}

    async def resolve_lora(self, lora_model: Any) -> None:
        """It knows no adapters."""
        raise NotImplementedError(f"the mock engine loads no adapter: {lora_model}")

    async def embeddings(self, request: Any, raw_request_info: Any = None) -> None:
        """It embeds nothing."""
        raise NotImplementedError("the mock engine embeds nothing")

    async def transcriptions(self, request: Any, raw_request_info: Any = None) -> None:
        """It hears nothing."""
        raise NotImplementedError("the mock engine transcribes nothing")

    async def reset_prefix_cache(self) -> None:
        """It keeps nothing."""
