"""Keys: what a secret looks like, who it stands for, and who may make or revoke one.

Owns the secret's format, the in-memory book that answers for every request, and the rules of administration. Does not
own SQL (`serving/store/keys.py`) or concurrency limits (`concurrency.py`).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

from models.clock import Clock
from models.errors import InvalidRequest, NotFound
from models.types import ROLES, Principal, Role
from serving.periodic import Periodic
from serving.store.database import StoreDown
from serving.store.keys import KeyRow, KeyTable

PREFIX = "sk-penstock-"
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
KEY_ID = re.compile(r"key_[0-9a-f]{24}")
REFRESH_S = 0.5  # with the read itself, a revoked key is refused within one second on every gateway
GRACE_S = 300.0  # how long the last book answers while the database cannot be reached
LOOKUP_S = 1.0  # how long an unknown key waits for its turn and its look-up, while known keys wait for nothing
LOOKUPS = 2  # connections that unknown keys may use at a time, so that a flood of them leaves some for the records
MAX_MODELS = 64
MAX_TEXT = 128
NOBODY = "0" * 64


def digest(secret: str) -> str:
    """What is stored instead of the secret. 256 random bits need no salt and no slow hash."""
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()


class KeyBook:
    """Who a secret stands for. Known keys cost no database call; an unknown one costs exactly one look-up."""

    def __init__(self, keys: KeyTable, *, clock: Clock, grace_s: float = GRACE_S, lookup_s: float = LOOKUP_S) -> None:
        self._keys = keys
        self._clock = clock
        self._grace_s = grace_s
        self._lookup_s = lookup_s
        self._by_digest: dict[str, KeyRow] = {}
        self._mark: int | None = None
        self._fresh_at = 0.0
        self._lookups = asyncio.Semaphore(LOOKUPS)
        self._asking: set[asyncio.Task[KeyRow | None]] = set()

    @asynccontextmanager
    async def open(self, *, refresh_s: float = REFRESH_S) -> AsyncGenerator[KeyBook]:
        """Read the book, and keep it up to date while the block is open."""
        await self.refresh()
        async with Periodic(self.refresh, every_s=refresh_s):
            yield self

    async def refresh(self) -> None:
        """Read the keys again if one has changed since the last time."""
        mark = await self._keys.mark()
        if mark != self._mark:
            self._by_digest = {row.sha256: row for row in await self._keys.active()}
            self._mark = mark
        self._fresh_at = self._clock.monotonic()

    def __len__(self) -> int:
        """How many keys are in memory."""
        return len(self._by_digest)

    async def find(self, secret: str) -> Principal | None:
        """The principal behind a secret; None for a key that is unknown, expired or revoked.

        Raises `StoreDown` (`accounting_unavailable`) when only the database could tell, or when the book is too old.
        """
        sha256 = digest(secret)
        row = self._by_digest.get(sha256)
        if row is None:
            row = await self._look_up(sha256)
        elif self._clock.monotonic() - self._fresh_at > self._grace_s:
            raise StoreDown(
                "Keys cannot be checked now.", detail="the key book is older than its grace", retry_after_s=2
            )
        known = hmac.compare_digest(row.sha256 if row else NOBODY, sha256)
        return _principal(row) if row and known and row.usable(self._clock.now()) else None

    async def _look_up(self, sha256: str) -> KeyRow | None:
        """A key made since the last refresh. Nothing is remembered, so a flood of unknown keys fills no memory."""
        asked = asyncio.create_task(self._ask(sha256))
        self._asking.add(asked)
        asked.add_done_callback(self._asked)
        try:
            # Not `asyncio.timeout`: behind it a connection to a hanging database takes seconds more to give up.
            await asyncio.wait({asked}, timeout=self._lookup_s)
            if not asked.done():
                detail = f"an unknown key waited {self._lookup_s:g} s for its look-up"
                raise StoreDown("Keys cannot be checked now.", detail=detail, retry_after_s=2)
            return await asked
        finally:
            asked.cancel()

    async def _ask(self, sha256: str) -> KeyRow | None:
        async with self._lookups:
            return await self._keys.by_digest(sha256)

    def _asked(self, task: asyncio.Task[KeyRow | None]) -> None:
        """Also when nobody waits any more: an error that is not fetched would be complained about."""
        self._asking.discard(task)
        if not task.cancelled():
            task.exception()


def _principal(row: KeyRow) -> Principal:
    return Principal(
        key_id=row.id,
        org=row.org,
        user=row.user,
        role=cast(Role, row.role),
        models=None if row.models is None else frozenset(row.models),
        concurrency=row.concurrency,
        keep_text=row.keep_text,
    )


@dataclass(frozen=True, slots=True)
class KeySpec:
    """What a new key should be. `models=None`: every model; `expires_at` in seconds since the epoch.

    `keep_text` opts the key's org in to keeping the text of prompts and answers; leaving it out opts nobody out.
    """

    org: str
    user: str
    role: Role = "inference"
    models: tuple[str, ...] | None = None
    concurrency: int | None = None
    expires_at: float | None = None
    name: str | None = None
    keep_text: bool = False


class KeyAdmin:
    """Making, listing and revoking keys."""

    def __init__(self, keys: KeyTable, *, clock: Clock) -> None:
        self._keys = keys
        self._clock = clock

    async def create(self, spec: KeySpec) -> tuple[KeyRow, str]:
        """A new key and its secret, which is shown here and never again."""
        now = self._clock.now()
        _check(spec, now)
        row, secret = _new_key(spec, now)
        await self._keys.add(row, org_id=_new_id("org"))
        return row, secret

    async def create_first(self) -> str | None:
        """The secret of the first admin key; None when there has been a key before, or another process was faster."""
        spec = KeySpec(org="default", user="admin", role="admin", name="first key")
        row, secret = _new_key(spec, self._clock.now())
        return secret if await self._keys.add_first(row, org_id=_new_id("org")) else None

    async def list(self) -> list[KeyRow]:
        """Every key ever made, newest first."""
        return await self._keys.all()

    async def revoke(self, key_id: str) -> bool:
        """Refuse this key from now on, on every gateway within a second; False when there is no such key."""
        if not KEY_ID.fullmatch(key_id):
            return False
        outcome = await self._keys.revoke(key_id, now=self._clock.now())
        if outcome == "last_admin":
            raise InvalidRequest(
                "This is the last admin key that works. Make another admin key first, then revoke this one.", param="id"
            )
        return outcome == "revoked"

    async def keep_text(self, org: str, keep: bool) -> None:
        """Whether records of an org keep the text of prompts and answers."""
        if not await self._keys.keep_text(org, keep):
            raise NotFound("No such org.", param="org")


def _new_key(spec: KeySpec, now: float) -> tuple[KeyRow, str]:
    secret = PREFIX + secrets.token_urlsafe(32)
    row = KeyRow(
        id=_new_id("key"),
        sha256=digest(secret),
        prefix=secret[: len(PREFIX) + 4],
        name=spec.name,
        org=spec.org,
        user=spec.user,
        role=spec.role,
        models=spec.models,
        concurrency=spec.concurrency,
        created_at=now,
        expires_at=spec.expires_at,
        keep_text=spec.keep_text,
    )
    return row, secret


def _new_id(kind: str) -> str:
    return f"{kind}_{secrets.token_hex(12)}"


def _check(spec: KeySpec, now: float) -> None:
    for field in ("org", "user"):
        if not NAME.fullmatch(getattr(spec, field)) or ".." in getattr(spec, field):
            raise InvalidRequest(
                f"{field} must be 1 to 63 characters of a-z, 0-9, '.', '_' and '-', start with a letter or a digit, "
                "and hold no '..'.",
                param=field,
            )
    if spec.role not in ROLES:
        raise InvalidRequest(f"role must be one of {', '.join(ROLES)}.", param="role")
    if spec.concurrency is not None and not 1 <= spec.concurrency <= 10_000:
        raise InvalidRequest("concurrency must be between 1 and 10000.", param="concurrency")
    if spec.expires_at is not None and not now < spec.expires_at < now + 100 * 365 * 86_400:
        raise InvalidRequest("expires_at must lie in the future, at most 100 years ahead.", param="expires_at")
    _check_texts(spec)


def _check_texts(spec: KeySpec) -> None:
    models = spec.models if spec.models is not None else ("any",)
    if not 1 <= len(models) <= MAX_MODELS or not all(_is_text(model) for model in models):
        raise InvalidRequest(
            f"models must hold 1 to {MAX_MODELS} model names; leave it out for every model.", param="models"
        )
    if spec.name is not None and not _is_text(spec.name):
        raise InvalidRequest(f"name must be 1 to {MAX_TEXT} printable characters.", param="name")


def _is_text(value: str) -> bool:
    return 0 < len(value) <= MAX_TEXT and value.isprintable()
