"""The real model, loaded once: all-MiniLM-L6-v2 on one thread."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from models.embedders import EMBEDDERS, Embedder, build_embedder


@pytest.fixture(scope="session")
def embedders() -> Iterator[dict[str, Embedder]]:
    """One of every kind in the table, with the settings' own values."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield {kind: build_embedder(EMBEDDERS.module(kind).Settings()) for kind in EMBEDDERS.kinds}
    torch.set_num_threads(threads)


@pytest.fixture
def minilm(embedders: dict[str, Embedder]) -> Embedder:
    return embedders["sentence"]
