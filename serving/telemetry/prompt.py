"""A chat's messages as they came, for the record of an org that opted in. Owns their shape there and their bound.

Beside the flat `prompt_text`, which the router's labels are made of: it no longer tells who said what.
"""

from __future__ import annotations

from typing import Any

import orjson

from models.types import GenerationRequest

MOST_BYTES = 256 * 1024


def kept_messages(request: GenerationRequest) -> dict[str, Any] | None:
    """What `CallRecord.prompt_messages` holds: `messages`, and `tools` if there are any; None for no chat.

    Or `omitted`, which says why they are not there: longer than `MOST_BYTES` as JSON, or several answers were wanted,
    which the record's one `answer_text` cannot tell apart.
    """
    if request.kind != "chat":
        return None
    if request.n > 1:
        return {"omitted": "several answers"}
    kept = {name: request.body[name] for name in ("messages", "tools") if request.body.get(name) is not None}
    try:
        return kept if len(orjson.dumps(kept)) <= MOST_BYTES else {"omitted": "too long"}
    except TypeError:  # half a surrogate pair, or an integer of more than 64 bits: no training file could hold it
        return {"omitted": "not plain text"}
