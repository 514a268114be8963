"""What a running stack says of itself over HTTP, for `penstock status`."""

from __future__ import annotations

from typing import Any

import httpx2

TIMEOUT_S = 5.0


def engines_of(url: str) -> dict[str, Any]:
    """The readiness report of the gateway; a gateway that does not answer is part of the answer."""
    try:
        answer = httpx2.get(f"{url}/ready", timeout=TIMEOUT_S, trust_env=False)
        body = answer.json()
    except (httpx2.HTTPError, ValueError) as error:
        return {"ready": False, "reason": f"the gateway does not answer: {type(error).__name__}"}
    return {"ready": answer.status_code == 200, "report": body}
