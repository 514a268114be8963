"""The model card: everything the catalog knows of one base model, as data.

Owns the fields, their units and the checks that need nothing but the card. Does not own what a card costs on a named
machine (`memory`), what is impossible there (`rules`), or where its files lie (`store`).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints, field_validator, model_validator

from models.config import Frozen
from models.types import Tier

CARD_ID = r"^[a-z0-9][a-z0-9._-]{0,62}$"

QuantizationMethod = Literal["none", "awq", "gptq", "fp8", "bitsandbytes", "compressed-tensors"]

# The engine gets these from fields of the card, from the store or from the stack itself.
OWNED_ARGUMENTS = frozenset(
    {
        "model",
        "tokenizer",
        "revision",
        "tokenizer_revision",
        "code_revision",
        "served_model_name",
        "trust_remote_code",
        "hf_token",
        "max_model_len",
        "quantization",
        "enable_lora",
        "max_lora_rank",
        "max_loras",
        "max_cpu_loras",
        "worker_extension_cls",
        "enable_auto_tool_choice",
        "tool_call_parser",
    }
)


def _no_way_up(value: str) -> str:
    if ".." in value:
        raise ValueError("may not hold '..'")
    return value


HubRepo = Annotated[str, StringConstraints(pattern=r"^[\w.-]+/[\w.-]+$"), AfterValidator(_no_way_up)]
Commit = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]


class LocalSource(Frozen):
    """A folder on this machine; a relative path starts at the `models` package, where the demo tiers lie."""

    kind: Literal["local"]
    path: str = Field(min_length=1, description="Absolute folder, or one relative to the `models` package.")


class HubSource(Frozen):
    """One commit of a repository of the model hub."""

    kind: Literal["hub"]
    repo: HubRepo = Field(description="Owner and name.")
    revision: Commit = Field(description="The commit; a branch may move under a running stack.")


class S3Source(Frozen):
    """A folder in an object store, fixed by the digest of what it holds."""

    kind: Literal["s3"]
    url: str = Field(pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^/]+)+$", description="Bucket and prefix.")
    digest: str = Field(
        pattern=r"^sha256:[0-9a-f]{64}$",
        description="SHA-256 of the folder's `sha256sum` listing, sorted by name.",
    )


Source = Annotated[LocalSource | HubSource | S3Source, Field(discriminator="kind")]


class Quantization(Frozen):
    """How the weights are stored."""

    method: QuantizationMethod = "none"
    block: int = Field(1, ge=1, description="Weights in a row that share one scale; a shard may not cut through it.")


class Architecture(Frozen):
    """The facts of the checkpoint's `config.json` that the rules need."""

    num_layers: int = Field(ge=1)
    hidden_size: int = Field(ge=1)
    num_heads: int = Field(ge=1)
    num_kv_heads: int = Field(ge=1)
    head_dim: int = Field(ge=1)
    intermediate_size: int = Field(ge=1, description="Of one expert, where there are experts.")
    num_experts: int = Field(1, ge=1)
    vocab_size: int = Field(ge=1)
    max_position: int = Field(ge=1, description="Longest context that the checkpoint was made for, in tokens.")
    dtype_bytes: int = Field(2, ge=1, le=4, description="Of one activation, and of one value in the KV cache.")

    @model_validator(mode="after")
    def _heads_share_kv_heads(self) -> Architecture:
        if self.num_heads % self.num_kv_heads:
            raise ValueError(f"num_kv_heads: {self.num_heads} heads cannot share {self.num_kv_heads} KV heads evenly")
        return self


class Price(Frozen):
    """What a million tokens cost, in micro-USD: 1 USD is 1,000,000. Whole numbers, so that sums are exact."""

    input_micro_usd: int = Field(ge=0, description="Per million prompt tokens.")
    output_micro_usd: int = Field(ge=0, description="Per million answer tokens.")


class Lora(Frozen):
    """The adapters that one replica can hold. `enabled: false` starts the engine without LoRA."""

    enabled: bool = True
    max_rank: int = Field(16, ge=1, description="Largest rank of an adapter.")
    max_loras: int = Field(4, ge=1, description="Adapters in one batch; each takes a slot of memory.")
    max_cpu_loras: int = Field(
        32, ge=1, description="Adapters in host memory, at least `max_loras`. Others are read from disk when called."
    )

    @model_validator(mode="after")
    def _memory_holds_the_slots(self) -> Lora:
        if self.max_cpu_loras < self.max_loras:
            raise ValueError(f"max_cpu_loras: {self.max_cpu_loras} are fewer than the {self.max_loras} of max_loras")
        return self


class ModelCard(Frozen):
    """What the catalog knows of one base model."""

    id: str = Field(pattern=CARD_ID, description="The name that clients and profiles use.")
    description: str = Field(min_length=1)
    source: Source
    tier: Tier = Field(description="The quality level this model was chosen for; a profile has the last word.")
    licence: str = Field(min_length=1, description="SPDX identifier, or the name of the licence.")
    parameters: int = Field(ge=1, description="Weights, counted.")
    weight_bytes: int = Field(ge=1, description="Size of the weight files.")
    architecture: Architecture
    quantization: Quantization = Field(default_factory=Quantization)
    context: int = Field(ge=1, description="Longest prompt and answer together, in tokens.")
    price: Price
    lora: Lora = Field(default_factory=Lora)
    tool_parser: str | None = Field(
        None,
        description="vLLM's parser of the model's tool calls. Without one, no tool is called and none may be required.",
    )
    engine_args: dict[str, Any] = Field(default_factory=dict, description="Further vLLM engine arguments.")

    @field_validator("id")
    @classmethod
    def _no_double_dot(cls, value: str) -> str:
        return _no_way_up(value)

    @field_validator("engine_args")
    @classmethod
    def _leaves_owned_arguments_alone(cls, value: dict[str, Any]) -> dict[str, Any]:
        if owned := OWNED_ARGUMENTS & value.keys():
            raise ValueError(f"{sorted(owned)[0]!r} is set from the card's own fields or by the stack")
        return value
