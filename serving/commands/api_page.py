"""Writes docs/api.md: the HTTP surface from the gateway's own tables, with few words between them. Pure text.

Owns the order of the page and the words that no table holds. What a field takes and does is `api_fields.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType

from models.types import ROLES, Role
from serving.api.access import ADMIN, INFERENCE, METRICS, WATCHERS
from serving.api.chat import chat_checks
from serving.api.completions import completion_checks
from serving.api.errors import CODES, GENERIC
from serving.commands.api_adapters import FIELDS as ADAPTER_FIELDS
from serving.commands.api_adapters import PATHS as ADAPTER_PATHS
from serving.commands.api_fields import WHAT, FieldRow, field_rows
from serving.commands.api_files import FIELDS as FILE_FIELDS
from serving.commands.api_files import PATHS as FILE_PATHS
from serving.commands.api_tuning import FIELDS as TUNING_FIELDS
from serving.commands.api_tuning import PATHS as TUNING_PATHS
from serving.commands.docs import table
from serving.settings import HttpSettings, TimerSettings

NOBODY: frozenset[Role] = frozenset()
PATHS = (
    ("POST", "/v1/chat/completions", INFERENCE, "An answer to a conversation."),
    ("POST", "/v1/completions", INFERENCE, "The continuation of a prompt, or of several."),
    ("GET", "/v1/models", INFERENCE, "The names that this key may put into `model`, `auto` first."),
    ("GET", "/v1/models/{id}", INFERENCE, "One of them."),
    ("POST", "/v1/feedback", INFERENCE, "An opinion on an answer of the own org."),
    ("POST", "/v1/router/explain", INFERENCE, "Where a chat or a completion would go, and why. Nothing is generated."),
    (
        "GET",
        "/v1/router/status",
        WATCHERS,
        "The learned router: what is live, what it decided lately, drift, warnings.",
    ),
    *ADAPTER_PATHS,
    *FILE_PATHS,
    *TUNING_PATHS,
    ("GET", "/admin/keys", ADMIN, "Every key, without secrets."),
    ("POST", "/admin/keys", ADMIN, "Make a key: 201, its secret in `key`, this once."),
    ("DELETE", "/admin/keys/{id}", ADMIN, "Revoke a key: refused within a second on every gateway."),
    ("GET", "/metrics", METRICS, "The figures of this gateway and of the engines, for Prometheus."),
    ("GET", "/version", METRICS, "Which release runs."),
    ("GET", "/health", NOBODY, "The process is alive."),
    ("GET", "/ready", NOBODY, "Requests can be served; else 503, and `not_ready` lists what is missing."),
)
"""Method, path, the roles that it is open to (none: no key is asked for), what it does."""

FEEDBACK = (
    ("request_id", "a string of 1 to 64 characters", "**Required.** `x-request-id` of the answer."),
    ("rating", "one of 'up', 'down'", "**Required.**"),
    ("comment", "a string of 0 to 4096 characters", "In words."),
    ("corrected", "a string of 0 to 65536 characters", "What the answer should have been."),
)
KEYS = (
    ("org", "a string of 1 to 128 characters", "**Required.** Who pays: a-z, 0-9, `.`, `_`, `-`, at most 63."),
    ("user", "a string of 1 to 128 characters", "**Required.** Who calls; as `org`."),
    ("name", "a string of 1 to 128 characters", "What the key is for."),
    ("role", "one of 'inference', 'engineer', 'metrics', 'admin'", "`inference` unless set."),
    ("models", "an array of 1 to 64 items", "Names that it may put into `model`; `auto` is one. Unset: all."),
    ("expires_at", "a number from 0 to 9007199254740992", "Seconds since the epoch."),
    (
        "concurrency",
        "an integer from 1 to 10000",
        "Most generations (`n` for each prompt) at a time, split over the gateways. One call may be all of it.",
    ),
)
"""Field, what it takes, what it is. Tests send wrong values and compare."""

HEADERS = (
    ("x-request-id", "every answer", "The client's own, if it is 1 to 64 letters, digits and `-`; else one of ours."),
    ("x-penstock-model", "chat, completions", "The card that answers."),
    ("x-penstock-tier", "chat, completions", "Its tier."),
    (
        "x-penstock-route",
        "chat, completions",
        "Policy and reason of the choice, at most 120 characters; `default` where no policy could choose.",
    ),
    ("x-penstock-attempts", "chat, completions", "Engines that were tried, all before the first byte."),
    ("x-penstock-adapter-version", "chat, completions", "The version of the adapter that answers, where one does."),
    ("x-penstock-fallback", "chat, completions", "`1` where the first card of the plan did not answer."),
    ("retry-after", "429, 503", "Seconds, 1 to 120."),
    ("www-authenticate", "401", "`Bearer`."),
    ("allow", "405", "The methods that the path takes."),
)

REFUSED = (
    *("cache_salt", "priority", "lora_request", "chat_template", "chat_template_kwargs", "kv_transfer_params"),
    *("prompt_embeds", "request_id"),
)
"""Fields of engines that are never the client's."""

