"""The adapters' part of docs/api.md: paths and fields, as `api_page.py` puts them onto the page."""

from __future__ import annotations

from serving.api.access import ADMIN
from serving.api.adapters import ENGINEERS

_ADAPTER, _VERSION = "/v1/adapters/{name}", "/v1/adapters/{name}/versions/{number}"

PATHS = (
    ("GET", "/v1/adapters", ENGINEERS, "The org's adapters with their versions and aliases."),
    ("POST", "/v1/adapters", ENGINEERS, "A new adapter without a version: 201."),
    ("GET", _ADAPTER, ENGINEERS, "One adapter."),
    ("DELETE", _ADAPTER, ENGINEERS, "Forget it, with its files; refused while replicas hold a version."),
    ("PUT", f"{_ADAPTER}/price", ENGINEERS, "What a million tokens cost."),
    ("GET", f"{_ADAPTER}/versions", ENGINEERS, "Its versions, newest first."),
    ("POST", f"{_ADAPTER}/versions", ENGINEERS, "Push a zip: 201, the checked version. The same files: the same one."),
    ("GET", _VERSION, ENGINEERS, "One version."),
    ("DELETE", _VERSION, ENGINEERS, "Forget it, with its files."),
    ("GET", f"{_VERSION}/content", ENGINEERS, "Its files, as a zip."),
    ("POST", f"{_VERSION}/scores", ENGINEERS, "How many examples of a suite it answered right."),
    ("POST", f"{_ADAPTER}/promote", ENGINEERS, "Load it on every replica, then move the alias; all or nothing."),
    (
        "POST",
        f"{_ADAPTER}/load",
        ENGINEERS,
        "Load a version everywhere to be called by its own name; no alias changes.",
    ),
    ("POST", f"{_ADAPTER}/canary", ENGINEERS, "Let a part of the callers try a version."),
    ("POST", f"{_ADAPTER}/rollback", ENGINEERS, "End a canary, or go back to the version before."),
    ("POST", f"{_ADAPTER}/retire", ENGINEERS, "Take the aliases away and unload every version."),
    ("GET", f"{_ADAPTER}/status", ENGINEERS, "Which replica holds what, in which slot, with its last error."),
    ("GET", f"{_ADAPTER}/audit", ENGINEERS, "Who did what, newest first."),
    ("GET", "/v1/aliases/{alias}", ENGINEERS, "Where a public name points."),
    ("PUT", "/v1/aliases/{alias}", ENGINEERS, "Point it to a version, or to two with weights."),
    ("POST", "/v1/load_lora_adapter", ADMIN, "vLLM's path: push a folder of the gateway's machine and promote it."),
    ("POST", "/v1/unload_lora_adapter", ADMIN, "vLLM's path: retire an adapter."),
)

FIELDS = (
    ("POST /v1/adapters", "`name`, `base` (a card), `price`"),
    (f"PUT {_ADAPTER}/price", "`price`: `input_micro_usd` and `output_micro_usd`, or null for the base's"),
    (
        f"POST {_ADAPTER}/versions",
        "`application/zip`; in the query `base` (for a new adapter), `job`, `data_digest`, `metrics.NAME`",
    ),
    (f"POST {_VERSION}/scores", "`suite`, `passed`, `count`"),
    (f"POST {_ADAPTER}/promote", "`version`, `alias` (the adapter's name unless given)"),
    (f"POST {_ADAPTER}/load", "`version`, `warm_s` (600 unless given): how long it stays, unless it is released"),
    (
        f"POST {_ADAPTER}/canary",
        "`version`, `weight` (percent), `alias`, `bounds`: `error_rate`, `latency_ratio`, `score`, `min_calls`",
    ),
    (f"POST {_ADAPTER}/rollback", "`alias`"),
    ("PUT /v1/aliases/{alias}", "`adapter`, `targets`: one or two of `version` and `weight`, live first"),
    ("POST /v1/load_lora_adapter", "`lora_name`, `lora_path`, `base_model_name`"),
)
"""Path, and what its body (or query) holds."""
