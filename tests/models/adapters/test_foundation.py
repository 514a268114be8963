"""What a base is to an adapter: names, revision, and what its engine admits."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from models.adapters.foundation import base_of, folder_digest
from models.catalog.loader import Catalog
from models.catalog.schema import ModelCard
from models.catalog.store import resolve
from models.errors import ConfigurationError

CARDS = Catalog.load()
ALL = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def card_of(card: ModelCard, **changes: Any) -> ModelCard:
    return ModelCard.model_validate({**card.model_dump(), **changes})


def test_a_hub_card_has_its_commit_and_is_called_by_its_repository(tmp_path: Path) -> None:
    base = base_of(CARDS.card("qwen2.5-0.5b"), None)
    assert base.revision == "7ae557604adf67be50417f59c2c2f167def9a775"
    assert base.names == {"qwen2.5-0.5b", "Qwen/Qwen2.5-0.5B-Instruct"}
    assert (base.max_rank, base.modules, base.enabled) == (16, ALL, True)
    assert str(tmp_path) in base_of(CARDS.card("qwen2.5-0.5b"), tmp_path).names


def test_an_s3_card_has_its_digest(tmp_path: Path) -> None:
    source = {"kind": "s3", "url": "s3://weights/tiny", "digest": f"sha256:{'c' * 64}"}
    base = base_of(card_of(CARDS.card("demo-small"), source=source), tmp_path)
    assert base.revision == "c" * 64
    assert base.names == {"demo-small", "s3://weights/tiny", str(tmp_path)}


def test_a_local_card_has_the_digest_of_its_files() -> None:
    card = CARDS.card("demo-small")
    folder = resolve(card)
    script = "sha256sum $(ls | LC_ALL=C sort) | sha256sum | cut -c1-64"
    printed = subprocess.run(["sh", "-c", script], cwd=folder, capture_output=True, text=True, check=True)
    base = base_of(card, folder)
    assert base.revision == printed.stdout.strip()
    assert base.names == {"demo-small", str(folder)}


def test_a_local_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    card = CARDS.card("demo-small")
    for folder in (None, tmp_path / "nowhere"):
        with pytest.raises(ConfigurationError, match="'demo-small'"):
            base_of(card, folder)


def test_with_experts_the_engine_adapts_attention_only_and_a_profile_can_say_less() -> None:
    attention = ALL[:4]
    assert base_of(CARDS.card("qwen3-30b"), None).modules == attention
    dense = CARDS.card("qwen2.5-0.5b")
    for targets, modules in (
        (["o_proj"], ("o_proj",)),
        (["q_proj"], attention[:3]),
        (["qkv_proj", "up_proj"], (*attention[:3], "gate_proj", "up_proj")),
    ):
        assert base_of(dense, None, overrides={"lora_target_modules": targets}).modules == modules


def test_a_profile_sets_the_rank_and_whether_there_are_adapters() -> None:
    card = CARDS.card("qwen2.5-0.5b")
    assert base_of(card, None, overrides={"max_lora_rank": 64}).max_rank == 64
    assert not base_of(card, None, overrides={"enable_lora": False}).enabled
    assert not base_of(card, None, overrides={"lora_target_modules": ["embed_tokens"]}).enabled
    assert not base_of(card_of(card, lora={"enabled": False}), None).enabled


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "base"
    made.mkdir()
    (made / "model.safetensors").write_bytes(b"weights")
    (made / "config.json").write_bytes(b"{}")
    return made


def test_hidden_files_and_folders_are_no_part_of_a_base(folder: Path) -> None:
    before = folder_digest(folder)
    (folder / ".penstock-model.json").write_text("{}")
    (folder / "original").mkdir()
    assert folder_digest(folder) == before
    (folder / "tokenizer.json").write_text("{}")
    assert folder_digest(folder) != before


def test_a_digest_is_kept_until_a_file_changes(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = folder_digest(folder, cache)
    (note,) = cache.iterdir()
    note.write_text(note.read_text().replace(first, "0" * 64))
    assert folder_digest(folder, cache) == "0" * 64
    times = (folder / "config.json").stat()
    (folder / "config.json").write_bytes(b"[]")
    os.utime(folder / "config.json", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert folder_digest(folder, cache) == folder_digest(folder) != first
    assert len(list(cache.iterdir())) == 1


@pytest.mark.parametrize("damage", [b"", b"{}", b"[]", b"\xff", b'{"key": 1}'])
def test_a_damaged_note_is_no_note_and_a_cache_that_cannot_be_is_done_without(
    folder: Path, tmp_path: Path, damage: bytes
) -> None:
    first = folder_digest(folder, tmp_path / "cache")
    (note,) = (tmp_path / "cache").iterdir()
    note.write_bytes(damage)
    assert folder_digest(folder, tmp_path / "cache") == first
    assert folder_digest(folder, note / "below") == first
