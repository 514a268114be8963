"""The one plug-in registry: a table of kinds, each row a module that is imported only when it is configured."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import ModuleType

from models.errors import ConfigurationError


class Registry:
    """Rows `kind → module`. The module's own public names (config class, builder) are the family's contract."""

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
