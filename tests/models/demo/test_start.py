import pytest

pytest.importorskip("transformers")

import torch

from models.demo.tiers import TIERS, WEIGHTS
from models.demo.tokenizer import load_tokenizer
from models.demo.train import new_model

WORDS = 20


def repeated() -> torch.Tensor:
    """Twenty different words in no order, said twice."""
    torch.manual_seed(5)
    row = 1_000 + torch.randperm(500)[:WORDS]
    return torch.cat([row, row])[None]


def copied(tier: str) -> float:
    """How much of the second time an untrained model foretells, past the first three words."""
    model = new_model(TIERS[tier], load_tokenizer(WEIGHTS / tier), seed=1).eval()
    ids = repeated()
    with torch.no_grad():
        told = model(ids).logits.argmax(-1)[0, :-1]
    return float((told == ids[0, 1:])[WORDS + 2 :].float().mean())


def test_two_layers_can_copy_before_training_and_one_cannot() -> None:
    assert copied("large") >= 0.3
    assert copied("small") <= 0.1


def test_the_first_heads_look_at_the_tokens_just_before() -> None:
    model = new_model(TIERS["large"], load_tokenizer(WEIGHTS / "large"), seed=1).eval()
    model.set_attn_implementation("eager")
    with torch.no_grad():
        attention = model(repeated(), output_attentions=True).attentions[0][0]
    for head, distance in enumerate((1, 2, 3)):
        assert attention[head].diagonal(-distance)[WORDS:].min() > 0.8
