"""Which stack a client command talks to: a remote one by `PENSTOCK_URL`, or the one of the state folder and its store.

Owns the command line's own key: made on first use, kept in the state folder for its owner, so that `penstock chat`
works right after `penstock up`. Whoever can read that folder can make keys anyway.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from models.clock import SystemClock
from models.errors import ConfigurationError
from models.types import Role
from serving.commands.options import profile_of
from serving.settings import load_settings
from serving.state import NoStack, StackInfo, StateDir
from serving.store.store import Store
from serving.tenancy.keys import KeyAdmin, KeySpec, digest

OWN_KEY = "command-line-key"
OWN_ROLE: Role = "engineer"


@dataclass(frozen=True, slots=True)
class Target:
    """A stack and a key for it; `url` has no path."""

    url: str
    key: str


def target_of(state: StateDir, environment: Mapping[str, str]) -> Target:
    """The stack that is meant, and a key that it accepts."""
    url, key = environment.get("PENSTOCK_URL"), environment.get("PENSTOCK_API_KEY")
    if url:
        if not key:
            raise ConfigurationError("PENSTOCK_URL is set without PENSTOCK_API_KEY. Set both, or neither.")
        return Target(url.rstrip("/").removesuffix("/v1"), key)
    info = state.running()
    return Target(info.url, key or asyncio.run(_own_key(state, info)))


def store_url_of(state: StateDir) -> str:
    """The store of a stack that has been started once: making a key first would swallow the first admin key."""
    settings = load_settings(profile_of(None, state)).store
    if settings.url is None and not state.database.exists():
        raise NoStack(f"No stack has been started from {str(state.path)!r}. Start one with `penstock up`.")
    return state.store_url(settings)


async def _own_key(state: StateDir, info: StackInfo) -> str:
    """The key of earlier commands while it works, else a new one."""
    clock = SystemClock()
    path = state.secret_path(OWN_KEY)
    async with Store.open(state.store_url(load_settings(info.profile).store)) as store:
        if path.exists():
            row = await store.keys.by_digest(digest(path.read_text()))
            if row is not None and row.usable(clock.now()) and row.role == OWN_ROLE:
                return path.read_text()
        spec = KeySpec(org="default", user="command-line", role=OWN_ROLE, name="penstock command line")
        _, secret = await KeyAdmin(store.keys, clock=clock).create(spec)
    state.keep_secret(OWN_KEY, secret)
    return secret
