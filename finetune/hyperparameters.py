"""Hyperparameters: what a job may ask for, the bounds, and the rule behind every number that was left open.

Owns names, bounds and defaults. Does not train, and does not know the wire beyond the names of the fields. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal

from pydantic import Field

from finetune.order import Hyperparameters, Recipe
from models.config import Frozen
from models.errors import InvalidRequest

Auto = Literal["auto"]
Check = Callable[[Any], str | None]
"""What a value has to be, in words, where it is not; else None."""

PARAM = "hyperparameters"
ECHO = 64  # characters of a caller's text that an error repeats
MOST_MODULES = 32
LOOKS = 10  # at the validation set, over a whole training
LONGEST = 8_192  # tokens: what is cut beyond it would need gigabytes of activations
STEPS = 500
"""Optimizer steps that a training of few examples comes to: measured on the demo task, see docs/fine-tuning.md."""


class Asked(Frozen):
    """What was asked for; `auto` is for us to choose. OpenAI's fields first, then ours. `recipe` is the method's."""

    recipe: Recipe = "lora_sft"
    n_epochs: int | Auto = Field("auto", description="Passes over the data.")
    batch_size: int | Auto = Field("auto", description="Examples of one optimizer step.")
    learning_rate_multiplier: float | Auto = Field("auto", description="Times the rate that we choose.")
    learning_rate: float | Auto = Field("auto", description="Highest rate; instead of a multiplier.")
    lora_rank: int | Auto = "auto"
    lora_alpha: float | Auto = "auto"
    lora_dropout: float | Auto = "auto"
    target_modules: tuple[str, ...] | Auto = "auto"
    use_dora: bool = False
    use_rslora: bool = False
    quantization: Literal["none", "nf4"] | Auto = "auto"
    max_length: int | Auto = Field("auto", description="Tokens of one example; what is longer is cut.")
    packing: bool | Auto = "auto"
    warmup_ratio: float | Auto = "auto"
    weight_decay: float | Auto = "auto"
    beta: float | Auto = Field("auto", description="DPO's strength.")
    checkpoint_every: int | Auto = Field("auto", description="Optimizer steps between two checkpoints.")
    evaluate_every: int | Auto = Field("auto", description="Optimizer steps between two looks at the validation set.")
    patience: int | Auto = Field("auto", description="Looks without a better loss after which it ends.")


def asked(values: Any, *, recipe: Recipe, param: str = PARAM, served: bool = True) -> Asked:
    """A caller's hyperparameters, checked; null stands for `auto`. `served`: the adapter is for our engines.

    Raises `InvalidRequest` with the field's path as `param`: unknown fields, wrong types, values out of bounds.
    """
    if values is None:
        return Asked(recipe=recipe)
    if type(values) is not dict:
        raise _invalid(param, "an object")
    given = {}
    for name, value in values.items():
        path = f"{param}.{str(name)[:ECHO]}"
        if name not in CHECKS:
            raise InvalidRequest(f"Unknown parameter: '{path}'.", code="unknown_parameter", param=path)
        if value is None or value == "auto":
            continue
        if (expected := CHECKS[name](value)) is not None:
            raise _invalid(path, f"{expected}, or 'auto'")
        given[name] = tuple(value) if name == "target_modules" else value
    _require_together(given, recipe, param=param, served=served)
    return Asked(recipe=recipe, **given)


def resolved(
    asked: Asked, *, examples: int, trained_tokens: int, parameters: int, modules: tuple[str, ...], context: int
) -> tuple[Hyperparameters, list[str]]:
    """Every number of the training, and a sentence for each that was ours to choose.

    `examples` and `trained_tokens` (of one pass, padding aside) are the training file's; `parameters` and `context`
    (tokens) the base's; `modules` those that its engine adapts. Raises `InvalidRequest` for a module that it does not,
    or a length beyond the context.
    """
    choice = _Choice(asked)
    batch = choice("batch_size", _batch_size(examples), "an eighth of the examples at most, and 4 to 32")
    per_epoch = math.ceil(examples / batch)
    epochs = choice(
        "n_epochs",
        min(20, max(2, math.ceil(STEPS / per_epoch))) if asked.recipe != "dpo" else min(10, max(1, 150 // per_epoch)),
        f"{per_epoch} steps are one pass over {examples:,} examples ({trained_tokens:,} tokens)",
    )
    steps = per_epoch * epochs
    rank = choice("lora_rank", 16, "rank 16 is enough for a task of its own")
    scale = math.sqrt(rank) if asked.use_rslora else rank
    alpha = choice("lora_alpha", 2.0 * scale, "an adapter counts twice, whatever its rank")
    values = {
        "n_epochs": epochs,
        "batch_size": batch,
        "lora_rank": rank,
        "lora_alpha": alpha,
        "learning_rate": _learning_rate(asked, parameters, rules=choice.rules),
        "max_length": _max_length(asked, context, rules=choice.rules),
        "target_modules": _modules(asked, modules, rules=choice.rules),
        "lora_dropout": choice("lora_dropout", 0.0, "early stopping guards against learning by heart"),
        "packing": choice("packing", asked.recipe != "dpo", "pairs are not packed, single examples are"),
        "warmup_ratio": choice("warmup_ratio", 0.05, "a twentieth of the steps warms up"),
        "weight_decay": choice("weight_decay", 0.0, "adapters are small"),
        "beta": choice("beta", 0.1, "the strength of the paper") if asked.recipe == "dpo" else 0.1,
        "quantization": _quantization(asked),
        "evaluate_every": choice("evaluate_every", math.ceil(steps / LOOKS), f"{LOOKS} looks over {steps} steps"),
        "checkpoint_every": choice("checkpoint_every", min(100, math.ceil(steps / LOOKS)), "at most 100 steps apart"),
        "patience": choice("patience", 4, "looks without a better loss end it, where there is a validation file"),
        "use_dora": asked.use_dora,
        "use_rslora": asked.use_rslora,
    }
    return Hyperparameters(**values), choice.rules


class _Choice:
    """Takes what was asked for, or our number, and then writes the rule down."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self.rules: list[str] = []

    def __call__(self, name: str, ours: Any, reason: str) -> Any:
        theirs = getattr(self._asked, name)
        if theirs != "auto":
            return theirs
        self.rules.append(f"{name} is {_shown(ours)}: {reason}.")
        return ours


