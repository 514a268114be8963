"""The adapters that are made to measure with, held against what a stack admits."""

import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from benchmarks.adapters.weights import adapter_zip
from models.adapters.check import check
from models.adapters.foundation import base_of
from models.catalog import Catalog, ModelStore


@pytest.mark.parametrize(("card", "rank", "layers"), [("demo-small", 1, 1), ("demo-large", 16, 3)])
def test_a_made_adapter_is_one_that_a_stack_admits(card: str, rank: int, layers: int, tmp_path: Path) -> None:
    found = Catalog.load(None).card(card)
    zipfile.ZipFile(BytesIO(adapter_zip(found, rank=rank, seed=1))).extractall(tmp_path)
    checked = check(tmp_path, base_of(found, ModelStore(None).resolve(found)))
    assert (checked.rank, len(checked.layers), checked.target_modules) == (rank, layers, ("q_proj", "v_proj"))


def test_another_seed_makes_other_weights_and_the_same_one_the_same() -> None:
    card = Catalog.load(None).card("demo-small")
    first, again, other = (
        zipfile.ZipFile(BytesIO(adapter_zip(card, rank=2, seed=seed))).read("adapter_model.safetensors")
        for seed in (1, 1, 2)
    )
    assert first == again != other
