"""The fields of generation requests, one row each: name → check. What has no row is refused by name.

Owns the tables and the checks between fields that chat and completions share. Does not own messages, tools or prompts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from models.errors import InvalidRequest
from models.types import TIERS
from serving.api.checks import (
    INT64_MAX,
    INT64_MIN,
    Check,
    boolean,
    integer,
    invalid,
    items,
    members,
    missing,
    number,
    one_of,
    string,
    unknown,
)
from serving.api.tools import check_response_format, check_structured_outputs

MAX_TOKENS = 2**31 - 1
MAX_LOGPROBS = 20
MAX_LOGIT_BIAS = 1024
MAX_METADATA = 16
# Fields that end in the gateway: the engine neither needs nor knows them.
OURS = frozenset(
    {"penstock", "metadata", "store", "service_tier", "modalities", "user", "best_of", "safety_identifier"}
    | {"prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"}
)

_TOKEN_ID = re.compile(r"[0-9]{1,8}")
_FEATURE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def shared_checks(max_n: int) -> dict[str, Check]:
    """The rows that chat and completions have in common."""
    return {
        "model": check_model,
        "frequency_penalty": number(-2, 2),
        "logit_bias": check_logit_bias,
        "max_tokens": integer(1, MAX_TOKENS),
        "metadata": check_metadata,
        "min_p": number(0, 1),
        "n": integer(1, max_n),
        "penstock": check_penstock,
        "presence_penalty": number(-2, 2),
        "repetition_penalty": number(0, 2, above_low=True),
        "response_format": check_response_format,
        "seed": integer(INT64_MIN, INT64_MAX),
        "stop": check_stop,
        "store": check_store,
        "stream": boolean,
        "stream_options": check_stream_options,
        "structured_outputs": check_structured_outputs,
        "temperature": number(0, 2),
        "top_k": integer(-1, 1_000_000),
        "top_p": number(0, 1, above_low=True),
        "user": string(512),
    }


def check_fields(body: Mapping[str, Any], checks: Mapping[str, Check], *, required: tuple[str, ...]) -> None:
    """Every field has a row and passes it; the first that does not is the error. null means not given."""
    for name in required:
        if body.get(name) is None:
            raise missing(name)
    for name, value in body.items():
        check = checks.get(name)
        if check is None:
            raise unknown(name)
        if value is not None:
            check(value, name)


def check_stream_agreement(body: Mapping[str, Any]) -> None:
    """Stream options belong to a stream."""
    if body.get("stream_options") is not None and not body.get("stream"):
        raise InvalidRequest("'stream_options' needs 'stream': true.", param="stream_options")


def engine_body(body: Mapping[str, Any]) -> dict[str, Any]:
    """What the engine gets: the request as sent, without our own fields and without fields that are null."""
    return {name: value for name, value in body.items() if value is not None and name not in OURS}


def check_model(value: Any, param: str) -> None:
    """A name; whether it exists is looked up by exact string, later."""
    if type(value) is not str or not value:
        raise invalid(param, "the name of a model")


def check_stop(value: Any, param: str) -> None:
    """One string, or up to four, of 1 to 256 characters each; the error names `stop` whichever is wrong."""
    strings = [value] if type(value) is str else value
    if type(strings) is not list or len(strings) > 4:
        raise invalid(param, "a string or an array of at most 4 strings")
    if not all(type(one) is str and 1 <= len(one) <= 256 for one in strings):
        raise invalid(param, "strings of 1 to 256 characters")


def check_logit_bias(value: Any, param: str) -> None:
    """Token ids, as strings, with a bias each."""
    if type(value) is not dict or len(value) > MAX_LOGIT_BIAS:
        raise invalid(param, f"an object of at most {MAX_LOGIT_BIAS} members")
    for token, bias in value.items():
        if not _TOKEN_ID.fullmatch(token):
            raise invalid(param, "token ids as keys")
        _BIAS(bias, param)


def check_metadata(value: Any, param: str) -> None:
    """Up to 16 pairs of short strings."""
    if type(value) is not dict or len(value) > MAX_METADATA:
        raise invalid(param, f"an object of at most {MAX_METADATA} members")
    for name, text in value.items():
        if not 1 <= len(name) <= 64 or type(text) is not str or len(text) > 512:
            raise invalid(param, "keys of 1 to 64 characters and strings of at most 512")


def check_stream_options(value: Any, param: str) -> None:
    """Whether the last chunk carries the usage. Events are never padded here, whatever is wished for."""
    members(value, param, checks={"include_usage": boolean, "include_obfuscation": boolean})


def check_store(value: Any, param: str) -> None:
    """false alone: an answer that should be kept would be looked for later."""
    if value is not False:
        raise invalid(param, "false: no answer is kept here")


def check_penstock(value: Any, param: str) -> None:
    """Our own object."""
    members(value, param, checks={"feature": _check_feature, "tier": one_of(*TIERS)})


def check_modalities(value: Any, param: str) -> None:
    """Text is what the models here answer with."""
    items(value, param, each=one_of("text"), most=1, least=1)


def _check_feature(value: Any, param: str) -> None:
    if type(value) is not str or not _FEATURE.fullmatch(value):
        raise invalid(param, "1 to 64 letters, digits, '.', '_' or '-'")


_BIAS: Check = number(-100, 100)
