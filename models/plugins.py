"""The one plug-in registry: a table of kinds, each row a module that is imported only when it is configured."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import ModuleType

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from models.config import PluginSettings
from models.errors import ConfigurationError
from models.problems import first_problem


class Registry:
    """Rows `kind → module`. A module's public names are the family's contract: `Settings` and what builds from them."""

    def __init__(self, family: str, rows: Mapping[str, str]) -> None:
        self._family = family
        self._rows = dict(rows)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Every built-in kind, in the table's order."""
        return tuple(self._rows)

    def module(self, kind: str) -> ModuleType:
        """Import the module of a kind; an unknown kind names the ones that exist."""
        try:
            name = self._rows[kind]
        except KeyError:
            raise ConfigurationError(
                f"Unknown {self._family} kind {kind!r}. Built in: {', '.join(self._rows)}."
            ) from None
        return import_module(name)

    def read(self, value: object) -> object:
        """A mapping as the settings of the kind it names, for a pydantic `BeforeValidator`; other values pass as is."""
        if not isinstance(value, Mapping):
            return value
        if not isinstance(kind := value.get("kind"), str):
            raise PydanticCustomError("plugin", f"kind: needed, one of {', '.join(self._rows)}")
        settings: type[PluginSettings] = self.module(kind).Settings
        try:
            return settings.model_validate(value)
        except ValidationError as error:
            raise PydanticCustomError("plugin", first_problem(error, whole=kind).replace("{", "{{")) from None
