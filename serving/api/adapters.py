"""/v1/adapters and /v1/aliases: adapters come in, are shown, are released, and go. Owns the wire shapes.

What may be done is `serving/adapters`' to say. Everything is the caller's org's: another org's adapter is not found.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl

import orjson
from starlette.requests import Request
from starlette.responses import Response

from models.errors import InvalidRequest, NotFound
from models.types import Principal, Role
from serving.adapters import rules
from serving.adapters.desk import AdapterDesk
from serving.adapters.registry import Shown
from serving.adapters.releases import Actor, Released
from serving.api.access import ADMIN, authorize
from serving.api.adapter_wire import shown_adapter, shown_alias, shown_audit, shown_load, shown_release, shown_version
from serving.api.body import JsonBodies
from serving.api.checks import Check, integer, items, members, number, one_of, string
from serving.api.deps import ApiDependencies
from serving.api.handed import Handed
from serving.api.uploads import Uploads

ENGINEERS: frozenset[Role] = frozenset({"engineer", "admin"})
ZIP = frozenset({"application/zip"})
AUDIT_ROWS = 200
WARM_S = 600.0
FACTS = frozenset({"data_digest", "job"})

_NAME = string(63, shortest=1)
_VERSION = integer(1, 10**9)


def _price(value: Any, param: str) -> None:
    each = integer(0, 10**12)
    members(value, param, checks={"input_micro_usd": each, "output_micro_usd": each}, required=_PRICES)


def _bounds(value: Any, param: str) -> None:
    members(value, param, checks=_BOUNDS)


def _target(value: Any, param: str) -> None:
    members(value, param, checks={"version": _VERSION, "weight": _WEIGHT}, required=("version", "weight"))


_PRICES = ("input_micro_usd", "output_micro_usd")
_WEIGHT = number(0, 100, above_low=True)
_BOUNDS: Mapping[str, Check] = MappingProxyType(
    {
        "error_rate": number(0, 1),
        "latency_ratio": number(1, 100),
        "score": number(0, 1),
        "min_calls": integer(10, 10**6),
    }
)
_CREATE: Mapping[str, Check] = MappingProxyType({"name": string(256), "base": _NAME, "price": _price})
_PROMOTE: Mapping[str, Check] = MappingProxyType({"version": _VERSION, "alias": _NAME})
_WARM: Mapping[str, Check] = MappingProxyType({"version": _VERSION, "warm_s": number(1, 86_400)})
_CANARY: Mapping[str, Check] = MappingProxyType(
    {"version": _VERSION, "weight": number(0, 99, above_low=True), "alias": _NAME, "bounds": _bounds}
)
_SCORE: Mapping[str, Check] = MappingProxyType(
    {"suite": string(64, shortest=1), "passed": integer(0, 10**6), "count": integer(1, 10**6)}
)
_LOAD: Mapping[str, Check] = MappingProxyType(
    {
        "lora_name": _NAME,
        "lora_path": string(4096, shortest=1),
        "base_model_name": _NAME,
        "load_inplace": one_of(False),
    }
)
_UNLOAD: Mapping[str, Check] = MappingProxyType({"lora_name": _NAME})
_ROLLBACK: Mapping[str, Check] = MappingProxyType({"alias": _NAME})
_POINT: Mapping[str, Check] = MappingProxyType(
    {"adapter": _NAME, "targets": lambda value, param: items(value, param, each=_target, most=2, least=1)}
)


class AdapterRoutes:
    """The routes. Bodies are strict; `name` in a path is looked up byte for byte."""

    def __init__(self, deps: ApiDependencies, bodies: JsonBodies, *, uploads: Uploads) -> None:
        self._deps = deps
        self._bodies = bodies
        self._uploads = uploads

    async def list(self, request: Request) -> Response:
        """Every adapter of the caller's org."""
        caller = await self._caller(request)
        found = await self._desk.registry.list(caller.org)
        return _json({"object": "list", "data": [shown_adapter(shown) for shown in found]})

    async def create(self, request: Request) -> Response:
        """A new adapter without a version."""
        caller = await self._caller(request)
        body = await self._read(request, _CREATE, required=("name", "base"))
        row = await self._desk.registry.create(_actor(caller), body["name"], base=body["base"], price=body.get("price"))
        return _json(shown_adapter(Shown(row, [], [])), status=201)

    async def show(self, request: Request) -> Response:
        """One adapter with its versions and aliases."""
        caller = await self._caller(request)
        return _json(shown_adapter(await self._desk.registry.show(caller.org, _name(request))))

    async def delete(self, request: Request) -> Response:
        """Forget an adapter with its files."""
        caller = await self._caller(request)
        await self._desk.registry.delete(_actor(caller), _name(request))
        return _json({"object": "adapter", "name": _name(request), "deleted": True})

    async def price(self, request: Request) -> Response:
        """Set what a million tokens cost."""
        caller = await self._caller(request)
        body = await self._read(request, {"price": _price})
        await self._desk.registry.set_price(_actor(caller), _name(request), price=body.get("price"))
        return await self.show(request)

    async def push(self, request: Request) -> Response:
        """A new version: the body is a zip; `base` (for a new adapter), `job`, `data_digest` and `metrics.…` are query
        parameters.
        """
        caller = await self._caller(request)
        base, about = _query(request)
        async with self._uploads.received(request.scope, request.receive, kinds=ZIP, work=self._desk.work) as archive:
            adapter, row = await self._desk.registry.push(
                _actor(caller), _name(request), archive=archive, base=base, about=about
            )
        return _json(shown_version(adapter, row), status=201)

    async def versions(self, request: Request) -> Response:
        """Every version, newest first."""
        caller = await self._caller(request)
        shown = await self._desk.registry.show(caller.org, _name(request))
        return _json({"object": "list", "data": [shown_version(shown.adapter, row) for row in shown.versions]})

    async def version(self, request: Request) -> Response:
        """One version."""
        caller = await self._caller(request)
        found = await self._desk.registry.version(caller.org, _name(request), number=_number(request))
        return _json(shown_version(*found))

    async def delete_version(self, request: Request) -> Response:
        """Forget a version with its files."""
        caller = await self._caller(request)
        await self._desk.registry.delete_version(_actor(caller), _name(request), number=_number(request))
        return _json({"object": "adapter.version", "version": _number(request), "deleted": True})

    async def content(self, request: Request) -> Response:
        """A version's files as a zip."""
        caller = await self._caller(request)
        to = self._desk.draft()
        try:
            await self._desk.registry.exported(caller.org, _name(request), number=_number(request), to=to)
        except BaseException:
            to.unlink(missing_ok=True)
            raise
        return Handed(to, media_type="application/zip")

    async def score(self, request: Request) -> Response:
        """Keep how many examples of a suite a version answered right; a canary is judged by it."""
        caller = await self._caller(request)
        body = await self._read(request, _SCORE, required=("suite", "passed", "count"))
        if body["passed"] > body["count"]:
            raise InvalidRequest("More examples passed than there were.", param="passed")
        found = await self._desk.registry.scored(_actor(caller), _name(request), number=_number(request), score=body)
        return _json(shown_version(*found))

    async def promote(self, request: Request) -> Response:
        """Make a version live on every replica; returns when every gateway works by it."""
        caller = await self._caller(request)
        body = await self._read(request, _PROMOTE, required=("version",))
        return await self._released(
            self._desk.releases.promote(_actor(caller), _name(request), number=body["version"], alias=body.get("alias"))
        )

    async def warm(self, request: Request) -> Response:
        """Load a version on every replica for some time, to be called by its own name; no alias changes."""
        caller = await self._caller(request)
        body = await self._read(request, _WARM, required=("version",))
        version, warm_s = body["version"], body.get("warm_s") or WARM_S
        load = self._desk.releases.load(_actor(caller), _name(request), number=version, warm_s=warm_s)
        return _json(shown_load(await self._desk.run(load)))

    async def canary(self, request: Request) -> Response:
        """Let a part of the callers try a version."""
        caller = await self._caller(request)
        body = await self._read(request, _CANARY, required=("version", "weight"))
        return await self._released(
            self._desk.releases.canary(
                _actor(caller),
                _name(request),
                number=body["version"],
                weight=body["weight"],
                bounds=body.get("bounds"),
                alias=body.get("alias"),
            )
        )

    async def rollback(self, request: Request) -> Response:
        """End a canary, or go back to the version before."""
        caller = await self._caller(request)
        body = await self._read(request, _ROLLBACK)
        return await self._released(
            self._desk.releases.rollback(_actor(caller), _name(request), alias=body.get("alias"))
        )

    async def retire(self, request: Request) -> Response:
        """Take the aliases away and unload every version."""
        caller = await self._caller(request)
        await self._read(request, {})
        await self._desk.run(self._desk.releases.retire(_actor(caller), _name(request)))
        return await self.show(request)

    async def status(self, request: Request) -> Response:
        """Which replica holds which version, in which slot, and what happened last."""
        caller = await self._caller(request)
        shown = await self._desk.registry.show(caller.org, _name(request))
        names = {rules.engine_name_of(shown.adapter, row) for row in shown.versions}
        replicas = await self._desk.holdings(shown.adapter.base, names=names)
        audit = await self._desk.registry.audit(caller.org, _name(request), limit=10)
        last = [shown_audit(row) for row in audit]
        return _json({**shown_adapter(shown), "replicas": replicas, "last": last})

    async def audit(self, request: Request) -> Response:
        """Who did what, newest first."""
        caller = await self._caller(request)
        rows = await self._desk.registry.audit(caller.org, _name(request), limit=AUDIT_ROWS)
        return _json({"object": "list", "data": [shown_audit(row) for row in rows]})

    async def alias(self, request: Request) -> Response:
        """Where an alias points."""
        caller = await self._caller(request)
        return _json(shown_alias(await self._desk.alias(caller.org, request.path_params["alias"])))

    async def point(self, request: Request) -> Response:
        """Point an alias to one version, or to two with weights."""
        caller = await self._caller(request)
        body = await self._read(request, _POINT, required=("adapter", "targets"))
        alias, targets = request.path_params["alias"], body["targets"]
        if abs(sum(target["weight"] for target in targets) - rules.WHOLE) > 1e-9:
            raise InvalidRequest("The weights must add up to 100.", param="targets")
        live, *rest = targets
        if rest and rest[0]["version"] == live["version"]:
            raise InvalidRequest("The two targets must be different versions.", param="targets")
        actor, adapter, releases = _actor(caller), body["adapter"], self._desk.releases
        if not rest or await self._desk.live(caller.org, alias) != live["version"]:  # or a trial would be interrupted
            promoted = await self._released(releases.promote(actor, adapter, number=live["version"], alias=alias))
            if not rest:
                return promoted
        number, weight = rest[0]["version"], rest[0]["weight"]
        return await self._released(releases.canary(actor, adapter, number=number, weight=weight, alias=alias))

    async def load(self, request: Request) -> Response:
        """vLLM's own path, for admins: push a folder of the gateway's machine and promote it, on every replica."""
        caller = await authorize(request.scope, self._deps.keys, roles=ADMIN)
        body = await self._read(request, _LOAD, required=("lora_name", "lora_path"))
        actor, name = _actor(caller), body["lora_name"]
        async with self._desk.packed(Path(body["lora_path"])) as archive:
            base = body.get("base_model_name") or self._desk.only_base()
            _, row = await self._desk.registry.push(actor, name, archive=archive, base=base, about={})
        await self._desk.run(self._desk.releases.promote(actor, name, number=row.number))
        return Response(f"Success: LoRA adapter '{name}' added successfully.", media_type="text/plain")

    async def unload(self, request: Request) -> Response:
        """vLLM's own path, for admins: retire an adapter."""
        caller = await authorize(request.scope, self._deps.keys, roles=ADMIN)
        body = await self._read(request, _UNLOAD, required=("lora_name",))
        await self._desk.run(self._desk.releases.retire(_actor(caller), body["lora_name"]))
        return Response(f"Success: LoRA adapter '{body['lora_name']}' removed successfully.", media_type="text/plain")

    @property
    def _desk(self) -> AdapterDesk:
        if self._deps.adapters is None:
            raise NotFound("No engine of this stack loads adapters.")
        return self._deps.adapters

    async def _caller(self, request: Request) -> Principal:
        return await authorize(request.scope, self._deps.keys, roles=ENGINEERS)

    async def _read(
        self, request: Request, checks: Mapping[str, Check], *, required: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        def checked(body: dict[str, Any]) -> dict[str, Any]:
            members(body, "", checks=checks, required=required)
            return body

        return await self._bodies.read(request.scope, request.receive, reader=checked)

    async def _released(self, release: Awaitable[Released]) -> Response:
        return _json(shown_release(await self._desk.run(release)))


def _actor(caller: Principal) -> Actor:
    return Actor(caller.org, caller.key_id)


def _name(request: Request) -> str:
    return str(request.path_params["name"])


def _number(request: Request) -> int:
    told = request.path_params["number"]
    if not (told.isascii() and told.isdigit() and len(told) < 10):
        raise NotFound("There is no such version.", param="version")
    return int(told)


def _query(request: Request) -> tuple[str | None, dict[str, Any]]:
    """`base`, and what the publisher says of the version."""
    base: str | None = None
    about: dict[str, Any] = {"metrics": {}}
    for name, value in parse_qsl(request.url.query, keep_blank_values=True):
        if len(value) > 256 or len(name) > 64:
            raise InvalidRequest("A query parameter has at most 256 characters.", param=name[:64])
        if name == "base":
            base = value
        elif name in FACTS:
            about[name] = value
        elif name.startswith("metrics.") and len(about["metrics"]) < 32:
            about["metrics"][name.removeprefix("metrics.")] = _figure(name, value)
        else:
            raise InvalidRequest("Unknown query parameter.", code="unknown_parameter", param=name[:64])
    return base, about


def _figure(name: str, value: str) -> float:
    try:
        figure = float(value)
    except ValueError:
        figure = float("nan")
    if not abs(figure) < 1e300:
        raise InvalidRequest("A metric is a number.", param=name[:64])
    return figure


def _json(value: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")


Route = Callable[[Request], Awaitable[Response]]


def table(routes: AdapterRoutes) -> list[tuple[str, str, Route]]:
    """Method, path and endpoint of each."""
    adapter, version = "/v1/adapters/{name}", "/v1/adapters/{name}/versions/{number}"
    return [
        ("GET", "/v1/adapters", routes.list),
        ("POST", "/v1/adapters", routes.create),
        ("GET", adapter, routes.show),
        ("DELETE", adapter, routes.delete),
        ("PUT", f"{adapter}/price", routes.price),
        ("GET", f"{adapter}/versions", routes.versions),
        ("POST", f"{adapter}/versions", routes.push),
        ("GET", version, routes.version),
        ("DELETE", version, routes.delete_version),
        ("GET", f"{version}/content", routes.content),
        ("POST", f"{version}/scores", routes.score),
        ("POST", f"{adapter}/promote", routes.promote),
        ("POST", f"{adapter}/load", routes.warm),
        ("POST", f"{adapter}/canary", routes.canary),
        ("POST", f"{adapter}/rollback", routes.rollback),
        ("POST", f"{adapter}/retire", routes.retire),
        ("GET", f"{adapter}/status", routes.status),
        ("GET", f"{adapter}/audit", routes.audit),
        ("GET", "/v1/aliases/{alias}", routes.alias),
        ("PUT", "/v1/aliases/{alias}", routes.point),
        ("POST", "/v1/load_lora_adapter", routes.load),
        ("POST", "/v1/unload_lora_adapter", routes.unload),
    ]
