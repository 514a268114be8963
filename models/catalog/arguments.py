"""From a card to the engine's keyword arguments. Pure: knows no path, no machine and no vLLM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.catalog.schema import ModelCard

# A profile may tune an engine. What it runs, under which name, and whether it runs code of the checkpoint, it may not.
FORBIDDEN_OVERRIDES = frozenset(
    {
        "model",
        "tokenizer",
        "revision",
        "tokenizer_revision",
        "code_revision",
        "served_model_name",
        "trust_remote_code",
        "hf_token",
        "quantization",
        "worker_extension_cls",
    }
)


def engine_arguments(card: ModelCard, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """vLLM's engine arguments for a card, without `model`: the store knows that path. The overrides win."""
    return {**_from_card(card), **card.engine_args, **(overrides or {})}


def _from_card(card: ModelCard) -> dict[str, Any]:
    arguments: dict[str, Any] = {"max_model_len": card.context, "trust_remote_code": False}
    if card.quantization.method != "none":
        arguments["quantization"] = card.quantization.method
    if card.lora.enabled:
        arguments |= {
            "enable_lora": True,
            "max_lora_rank": card.lora.max_rank,
            "max_loras": card.lora.max_loras,
            "max_cpu_loras": card.lora.max_cpu_loras,
        }
    if card.tool_parser is not None:
        arguments |= {"enable_auto_tool_choice": True, "tool_call_parser": card.tool_parser}
    return arguments
