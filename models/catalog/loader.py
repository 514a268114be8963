"""Reads the cards: those that ship, then a file of the operator's own. Pure data in, frozen cards out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError, model_validator

from models.catalog.schema import ModelCard
from models.config import Frozen
from models.errors import ConfigurationError
from models.problems import yaml_problem

SHIPPED = Path(__file__).with_name("models.yaml")


class CardFile(Frozen):
    """The shape of a catalog file."""

    cards: tuple[ModelCard, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _ids_are_unique(self) -> CardFile:
        ids = [card.id for card in self.cards]
        if doubled := sorted({card for card in ids if ids.count(card) > 1}):
            raise ValueError(f"card {doubled[0]!r} is listed twice")
        return self


class Catalog:
    """Every card that this stack knows, by id."""

    def __init__(self, cards: tuple[ModelCard, ...]) -> None:
        self._cards = {card.id: card for card in cards}

    @classmethod
    def load(cls, extra: Path | None = None) -> Catalog:
        """The shipped cards; a card in `extra` (may be missing) is added, or replaces the shipped one of its id."""
        cards = _read(SHIPPED)
        if extra is not None and extra.exists():
            cards += _read(extra)
        return cls(cards)

    def __iter__(self) -> Iterator[ModelCard]:
        return iter(self._cards.values())

    def __len__(self) -> int:
        return len(self._cards)

    def card(self, card_id: str) -> ModelCard:
        """One card; an unknown id names the known ones."""
        try:
            return self._cards[card_id]
        except KeyError:
            raise ConfigurationError(
                f"Unknown model {card_id[:64]!r}. In the catalog: {', '.join(self._cards)}."
            ) from None


def _read(path: Path) -> tuple[ModelCard, ...]:
    try:
        values: Any = yaml.safe_load(path.read_text())
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"Catalog file {path.name!r} is not YAML.", detail=str(error)) from error
    except yaml.YAMLError as error:
        raise ConfigurationError(f"Catalog file {path.name!r} is not YAML: {yaml_problem(error)}.") from error
    try:
        return CardFile.model_validate(values).cards
    except ValidationError as error:
        raise ConfigurationError(f"Catalog file {path.name!r}: {_first_problem(values, error)}") from error


def _first_problem(values: Any, error: ValidationError) -> str:
    first = error.errors()[0]
    where = list(first["loc"])
    if len(where) > 1 and isinstance(where[1], int):
        entry = values["cards"][where[1]]
        where = [repr(entry["id"]) if isinstance(entry, dict) and "id" in entry else f"cards[{where[1]}]", *where[2:]]
    return f"{'.'.join(str(part) for part in where) or 'file'}: {first['msg']}."