def _batch_size(examples: int) -> int:
    """A power of two."""
    return int(2 ** math.floor(math.log2(min(32, max(4, examples / 8)))))


def _learning_rate(asked: Asked, parameters: int, *, rules: list[str]) -> float:
    """The smaller the base, the higher: 2e-4 at a billion parameters, as QLoRA (Dettmers et al. 2023, table 9) has it
    for 7 billion, and 3e-3 at 2.4 million, measured on the demo tiers. A fifth of it for preferences.
    """
    if asked.learning_rate != "auto":
        return float(asked.learning_rate)
    rate = min(5e-3, max(1e-4, 2e-4 * (1e9 / max(1, parameters)) ** 0.45))
    rate *= 0.2 if asked.recipe == "dpo" else 1.0
    told = f"chosen for {parameters:,} parameters"
    if asked.learning_rate_multiplier != "auto":
        rate *= asked.learning_rate_multiplier
        told += f", times {_shown(asked.learning_rate_multiplier)}"
    rate = min(1.0, float(f"{rate:.3g}"))
    rules.append(f"learning_rate is {_shown(rate)}: {told}.")
    return rate


def _max_length(asked: Asked, context: int, *, rules: list[str]) -> int:
    if asked.max_length == "auto":
        longest = min(context, LONGEST)
        rules.append(f"max_length is {longest}: the context of the base, and at most {LONGEST:,} tokens.")
        return longest
    if asked.max_length > context:
        raise _invalid(f"{PARAM}.max_length", f"at most {context}, the context of the base")
    return asked.max_length


