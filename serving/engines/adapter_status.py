"""What a replica tells of its adapters: JSON for people and gateways, Prometheus text at the end of `/metrics`.

Owns the shapes. Does not own the figures: the shelf's are its own, those of slots and memory are the engine's word.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from models.adapters.names import AdapterRef
from serving.engines.adapters import AdapterRefused, AdapterShelf, Failure, Slots, Version
from serving.engines.asgi import AsgiApp, Message, Receive, Scope, Send


async def standing(shelf: AdapterShelf) -> dict[str, Any]:
    """Every version that is loaded, being loaded, or failed; and the engine's figures, null where it tells none."""
    slots = await _slots(shelf)
    failures = _failures(shelf)
    rows = {version.ref.engine_name: _loaded(version, shelf, slots=slots) for version in shelf.versions}
    for state, refs in (("loading", shelf.loading), ("failed", [failure.ref for failure in shelf.failures])):
        for ref in refs:
            rows.setdefault(ref.engine_name, {**_named(ref, failures), "state": state})
    return {"adapters": list(rows.values()), "totals": {**_totals(slots), "requests": shelf.requests}}


class AdapterFigures:
    """The engine's ASGI app, with the adapters' figures after its own `/metrics`."""

    def __init__(self, app: AsgiApp, shelf: AdapterShelf) -> None:
        self._app = app
        self._shelf = shelf

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if (scope.get("method"), scope.get("path")) != ("GET", "/metrics"):
            await self._app(scope, receive, send)
            return
        plain = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]
        start, body = await _whole(self._app, {**scope, "headers": plain}, receive=receive)
        if start["status"] == 200:
            body += text(await _slots(self._shelf), requests=self._shelf.requests)
        headers = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
        headers.append((b"content-length", str(len(body)).encode()))
        await send({**start, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def text(slots: Slots | None, *, requests: int) -> bytes:
    """The figures in Prometheus' format; those of an engine that tells none are left out."""
    registry = CollectorRegistry()
    registry.register(_Figures(slots, requests))
    return generate_latest(registry)


class _Figures(Collector):
    def __init__(self, slots: Slots | None, requests: int) -> None:
        self._slots = slots
        self._requests = requests

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily("penstock_adapter_requests", "Calls with an adapter.", value=self._requests)
        if (slots := self._slots) is None:
            return
        yield CounterMetricFamily("penstock_adapter_loads", "Adapters that the engine read from disk.", slots.loads)
        yield CounterMetricFamily("penstock_adapter_activations", "Adapters copied into a slot.", slots.activations)
        places = GaugeMetricFamily("penstock_adapter_slots", "Adapters that one batch can hold.", labels=["state"])
        used = len(slots.slots) - slots.slots.count(None)
        places.add_metric(["used"], used)
        places.add_metric(["free"], len(slots.slots) - used)
        yield places


async def _slots(shelf: AdapterShelf) -> Slots | None:
    try:
        return await shelf.slots()
    except AdapterRefused:
        return None


def _totals(slots: Slots | None) -> dict[str, Any]:
    return {
        "slots": len(slots.slots) if slots else None,
        "slots_used": len(slots.slots) - slots.slots.count(None) if slots else None,
        "host": len(slots.host) if slots else None,
        "max_host": slots.capacity if slots else None,
        "activations": slots.activations if slots else None,
        "disk_loads": slots.loads if slots else None,
    }


def _loaded(version: Version, shelf: AdapterShelf, *, slots: Slots | None) -> dict[str, Any]:
    """A version whose files are gone is degraded: its weights are in memory, and its next call fetches it again."""
    places = slots.slots if slots else ()
    return {
        **_named(version.ref, _failures(shelf)),
        "state": "ready" if shelf.ready(version.ref) else "degraded",
        "loaded_at": version.loaded_at,
        "running": version.running,
        "served": version.served,
        "slot": places.index(version.number) if version.number in places else None,
        "in_host_memory": version.number in slots.host if slots else None,
        **msgspec.to_builtins(version.loaded),
    }


def _failures(shelf: AdapterShelf) -> dict[str, Failure]:
    return {failure.ref.engine_name: failure for failure in shelf.failures}


def _named(ref: AdapterRef, failures: dict[str, Failure]) -> dict[str, Any]:
    """What every row has; the figures of a version that is not loaded are null or zero."""
    failure = failures.get(ref.engine_name)
    error = failure and {"code": failure.failed.code, "message": failure.failed.message, "at": failure.at}
    nothing = dict.fromkeys(("loaded_at", "slot", "fetched_ms", "loaded_ms", "warmed_ms"))
    counts = {"running": 0, "served": 0, "in_host_memory": False}
    return {**msgspec.to_builtins(ref), "state": "", **nothing, **counts, "last_error": error}


async def _whole(app: AsgiApp, scope: Scope, *, receive: Receive) -> tuple[Message, bytes]:
    """An app's answer, all of it."""
    messages: list[Message] = []

    async def keep(message: Message) -> None:
        messages.append(message)

    await app(scope, receive, keep)
    start, *rest = messages
    return start, b"".join(message.get("body", b"") for message in rest)
