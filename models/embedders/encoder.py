"""Edge file: a BERT-like model in transformers, read from safetensors only; texts to means of hidden states.

Attention is torch's scaled dot product: on a CPU as quick as the eager one for 16 or 64 tokens, and 10 to 20 % quicker
for 256, alone or sixteen at once. No code of a checkpoint runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import AutoModel
from transformers.utils import logging

from models.embedders import Floats
from models.errors import ConfigurationError

if TYPE_CHECKING:
    from models.embedders.sentence import SentenceSettings

# A checkpoint may come without it: nothing of the pooler is read.
UNREAD = "pooler."


class BertEncoder:
    """A model on its device, and its tokenizer."""

    def __init__(self, model: Any, tokenizer: Any, *, pad: int) -> None:
        self.dimensions: int = model.config.hidden_size
        self._model = model
        self._tokenizer = tokenizer
        self._pad = pad
        # In sixteen bits a text's neighbours in a pass would show in its vector; and on a CPU company gains nothing.
        self.alone: bool = model.dtype == torch.bfloat16

    def tokens(self, text: str) -> list[int]:
        """The text's token numbers, cut to the limit, with the model's marks around them."""
        found: list[int] = self._tokenizer.encode(text).ids
        return found or [self._pad]

    def means(self, batch: Sequence[Sequence[int]], layers: Sequence[int]) -> Floats:
        """[n, len(layers), d]: the mean over each text's own tokens; padding counts nowhere."""
        lengths = np.array([len(ids) for ids in batch])
        real = np.arange(lengths.max()) < lengths[:, None]
        ids = np.full(real.shape, self._pad, np.int64)
        ids[real] = np.concatenate([np.asarray(row, np.int64) for row in batch])
        with torch.inference_mode():
            mask = torch.from_numpy(real).to(self._model.device)
            states = self._model(
                input_ids=torch.from_numpy(ids).to(self._model.device),
                attention_mask=mask.long(),
                output_hidden_states=True,
            ).hidden_states
            share = (mask / mask.sum(1, keepdim=True)).float().unsqueeze(1)
            found: Floats = torch.cat([share @ states[layer].float() for layer in layers], 1).cpu().numpy()
        return found


def build(settings: SentenceSettings, folder: Path) -> BertEncoder:
    """The model of a folder. `ConfigurationError` names what it lacks, and which setting asks too much of it."""
    device = _device(settings.device)
    try:
        with _no_bar():
            model, loading = AutoModel.from_pretrained(
                folder,
                **{"local_files_only": True, "trust_remote_code": False, "use_safetensors": True},
                **{
                    "dtype": _dtype(settings.precision, device),
                    "attn_implementation": "sdpa",
                    "output_loading_info": True,
                },
            )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ConfigurationError(
            f"Transformers cannot load the embedding model {folder.name!r}.", detail=str(error)
        ) from error
    _require(settings, model.config, missing=[key for key in loading["missing_keys"] if not key.startswith(UNREAD)])
    tokenizer = _tokenizer(folder, vocabulary=model.config.vocab_size)
    tokenizer.enable_truncation(max_length=settings.max_tokens)
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    return BertEncoder(model.eval().to(device), tokenizer, pad=model.config.pad_token_id or 0)


def _tokenizer(folder: Path, *, vocabulary: int) -> Any:
    """From its one file, because transformers makes an empty tokenizer of a folder that has none."""
    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # the library has no type of its own for it
        raise ConfigurationError(
            f"The embedding model {folder.name!r} has no tokenizer.json that can be read.", detail=str(error)
        ) from error
    if (known := tokenizer.get_vocab_size()) > vocabulary:
        raise ConfigurationError(
            f"The tokenizer of the embedding model {folder.name!r} knows {known} tokens, the model {vocabulary}."
        )
    tokenizer.no_padding()
    return tokenizer


def _device(wanted: str) -> str:
    found = torch.cuda.is_available()
    if wanted == "cuda" and not found:
        raise ConfigurationError("device: torch sees no GPU here. Set `cpu` or `auto`.")
    return "cpu" if wanted == "cpu" or not found else "cuda"


def _dtype(wanted: str, device: str) -> torch.dtype:
    """What the processor is quick at. Sums stay float32 inside a product; means are taken in float32 as well."""
    if wanted != "auto":
        return torch.float32 if wanted == "float32" else torch.bfloat16
    able = torch.cpu.get_capabilities() if device == "cpu" else {}  # a GPU is quick enough as it is
    return torch.bfloat16 if able.get("avx512_bf16") or able.get("amx_bf16") else torch.float32


def _require(settings: SentenceSettings, config: Any, *, missing: Sequence[str]) -> None:
    if missing:
        raise ConfigurationError(f"The embedding model lacks weights: {min(missing)!r} and {len(missing) - 1} more.")
    if settings.depths[-1] > config.num_hidden_layers:
        raise ConfigurationError(f"depths: the model has {config.num_hidden_layers} layers, not {settings.depths[-1]}.")
    if settings.max_tokens > config.max_position_embeddings:
        raise ConfigurationError(
            f"max_tokens: the model reads {config.max_position_embeddings} tokens, not {settings.max_tokens}."
        )


@contextmanager
def _no_bar() -> Iterator[None]:
    """Transformers draws a bar while it loads; a server's log is no place for one."""
    drawn = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if drawn:
            logging.enable_progress_bar()
