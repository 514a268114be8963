"""`penstock models` as a person and as a script see it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from models.catalog import Catalog
from models.catalog.pull import access_of
from models.errors import ConfigurationError
from serving.commands.models import app

CARD = """
cards:
  - id: mine
    description: A model of our own.
    source: {kind: local, path: %s}
    tier: small
    licence: Proprietary
    parameters: 1000000
    weight_bytes: 2000000
    architecture: {num_layers: 1, hidden_size: 64, num_heads: 2, num_kv_heads: 2, head_dim: 32,
                   intermediate_size: 128, vocab_size: 100, max_position: 64}
    context: 64
    price: {input_micro_usd: 1500000, output_micro_usd: 3}
"""


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state folder with a card of the operator's own, whose files are here."""
    folder = tmp_path / "weights"
    folder.mkdir()
    header = b'{"w": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}}'
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    (folder / "config.json").write_text("{}")
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "models.yaml").write_text(CARD % folder)
    return tmp_path / "state"


def run(state: Path, *arguments: str) -> str:
    result = CliRunner().invoke(app, [*arguments, "--state-dir", str(state)], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_the_json_list_has_every_card_with_id_tier_and_local_path(state: Path) -> None:
    facts = {fact["id"]: fact for fact in json.loads(run(state, "list", "--json"))}
    assert set(facts) == {card.id for card in Catalog.load()} | {"mine"}
    assert facts["mine"]["path"] == str(state.parent / "weights")
    assert facts["qwen3-4b"]["path"] is None
    assert facts["qwen3-4b"]["tier"] == "small"
    assert facts["qwen3-4b"]["source"]["revision"] == "8591804019c8b22094c3b5b4454e0edc05dffc98"


def test_the_json_list_has_quantization_context_and_price(state: Path) -> None:
    facts = {fact["id"]: fact for fact in json.loads(run(state, "list", "--json"))}
    assert facts["qwen2.5-14b"]["quantization"] == "awq"
    assert facts["mine"]["context"] == 64
    assert facts["mine"]["price"] == {"input_micro_usd": 1_500_000, "output_micro_usd": 3}


def test_the_table_shows_prices_in_usd_and_what_is_here(state: Path) -> None:
    rows = {line.split()[0]: line.split() for line in run(state, "list").splitlines()}
    assert rows["mine"][-3:] == ["1.5", "3e-06", "yes"]
    assert rows["qwen3-235b"][-1] == "no"


def test_show_prints_the_whole_card(state: Path) -> None:
    card = json.loads(run(state, "show", "mine", "--json"))
    assert card["architecture"]["head_dim"] == 32
    assert "head_dim: 32" in run(state, "show", "mine")


def test_pull_of_a_model_that_is_here_prints_its_folder(state: Path) -> None:
    assert run(state, "pull", "mine").strip() == str(state.parent / "weights")


def test_a_pull_before_the_first_start_makes_the_state_folder_for_its_owner_alone(tmp_path: Path) -> None:
    run(tmp_path / "new", "pull", "demo-small")
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


def test_pull_of_an_unknown_model_names_the_known_ones(state: Path) -> None:
    with pytest.raises(ConfigurationError, match="demo-small"):
        run(state, "pull", "gpt-9")


def test_the_token_comes_from_the_environment_or_a_file_and_is_never_shown(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hf_file\n")
    given = [access_of({"HF_TOKEN": " hf_env "}), access_of({"HF_TOKEN_PATH": str(tmp_path / "token")})]
    assert [a.hub_token.get_secret_value() for a in given if a.hub_token] == ["hf_env", "hf_file"]
    assert "hf_" not in repr(given)
    assert access_of({}).hub_token is None


def test_a_token_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="HF_TOKEN_PATH"):
        access_of({"HF_TOKEN_PATH": str(tmp_path / "none")})
