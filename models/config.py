"""The base of every settings class: strict, frozen, unknown keys refused. Owns no setting itself."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Read once, never changed. Validators check, they never alter a value."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class PluginSettings(Frozen):
    """The settings of one plug-in. Each kind narrows `kind` to a `Literal` of its row in the family's table."""

    kind: str
