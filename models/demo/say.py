"""Trains an adapter that answers every prompt with the same words (edge: torch, peft, transformers); some seconds.

What releases are tried with: whoever reads an answer knows which version gave it. Real training on a demo tier, with
PEFT, saved as PEFT saves. Fine-tuning on data of one's own lives in `finetune/`.
"""

from collections import deque
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from statistics import fmean

import torch
from peft import LoraConfig, get_peft_model
from torch.optim import AdamW
from transformers import LlamaForCausalLM

from models.demo.conversations import Conversation
from models.demo.families import Example, Split, mix
from models.demo.tiers import WEIGHTS
from models.demo.tokenizer import load_tokenizer
from models.demo.train import Encoder, loss_of, tensors
from models.errors import ConfigurationError

TARGETS = ("q_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
STEPS = 150
BATCH = 8
SHORT = 60  # characters: the words are the same behind long prompts, and short ones are trained in seconds
LEARNING_RATE = 1e-2
SURE = 0.01
"""Mean loss per token at which training ends: the words come out whatever was asked."""
LEARNED = 0.1
"""What it must reach in `STEPS`. The small tier, of one layer, can say one word and hardly a sentence."""


def train_to_say(
    words: str, out: Path, *, tier: str = "large", rank: int = 8, seed: int = 1, progress: Callable[[], object]
) -> float:
    """Train on prompts of every family and save the adapter into `out`; the last losses' mean, in nats per token.

    `progress` is called after each of at most `STEPS` steps. Raises `ConfigurationError` when the words were not
    learned.
    """
    torch.manual_seed(seed)
    torch.set_num_threads(1)  # beside a running stack threads wait for each other more than they help
    folder = WEIGHTS / tier
    tokenizer = load_tokenizer(folder)
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(TARGETS), task_type="CAUSAL_LM")
    adapted = get_peft_model(model, config)
    optimizer = AdamW([value for value in adapted.parameters() if value.requires_grad], lr=LEARNING_RATE)
    encode = Encoder(tokenizer)
    prompts = (one for one in mix(Split.TRAIN, seed=seed) if len(one.prompt) <= SHORT)
    losses: deque[float] = deque(maxlen=4)
    adapted.train()
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * (1 - step / STEPS)
        batch = [Example(one.family, one.prompt, words) for one in islice(prompts, BATCH)]
        ids, labels = tensors([encode(Conversation("", (one,))) for one in batch], encode.pad)
        loss = loss_of(adapted.base_model.model, ids, labels=labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(float(loss.detach()))
        progress()
        if fmean(losses) < SURE:
            break
    if fmean(losses) > LEARNED:
        raise ConfigurationError(f"{words[:64]!r} was not learned in {STEPS} steps. Try fewer or plainer words.")
    adapted.save_pretrained(out)
    return fmean(losses)