MEANINGS = MappingProxyType(
    {
        "invalid_json": "The body is no JSON object: UTF-8, no BOM, no duplicate keys, no NaN, not too deep.",
        "invalid_value": "A field has a value that it does not take; `param` names it.",
        "missing_required_parameter": "A required field is not there, or null.",
        "unknown_parameter": "A field that nobody reads.",
        "context_length_exceeded": "Prompt and answer are longer than the model's context.",
        "adapter_invalid": "What was sent cannot be an adapter of its base; `param` names the file, field or tensor.",
        "already_exists": "The name is taken, or the same thing is being done by another call.",
        "file_in_use": "Replicas hold the adapter: retire it first. Or a job reads the file.",
        "upload_incomplete": "The body did not arrive in time, or not all of it.",
        "ambiguous_credentials": "Two credentials.",
        "invalid_host": "No Host, two, a malformed one, or one that is not served here.",
        "invalid_api_key": "No key, or one that is unknown, expired or revoked.",
        "insufficient_permissions": "The key's role does not admit the path.",
        "model_not_found": "No such model, or not for this key: the same answer.",
        "not_found": "No such thing, or another org's: the same answer.",
        "unknown_url": "No such path.",
        "method_not_allowed": "The path does not take this method.",
        "request_too_large": "The body is too long.",
        "uri_too_long": "The request target is too long.",
        "unsupported_media_type": "The body is not `application/json` in UTF-8, or compressed.",
        "headers_too_large": "Too many header fields, or too long ones.",
        "rate_limit_exceeded": "The key runs as many calls as it may.",
        **{
            code: words for code, words in GENERIC.items() if code not in ("guardrail_unavailable", "index_unavailable")
        },
    }
)
"""The codes that can be met, in words; those of the table that are not here wait for what will raise them."""

IN_STREAMS = ("upstream_lost", "upstream_stalled")
"""Codes that come in an error frame only: the status has left already."""

NOT_YET = (
    *("/v1/embeddings", "/v1/responses", "/v1/batches", "/v1/vector_stores"),
    *("/v1/moderations", "/v1/rerank", "/v1/score", "/tokenize"),
)
"""Paths that are planned and answer `unknown_url`."""