def _modules(asked: Asked, modules: tuple[str, ...], *, rules: list[str]) -> tuple[str, ...]:
    if asked.target_modules == "auto":
        rules.append(f"target_modules are {', '.join(modules)}: all that the base is served with adapters of.")
        return modules
    for name in asked.target_modules:
        if name not in modules:
            raise _invalid(f"{PARAM}.target_modules", f"names among {', '.join(modules)}, not {name[:ECHO]!r}")
    return tuple(dict.fromkeys(asked.target_modules))


def _quantization(asked: Asked) -> str:
    if asked.quantization != "auto":
        return asked.quantization
    return "nf4" if asked.recipe == "qlora_sft" else "none"


def _require_together(given: Mapping[str, Any], recipe: Recipe, *, param: str, served: bool) -> None:
    """Raise for fields that are good alone and make no sense together."""
    if "learning_rate" in given and "learning_rate_multiplier" in given:
        raise _invalid(f"{param}.learning_rate_multiplier", "one of learning_rate and learning_rate_multiplier")
    if "beta" in given and recipe != "dpo":
        raise _invalid(f"{param}.beta", "no value: it belongs to the method 'dpo'")
    if given.get("packing") and recipe == "dpo":
        raise _invalid(f"{param}.packing", "false: pairs are not packed")
    if recipe == "qlora_sft" and given.get("quantization") == "none":
        raise _invalid(f"{param}.quantization", "'nf4' with the recipe 'qlora_sft'; take 'lora_sft' for 'none'")
    if recipe == "lora_sft" and given.get("quantization") == "nf4":
        raise _invalid(f"{param}.quantization", "'none' with the recipe 'lora_sft'; take 'qlora_sft' for 'nf4'")
    if served and given.get("use_dora"):
        raise _invalid(f"{param}.use_dora", "false: engines here serve no DoRA; its recipe runs from the command line")


def _invalid(param: str, expected: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid value for '{param}': expected {expected}.", param=param)


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)


def _whole(low: int, high: int) -> Check:
    return lambda value: None if type(value) is int and low <= value <= high else f"an integer from {low} to {high}"


def _number(low: float, high: float, *, above: bool = False, below: bool = False) -> Check:
    words = f"a number {'above' if above else 'from'} {low:g} {'and below' if below else 'to'} {high:g}"

    def check(value: Any) -> str | None:
        good = type(value) in (int, float) and low <= value <= high
        good = good and not (above and value == low) and not (below and value == high)
        return None if good else words

    return check


def _flag(value: Any) -> str | None:
    return None if type(value) is bool else "true or false"


def _quantized(value: Any) -> str | None:
    return None if type(value) is str and value in ("none", "nf4") else "'none' or 'nf4'"


def _names(value: Any) -> str | None:
    good = type(value) is list and 1 <= len(value) <= MOST_MODULES
    good = good and all(type(name) is str and 1 <= len(name) <= ECHO for name in value)
    return None if good else f"an array of 1 to {MOST_MODULES} names"


CHECKS: Mapping[str, Check] = MappingProxyType(
    {
        "n_epochs": _whole(1, 100),
        "batch_size": _whole(1, 4096),
        "learning_rate_multiplier": _number(0, 100, above=True),
        "learning_rate": _number(0, 1, above=True),
        "lora_rank": _whole(1, 512),
        "lora_alpha": _number(0, 65_536, above=True),
        "lora_dropout": _number(0, 1, below=True),
        "target_modules": _names,
        "use_dora": _flag,
        "use_rslora": _flag,
        "quantization": _quantized,
        "max_length": _whole(8, 1_048_576),
        "packing": _flag,
        "warmup_ratio": _number(0, 1, below=True),
        "weight_decay": _number(0, 10),
        "beta": _number(0, 100, above=True),
        "checkpoint_every": _whole(1, 1_000_000),
        "evaluate_every": _whole(1, 1_000_000),
        "patience": _whole(1, 1_000_000),
    }
)
"""Field → its check. NaN passes none: it is in no interval."""
