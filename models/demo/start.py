"""Where training starts: random weights in which copying is already possible (edge: torch, transformers).

Looking something up in the context needs two attention layers that work together ("induction heads", Elhage et al.,
"A Mathematical Framework for Transformer Circuits", 2021): heads that see what stood just before a token, and heads
above them that look for the place where the same words stood before, and copy what came next. Plain random weights did
not find them in ten million tokens (docs/decisions/0003-demo-tiers.md), so they are laid out here. Nothing is frozen. A
model of one layer has no place for the second half, and starts at random.
"""

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

DISTANCES = (1, 2, 3)  # how far the first layer's first heads look back
LOOK_BACK, FAST_PLANES = 7.0, 5  # enough for 95 % of the attention
MATCH, SLOW_FROM = 2.2, 7  # planes of the rotary embedding that turn less than a radian in 150 positions
COPY = 0.3


def lay_out(model: LlamaForCausalLM) -> None:
    """Sets the look-back heads of the first layer and the matching heads of the second, where there is a second one."""
    if model.config.num_hidden_layers < 2:
        return
    with torch.no_grad():
        match(model, look_back(model, DISTANCES), heads=model.config.num_attention_heads // 2)


def look_back(model: LlamaForCausalLM, distances: tuple[int, ...]) -> tuple[Tensor, list[Tensor]]:
    """Heads that attend to the token `distance` before, whatever it is.

    The query's bias is the key's, turned back by the distance in the fastest planes of the rotary embedding. Returns
    what the heads read of a token (head width × hidden) and, for each, where they write it (hidden × head width).
    """
    attention, width, planes = model.model.layers[0].self_attn, model.config.head_dim, FAST_PLANES
    half, hidden = width // 2, model.config.hidden_size
    speed = model.config.rope_parameters["rope_theta"] ** (-torch.arange(planes) / half)
    directions = orthonormal((len(distances) + 1) * width, hidden)
    read, places = directions[:width], []
    for head, distance in enumerate(distances):
        start = head * width
        own = slice(start, start + width)
        real, imaginary = slice(start, start + planes), slice(start + half, start + half + planes)
        attention.k_proj.bias[real] = LOOK_BACK
        attention.q_proj.bias[real] = LOOK_BACK * torch.cos(distance * speed)
        attention.q_proj.bias[imaginary] = -LOOK_BACK * torch.sin(distance * speed)
        attention.v_proj.weight[own] = read
        places.append(directions[(head + 1) * width : (head + 2) * width].T)
        # As loud as the token itself: its embedding is the initializer's range wide, what is read has been normed to 1.
        attention.o_proj.weight[:, own] = places[-1] * model.config.initializer_range * (hidden / width) ** 0.5
    return read, places


def match(model: LlamaForCausalLM, written: tuple[Tensor, list[Tensor]], *, heads: int) -> None:
    """Heads of the second layer that find where the last words stood before, and copy what came next.

    The key is what stood 1, 2, 3 tokens before a position, the query what stands 0, 1, 2 tokens before the present one,
    each in a mixture of its own, in planes too slow to tell positions apart.
    """
    attention, width = model.model.layers[1].self_attn, model.config.head_dim
    half, (read, places) = width // 2, written
    slow = torch.cat([torch.arange(SLOW_FROM, half), torch.arange(half + SLOW_FROM, width)])
    here = [read, *(place.T for place in places)]  # how to read the tokens 0, 1, 2, 3 before
    copied = orthonormal(heads * width, model.config.hidden_size)
    for head in range(heads):
        own = slice(head * width, (head + 1) * width)
        mixtures = [orthonormal(width, width)[: len(slow)] for _ in places]
        attention.q_proj.weight[own][slow] = MATCH * sum(m @ here[n] for n, m in enumerate(mixtures))
        attention.k_proj.weight[own][slow] = MATCH * sum(m @ here[n + 1] for n, m in enumerate(mixtures))
        attention.v_proj.weight[own] = copied[own]
        attention.o_proj.weight[:, own] = COPY * copied[own].T


def orthonormal(rows: int, columns: int) -> Tensor:
    """Random orthonormal rows; needs rows ≤ columns."""
    return torch.linalg.qr(torch.randn(columns, rows)).Q.T
