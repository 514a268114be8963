"""Adapters, versions, aliases and releases as JSON. Owns the shapes alone; no path of the server is in them."""

from __future__ import annotations

from typing import Any

from serving.adapters import rules
from serving.adapters.registry import Shown
from serving.adapters.releases import Loaded, Released
from serving.store.adapters import AdapterRow, AliasRow, AuditRow, VersionRow


def shown_adapter(shown: Shown) -> dict[str, Any]:
    """An adapter with its versions and aliases."""
    row = shown.adapter
    return {
        "object": "adapter",
        "id": row.id,
        "name": row.name,
        "base": row.base,
        "price": row.price,
        "created_by": row.created_by,
        "created_at": row.created_at,
        "aliases": [shown_alias(alias) for alias in shown.aliases],
        "versions": [shown_version(row, version) for version in shown.versions],
    }


def shown_version(adapter: AdapterRow, row: VersionRow) -> dict[str, Any]:
    """A version. `model`: the name that pins it in a call."""
    return {
        "object": "adapter.version",
        "adapter": adapter.name,
        "version": row.number,
        "state": row.state,
        "reason": row.reason,
        "model": rules.engine_name_of(adapter, row),
        "base": adapter.base,
        "base_revision": row.base_revision,
        "digest": row.digest,
        "bytes": row.bytes,
        "facts": row.facts,
        "created_by": row.created_by,
        "created_at": row.created_at,
        "state_at": row.state_at,
        "warm_until": row.warm_until,
    }


def shown_alias(row: AliasRow) -> dict[str, Any]:
    """Where a public name points."""
    return {
        "object": "alias",
        "alias": row.name,
        "targets": [{"version": number, "weight": weight} for number, weight in row.targets],
        "previous": row.previous,
        "canary": row.canary,
        "changed_at": row.changed_at,
    }


def shown_release(released: Released) -> dict[str, Any]:
    """What a release did: where the alias points now, and each replica's acknowledgement."""
    return {
        "object": "adapter.release",
        "adapter": released.adapter.name,
        **{name: value for name, value in shown_alias(released.alias).items() if name != "object"},
        "replicas": [{"replica": load.replica, **load.times_ms} for load in released.loads],
        "waiting": list(released.waiting),
    }


def shown_load(loaded: Loaded) -> dict[str, Any]:
    """A version that was loaded without a release, and each replica's acknowledgement."""
    return {
        **shown_version(loaded.adapter, loaded.version),
        "replicas": [{"replica": load.replica, **load.times_ms} for load in loaded.loads],
        "waiting": list(loaded.waiting),
    }


def shown_audit(row: AuditRow) -> dict[str, Any]:
    """Who did what."""
    return {
        "object": "audit",
        "at": row.at,
        "actor": row.actor,
        "action": row.action,
        "subject": row.subject,
        "detail": row.detail,
    }
