"""The features of many prompts, embedded once and kept: a second training on the same data starts at once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from models.embedders import Embedder
from router.model import Prompts
from router.surface import surface

CHUNK = 64


def prepare(
    texts: Sequence[str],
    embedder: Embedder,
    *,
    cache: Path | None = None,
    heard: Callable[[int], None] = lambda _: None,
) -> Prompts:
    """Features of these texts, in their order. `cache` is a folder for the vectors; `heard` is told how many more are
    done."""
    rows = surface(texts)
    kept = None if cache is None else cache / f"{_digest(texts, embedder)}.safetensors"
    if (
        kept is not None
        and (found := _read(kept, shape=(len(texts), len(embedder.depths), embedder.dimensions))) is not None
    ):
        heard(len(texts))
        return Prompts(rows, found["depths"], found["sentence"])
    depths = np.empty((len(texts), len(embedder.depths), embedder.dimensions), np.float32)
    sentence = np.empty((len(texts), embedder.dimensions), np.float32)
    order = sorted(range(len(texts)), key=lambda at: len(texts[at]))  # texts of a length share a batch
    for start in range(0, len(order), CHUNK):
        some = order[start : start + CHUNK]
        embedded = embedder.embed([texts[at] for at in some])
        depths[some], sentence[some] = embedded.depths, embedded.sentence
        heard(len(some))
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        beside = kept.with_suffix(f".{os.getpid()}")
        save_file({"depths": depths, "sentence": sentence}, beside)
        beside.replace(kept)
    return Prompts(rows, depths, sentence)


def _digest(texts: Sequence[str], embedder: Embedder) -> str:
    digest = hashlib.sha256(f"{embedder.id} {embedder.depths} {embedder.max_tokens}".encode())
    for text in texts:
        digest.update(hashlib.sha256(text.encode(errors="surrogatepass")).digest())
    return digest.hexdigest()


def _read(file: Path, *, shape: tuple[int, int, int]) -> dict[str, NDArray[np.float32]] | None:
    """What is kept, or None where it is not whole: then it is made again."""
    try:
        found: dict[str, NDArray[np.float32]] = load_file(file)
        fits = found["depths"].shape == shape and found["sentence"].shape == (shape[0], shape[2])
        whole = fits and all(np.isfinite(found[part]).all() for part in ("depths", "sentence"))
    except (OSError, SafetensorError, KeyError):
        return None
    return found if whole else None
