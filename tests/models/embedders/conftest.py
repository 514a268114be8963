"""The real model, loaded once: all-MiniLM-L6-v2 on one thread."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from models.embedders import Embedder, build_embedder
from models.embedders.sentence import SentenceSettings


@pytest.fixture(scope="session")
def minilm() -> Iterator[Embedder]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield build_embedder(SentenceSettings())
    torch.set_num_threads(threads)
