"""Who calls: the one place that takes a credential out of a request, and the one that asks what its role may do.

Owns extraction and roles. Does not own keys (`serving/tenancy`). Every route but /health and /ready goes through here.
"""

from __future__ import annotations

from urllib.parse import parse_qsl

from starlette.types import Scope

from models.errors import InvalidKey, InvalidRequest, PermissionDenied
from models.types import Principal, Role
from serving.api.call import call_of
from serving.api.deps import Keys

INFERENCE: frozenset[Role] = frozenset({"inference", "engineer", "admin"})
METRICS: frozenset[Role] = frozenset({"metrics", "admin"})
WATCHERS: frozenset[Role] = frozenset({"engineer", "metrics", "admin"})
ADMIN: frozenset[Role] = frozenset({"admin"})

_OTHER_HEADERS = frozenset({b"x-api-key", b"api-key"})
_QUERY_NAMES = frozenset({"api_key", "api-key", "apikey", "key", "access_token", "token"})


async def authorize(scope: Scope, keys: Keys, *, roles: frozenset[Role]) -> Principal:
    """The caller, if its key is good and its role is one of `roles`; the record learns who it is."""
    caller = await keys.find(secret(scope))
    if caller is None:
        raise InvalidKey("The API key is not valid.")
    record = call_of(scope).record
    if record is not None:
        record.org, record.user, record.key_id = caller.org, caller.user, caller.key_id
    if caller.role not in roles:
        raise PermissionDenied("The role of this API key does not admit this path.")
    return caller


def secret(scope: Scope) -> str:
    """The bearer token. Another style of credential beside it is ambiguous, and alone it counts as none."""
    sent = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(sent) > 1 or (sent and _other_credential(scope)):
        raise InvalidRequest("Send one credential: 'Authorization: Bearer KEY'.", code="ambiguous_credentials")
    scheme, _, token = (sent[0] if sent else b"").strip().partition(b" ")
    token = token.strip()
    if scheme.lower() != b"bearer" or not token or not _is_token(token):
        raise InvalidKey("An API key is needed: 'Authorization: Bearer KEY'.")
    return token.decode("ascii")


def _other_credential(scope: Scope) -> bool:
    if any(name in _OTHER_HEADERS for name, _ in scope["headers"]):
        return True
    query = scope.get("query_string", b"")
    return bool(query) and any(name.lower() in _QUERY_NAMES for name, _ in parse_qsl(query.decode("latin-1")))


def _is_token(value: bytes) -> bool:
    return value.isascii() and value.decode("ascii").isprintable()
