"""Finding the server under test before anything is measured: does it answer, is the key good, which model.

Also the first request of a suite, so that one that this server refuses is a sentence and not a run of errors.
"""

from __future__ import annotations

from typing import Any

import httpx2

from benchmarks.calls import Address, message_of
from benchmarks.many_models import ManyModels
from models.errors import ConfigurationError, InvalidKey, Unavailable

PATIENCE_S = 30.0


class Refused(ConfigurationError):
    """The target answers, but not what the suite asks."""

    default_code = "suite_refused"


def reach(url: str, *, key: str | None, model: str | None, api: str, many: ManyModels | None = None) -> Address:
    """The target as an address; without a model it is the first one that it lists, or with `many` all that fit."""
    base = (url if "://" in url else f"http://{url}").rstrip("/").removesuffix("/v1")
    if "@" in base:
        raise ConfigurationError("An address holds no secret here, because it is written down. Use --key.")
    if many is not None and model is not None:
        raise ConfigurationError(f"This suite asks for every model like {many.like!r}. Leave --model out.")
    answer = _call(Address(base, model or "", key), f"{base}/v1/models")
    if many is not None:
        return Address(base, many.like, key, api, many.among(_listed(answer)))
    if model is None:
        model = next(iter(_listed(answer)), None)
    if model is None:
        raise Refused(f"{base!r} does not list its models. Name one with --model.")
    return Address(base, model, key, api)


def require_answer(address: Address, body: dict[str, Any]) -> None:
    """Send one request of the suite, whole and short, and raise what the server says against it."""
    short = {name: value for name, value in body.items() if name not in ("stream_options", "min_tokens")}
    answer = _call(address, address.endpoint, body={**short, "max_tokens": 1, "stream": False})
    if not answer.is_success:
        raise Refused(f"The target refuses this suite: {message_of(answer.text)} (status {answer.status_code}).")


def _listed(answer: httpx2.Response) -> list[str]:
    """The names of a model list; none where it is in another shape."""
    try:
        return [str(entry["id"]) for entry in answer.json()["data"]]
    except (ValueError, KeyError, TypeError):
        return []


def _call(address: Address, url: str, *, body: dict[str, Any] | None = None) -> httpx2.Response:
    method = "GET" if body is None else "POST"
    try:
        answer = httpx2.request(method, url, json=body, headers=address.headers, timeout=PATIENCE_S)
    except httpx2.InvalidURL as error:
        raise ConfigurationError(f"{address.url!r} is no address.", detail=str(error)) from error
    except httpx2.HTTPError as error:
        raise Unavailable(f"Nothing answers at {address.url!r}.", detail=str(error) or type(error).__name__) from error
    if answer.status_code in (401, 403):
        raise InvalidKey(f"The target refuses the key: {message_of(answer.text)}")
    return answer
