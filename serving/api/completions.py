"""POST /v1/completions: wire JSON → `GenerationRequest`. Does not own HTTP: `generation.py` reads and answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.errors import InvalidRequest
from models.types import GenerationRequest
from serving.api.checks import Check, boolean, integer, invalid, unsupported
from serving.api.generation_request import Arrival, generation_request
from serving.api.parameters import (
    MAX_LOGPROBS,
    MAX_TOKENS,
    check_fields,
    check_stream_agreement,
    shared_checks,
)
from serving.api.tools import check_agreement
from serving.settings import HttpSettings

MAX_PROMPTS = 1024
MAX_CHOICES = 1024
# Above the vocabulary of every open-weight model; the exact bound is the engine's, which knows its own.
MAX_TOKEN_ID = 10_000_000


def completion_checks(limits: HttpSettings) -> dict[str, Check]:
    """Every field of a completion request."""
    return shared_checks(limits.max_n) | {
        "best_of": integer(1, limits.max_n),
        "echo": boolean,
        "logprobs": integer(0, MAX_LOGPROBS),
        "max_tokens": integer(0, MAX_TOKENS),
        "prompt": check_prompt,
        "suffix": unsupported(),
    }


class CompletionReader:
    """Checks a completion body and turns it into the request that the pipeline takes."""

    def __init__(self, limits: HttpSettings) -> None:
        self._checks = completion_checks(limits)

    def read(self, body: Mapping[str, Any], arrival: Arrival) -> GenerationRequest:
        """The request; the first thing wrong with it is the error."""
        check_fields(body, self._checks, required=("model", "prompt"))
        check_stream_agreement(body)
        check_agreement(body)
        if body.get("max_tokens") == 0 and not body.get("echo"):
            raise InvalidRequest("'max_tokens' may be 0 only with 'echo': true.", param="max_tokens")
        n = body.get("n") or 1
        if n * _prompt_count(body["prompt"]) > MAX_CHOICES:
            raise InvalidRequest(f"'n' times the number of prompts must not exceed {MAX_CHOICES}.", param="n")
        best_of = body.get("best_of")
        if best_of is not None and best_of != n:
            raise InvalidRequest("'best_of' must equal 'n': every choice is returned.", param="best_of")
        return generation_request(body, arrival, kind="completion", text=prompt_text(body["prompt"]))


def check_prompt(value: Any, param: str) -> None:
    """A text, token ids, or a list of either; none of them empty."""
    if type(value) not in (str, list) or not value:
        raise invalid(param, "a text, an array of texts, or arrays of token ids; not empty")
    if type(value) is list and type(value[0]) is int:
        _check_token_ids(value, param)
    elif type(value) is list:
        _check_prompts(value, param)


def _prompt_count(prompt: Any) -> int:
    """One for a text or its token ids, else how many of either."""
    return len(prompt) if type(prompt) is list and type(prompt[0]) is not int else 1


def prompt_text(prompt: Any) -> str:
    """The prompt's own words; token ids have none here."""
    if isinstance(prompt, str):
        return prompt
    return "\n".join(item for item in prompt if isinstance(item, str))


def _check_prompts(prompts: list[Any], param: str) -> None:
    if len(prompts) > MAX_PROMPTS:
        raise invalid(param, f"at most {MAX_PROMPTS} prompts")
    for prompt in prompts:
        if type(prompt) not in (str, list) or type(prompt) is not type(prompts[0]) or not prompt:
            raise invalid(param, "texts or arrays of token ids, all of one type; not empty")
        if type(prompt) is list:
            _check_token_ids(prompt, param)


def _check_token_ids(ids: list[Any], param: str) -> None:
    for token in ids:
        if type(token) is not int or not 0 <= token <= MAX_TOKEN_ID:
            raise invalid(param, "token ids of the model's vocabulary")
