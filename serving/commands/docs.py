"""Writes docs/configuration.md from the settings classes, so that the page cannot lag behind them. Pure text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from models.config import PluginSettings
from router.policies import POLICIES
from serving.settings import EngineSettings, Settings, profile_names

OPENING = """# Configuration

*Written by `penstock config docs --out docs/configuration.md` from the settings classes; a test compares. Do not edit.*

A stack is one profile: a YAML file with the sections below. `penstock up --profile NAME` takes a shipped one
({profiles}), `--profile ./mine.yaml` a file of your own.

A variable `PENSTOCK__SECTION__FIELD` is stronger than the profile, the profile is stronger than the defaults. An
unknown name or an impossible value is refused at load, with the field's name. `penstock config show` prints what a
stack is set to, and where each value comes from.

Other variables: `PENSTOCK_STATE_DIR` (the folder of the stack), `PENSTOCK_PROFILE` (the profile of `up`),
`PENSTOCK_URL` with `PENSTOCK_API_KEY` (a stack elsewhere, for `chat` and `demo evaluate`), `PENSTOCK_DEBUG=1` (show
where an error came from).
"""


def configuration_page() -> str:
    """The whole page, ending in a newline."""
    blocks = [OPENING.format(profiles=", ".join(f"`{name}`" for name in profile_names()))]
    for name, field in Settings.model_fields.items():
        blocks.extend(_section(name, field))
    return "\n".join(blocks)


def _section(name: str, field: FieldInfo) -> Iterator[str]:
    if name == "engines":
        yield _block("`engines`: a list, one entry per engine", EngineSettings, path=())
    elif name == "router":
        for kind in POLICIES.kinds:
            settings: type[PluginSettings] = POLICIES.module(kind).Settings
            yield _block(f"`router` with `kind: {kind}`", settings, path=("router",))
    elif section := _model(field):
        yield _block(f"`{name}`", section, path=(name,))


def _block(title: str, settings: type[BaseModel], *, path: tuple[str, ...]) -> str:
    """A heading, what the section is, and one row per field. Without a path there are no variables."""
    lines = [f"## {title}", "", settings.__doc__ or "", ""]
    columns = ["field", *(["variable"] if path else []), "default", "what it is"]
    lines += [_row(columns), _row(["---"] * len(columns))]
    lines += [_row(cells) for cells in _fields(settings, path)]
    return "\n".join([*lines, ""])


def _fields(settings: type[BaseModel], path: tuple[str, ...], *, before: str = "") -> Iterator[list[str]]:
    for name, field in settings.model_fields.items():
        if inner := _model(field):
            yield from _fields(inner, (*path, name) if path else (), before=f"{before}{name}.")
            continue
        variable = [f"`PENSTOCK__{'__'.join((*path, name)).upper()}`"] if path else []
        yield [f"`{before}{name}`", *variable, _default(field), f"{field.description or ''}{_bounds(field)}"]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "*required*"
    value = field.get_default(call_default_factory=True, validated_data={})
    return "*unset*" if value is None or value is PydanticUndefined else f"`{_plain(value)}`"


def _plain(value: Any) -> str:
    if isinstance(value, tuple):
        return str(list(value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _bounds(field: FieldInfo) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    found = [
        f"{sign} {getattr(item, name):g}"
        for item in field.metadata
        for name, sign in signs.items()
        if hasattr(item, name)
    ]
    choices = [f"`{choice}`" for choice in get_args(field.annotation) if isinstance(choice, str)]
    limits = [*found, *([" or ".join(choices)] if choices else [])]
    return f" ({', '.join(limits)})" if limits else ""


def _model(field: FieldInfo) -> type[BaseModel] | None:
    """The settings class of a field that is a section of its own."""
    annotation: Any = field.annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
