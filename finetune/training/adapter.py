"""The base and its adapter, as PEFT has them (edge: torch, transformers, peft, bitsandbytes through transformers).

Owns loading, in which precision, and what an adapter's folder holds. Files are read from disk alone, weights as
safetensors alone, and no code that comes with a model is run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from finetune.order import TrainingFailed, TrainingOrder
from finetune.training import checkpoints
from finetune.training.trainers import seed_all

LARGE = 1_000_000_000
"""Parameters from which a base is kept as it is stored, and activations are computed twice rather than kept."""

AUTOCAST_CPU = 100_000_000
"""Parameters from which bfloat16 pays on a CPU that multiplies it; below, casting takes longer than it saves."""


def load_tokenizer(order: TrainingOrder) -> Any:
    """What TRL asks for; the examples are encoded without it. A base without padding pads with its end."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(order.base, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise _unavailable(error) from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_base(order: TrainingOrder) -> Any:
    """The base, on the order's device; with `quantization` nf4 its matrices in 4 bits.

    `TrainingFailed` (model_unavailable) when its files are missing or not what they should be.
    """
    if order.threads is not None:
        torch.set_num_threads(order.threads)
    if order.device == "cuda" and order.gpu_share < 1:  # more is `out_of_memory` here, and not in an engine beside it
        torch.cuda.set_per_process_memory_fraction(order.gpu_share)
    options: dict[str, Any] = {"dtype": torch.bfloat16 if order.device == "cuda" else torch.float32}
    if order.hyperparameters.quantization == "nf4":
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=options["dtype"],
        )
        options["device_map"] = {"": order.device}
    try:
        model = AutoModelForCausalLM.from_pretrained(
            order.base,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            attn_implementation="sdpa",
            **options,
        )
    except (OSError, ValueError, KeyError) as error:
        raise _unavailable(error) from error
    model.config.use_cache = False
    return model


def with_adapter(model: Any, order: TrainingOrder) -> Any:
    """A new adapter on the base: B is zero, so that it begins as the base; A is drawn from the seed."""
    numbers = order.hyperparameters
    seed_all(order.seed)
    return get_peft_model(
        model,
        LoraConfig(
            r=numbers.lora_rank,
            lora_alpha=numbers.lora_alpha,
            lora_dropout=numbers.lora_dropout,
            target_modules=list(numbers.target_modules),
            use_rslora=numbers.use_rslora,
            use_dora=numbers.use_dora,
            task_type="CAUSAL_LM",
        ),
    )


def arguments(model: Any, order: TrainingOrder, *, steps: int) -> dict[str, Any]:
    """What both of TRL's configurations take: one step of the plan is one update, and all else is the course's."""
    numbers = order.hyperparameters
    return {
        "output_dir": str(order.folder),
        "max_steps": steps,
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": 1,
        "learning_rate": numbers.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": int(numbers.warmup_ratio * steps),
        "weight_decay": numbers.weight_decay,
        "max_grad_norm": 1.0,
        "optim": "adamw_torch",
        "bf16": autocasts(model, order),
        "gradient_checkpointing": model.num_parameters() >= LARGE,
        "seed": (order.seed + order.rank) % 2**32,  # of what is drawn in the steps: dropout
        "use_cpu": order.device == "cpu",
        "remove_unused_columns": False,
        "logging_strategy": "no",
        "save_strategy": "no",
        "eval_strategy": "no",
        "logging_nan_inf_filter": False,
        "report_to": "none",
        "disable_tqdm": True,
        "push_to_hub": False,
    }


def autocasts(model: Any, order: TrainingOrder) -> bool:
    """bfloat16 on a GPU that has it; on a CPU only for a large base, where the processor multiplies it."""
    if order.device == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return bool(fast and model.num_parameters() >= AUTOCAST_CPU)


def save_adapter(model: Any, folder: Path, *, base: Path) -> None:
    """PEFT's two files in a new folder."""
    folder.mkdir(parents=True)
    checkpoints.write_adapter(model, folder, base=base)


def _unavailable(error: Exception) -> TrainingFailed:
    return TrainingFailed(
        "model_unavailable", "The base model cannot be loaded. Pull it again, then resume the job.", detail=str(error)
    )
