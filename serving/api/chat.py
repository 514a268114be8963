"""POST /v1/chat/completions: wire JSON → `GenerationRequest`. Does not own HTTP: `generation.py` reads and answers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from models.errors import InvalidRequest
from models.types import GenerationRequest
from serving.api.checks import Check, boolean, integer, members, one_of, string, unsupported
from serving.api.generation_request import Arrival, generation_request
from serving.api.messages import check_messages, text_of
from serving.api.parameters import (
    MAX_LOGPROBS,
    MAX_TOKENS,
    check_fields,
    check_modalities,
    check_stream_agreement,
    shared_checks,
)
from serving.api.tools import check_agreement, check_tool_choice, check_tools
from serving.settings import HttpSettings

# OpenAI's fields that would change the answer and that no engine here can honour.
_UNSUPPORTED: Mapping[str, Check] = MappingProxyType(
    {
        "audio": unsupported("Models here answer with text."),
        "function_call": unsupported("Use 'tool_choice'."),
        "functions": unsupported("Use 'tools'."),
        "moderation": unsupported(),
        "prediction": unsupported(),
        "verbosity": unsupported("Say in a message how long the answer should be."),
        "web_search_options": unsupported(),
    }
)


def chat_checks(limits: HttpSettings) -> dict[str, Check]:
    """Every field of a chat request."""
    return shared_checks(limits.max_n) | {
        **_UNSUPPORTED,
        "messages": partial(check_messages, most=limits.max_messages),
        "logprobs": boolean,
        "max_completion_tokens": integer(1, MAX_TOKENS),
        "modalities": check_modalities,
        "parallel_tool_calls": boolean,
        "prompt_cache_key": string(512),
        "prompt_cache_options": _check_cache_options,
        "prompt_cache_retention": one_of("in_memory", "in-memory", "24h"),
        "reasoning_effort": one_of("none", "minimal", "low", "medium", "high", "xhigh", "max"),
        "safety_identifier": string(512),
        "service_tier": one_of("auto", "default"),
        "tool_choice": check_tool_choice,
        "tools": check_tools,
        "top_logprobs": integer(0, MAX_LOGPROBS),
    }


class ChatReader:
    """Checks a chat body and turns it into the request that the pipeline takes."""

    def __init__(self, limits: HttpSettings) -> None:
        self._checks = chat_checks(limits)

    def read(self, body: Mapping[str, Any], arrival: Arrival) -> GenerationRequest:
        """The request; the first thing wrong with it is the error."""
        check_fields(body, self._checks, required=("model", "messages"))
        check_stream_agreement(body)
        check_agreement(body)
        _check_numbers_agree(body)
        return generation_request(body, arrival, kind="chat", text=text_of(body["messages"]))


def _check_cache_options(value: Any, param: str) -> None:
    """Wishes about OpenAI's prompt cache. The engines' own needs none: a prefix that is in memory is used."""
    members(value, param, checks={"mode": one_of("implicit", "explicit"), "ttl": one_of("30m")})


def _check_numbers_agree(body: Mapping[str, Any]) -> None:
    if body.get("top_logprobs") and not body.get("logprobs"):
        raise InvalidRequest("'top_logprobs' needs 'logprobs': true.", param="top_logprobs")
    older, newer = body.get("max_tokens"), body.get("max_completion_tokens")
    if older is not None and newer is not None and older != newer:
        raise InvalidRequest("'max_tokens' and 'max_completion_tokens' disagree.", param="max_tokens")