PAGE = """# HTTP API

*Written by `penstock config docs` from the gateway's own tables; tests compare. Do not edit.*

OpenAI's API at `http://HOST:PORT/v1`: the unpatched SDK works. Every call but the two open ones carries
`Authorization: Bearer KEY`; a key in another header or in the query counts as none, and beside a bearer token as
ambiguous. What HAProxy answers before a request reaches the gateway is in [architecture.md](architecture.md); limits
that a stack can change are in [configuration.md](configuration.md).

## Paths

{paths}

## Requests

A body is one JSON object in UTF-8, `application/json`, not compressed, at most {body:,} bytes and {depth} levels deep,
and arrives within {arrival:g} s. Types are strict: `"0.5"`, `true` and `1.0` are no integers. null means not given.
`traceparent` is kept in the record and passed to the engine; `Idempotency-Key` is not read. `x-penstock-session` (or
`x-session-id`, where it fits) names a conversation with 1 to 256 printable characters and no space; without it a chat's
messages up to the first of the user do. Within a conversation the tier that `auto` finds may rise and does not fall.

What is not in these tables is refused as `unknown_parameter`, also what engines know:
{refused}.
OpenAI's fields that nothing here can honour are refused as `invalid_value`:
{unsupported}.

### Chat and completions

{both}

### Chat alone

{chat}

### Completions alone

{completions}

### Feedback

{feedback}

### Explanations

The body of a chat or of a completion, as it would be sent; `model` may be left out and is `auto` then. The answer has
`route`, `attempts`, `dropped`, `contributions` (points of a rule) or `reading` (scores of a trained model, its version
and threshold), and for the roles `engineer` and `admin` the `nearest` labelled prompts.

### Adapters

Names have 1 to 63 characters of a-z, 0-9, `.`, `_`, `-`, and no `..`. Everything is the own org's: another's
is not found. [adapters.md](adapters.md) tells the story.

{adapters}

### Files

JSON lines for fine-tuning: OpenAI's `file`. A file has at most `fine_tuning.max_file_bytes`; the name is kept as text.
What is wrong is told by the number of its line, never by its text.

{files}

### Fine-tuning jobs

Objects are OpenAI's; everything is the own org's. A job that runs shows `running` after its cancel until the worker
obeys, and `penstock.wanted` says so; OpenAI shows `cancelled` at once. The story is in
[fine-tuning.md](fine-tuning.md).

{jobs}

### Keys

{keys}

## Answers

{headers}

A whole answer is the engine's JSON, its `model` the card that answered, or for an adapter its version's own name, which
may be asked for as well. An entry of `/v1/models` has `id`, `object`,
`created`, `owned_by`, `parent` (an adapter's base) and `tier`.

**Streams.** Events `data: {{json}}`, the last one `data: [DONE]`. With `stream_options.include_usage` the one before it
has `choices: []` and `usage`. After {keep_alive:g} s of silence comes a comment, `: keep-alive`. An error before the
first byte is an HTTP status. After it, it is one event `data: {{"error": …}}`; then the connection closes, without
`[DONE]`. A stream that ends in any other way was cut on its way. A client that reads nothing for {stall:g} s is closed,
one that leaves frees the engine.

## Errors

Always `{{"error": {{"message", "type", "param", "code"}}}}`. From 500 on the messages are these; what happened is in
the log, under the `x-request-id`.

{errors}

Reserved for what is not there yet:
{reserved}.

## What is not there yet

The headers `x-ratelimit-…` and `x-penstock-{{cost-usd,trace,cache}}`, and the paths
{not_yet}. They answer 404 `unknown_url`.
"""


def api_page(http: HttpSettings | None = None, timers: TimerSettings | None = None) -> str:
    """The whole page, ending in a newline, with the limits of these settings (the defaults)."""
    http, timers = http or HttpSettings(), timers or TimerSettings()
    chat, completions = field_rows(chat_checks(http)), field_rows(completion_checks(http))
    unsupported = sorted({f"`{row.path}`{row.instead}" for row in (*chat, *completions) if not row.is_supported})
    return PAGE.format(
        paths=table(("method", "path", "roles", "what it does"), map(_path, PATHS)),
        body=http.max_body_bytes,
        depth=http.max_json_depth,
        arrival=timers.body_s,
        refused=_names(REFUSED),
        unsupported=", ".join(unsupported),
        both=_fields(row for row in chat if row in completions),
        chat=_fields(row for row in chat if row not in completions),
        completions=_fields(row for row in completions if row not in chat),
        feedback=_given(FEEDBACK),
        adapters=table(("path", "its body"), ((f"`{path}`", body) for path, body in ADAPTER_FIELDS)),
        jobs=_given(TUNING_FIELDS),
        files=table(("path", "its body or query"), ((f"`{path}`", body) for path, body in FILE_FIELDS)),
        keys=_given(KEYS),
        headers=table(("header", "of", "what it is"), ((f"`{name}`", *cells) for name, *cells in HEADERS)),
        keep_alive=timers.keep_alive_s,
        stall=timers.write_stall_s,
        errors=table(("status", "type", "code", "what it means"), map(_error, MEANINGS)),
        reserved=_names(code for code in CODES if code not in MEANINGS),
        not_yet=_names(NOT_YET),
    )


def _path(row: tuple[str, str, frozenset[Role], str]) -> tuple[str, str, str, str]:
    method, path, roles, what = row
    return method, f"`{path}`", ", ".join(role for role in ROLES if role in roles) or "*open*", what


def _fields(rows: Iterable[FieldRow]) -> str:
    cells = ((f"`{row.path}`", row.takes, WHAT[row.path]) for row in rows if row.is_supported)
    return table(("field", "takes", "what it does"), cells)


def _given(rows: Iterable[tuple[str, str, str]]) -> str:
    return table(("field", "takes", "what it is"), ((f"`{name}`", *cells) for name, *cells in rows))


def _error(code: str) -> tuple[str, str, str, str]:
    status, kind = CODES[code]
    return "*in a stream*" if code in IN_STREAMS else str(status), f"`{kind}`", f"`{code}`", MEANINGS[code]


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
