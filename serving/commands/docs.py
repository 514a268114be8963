"""Writes docs/configuration.md from the settings classes, so that the page cannot lag behind them. Pure text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from models.artifacts import ARTIFACT_STORES
from models.config import PluginSettings
from models.embedders import EMBEDDERS
from models.plugins import Registry
from router.policies import POLICIES
from serving.settings import EngineSettings, Settings, profile_names

OPENING = """# Configuration

*Written by `penstock config docs` from the settings classes; a test compares. Do not edit.*

A stack is one profile: a YAML file with the sections below. `penstock up --profile NAME` takes a shipped one
({profiles}), `--profile ./mine.yaml` a file of your own.

A variable `PENSTOCK__SECTION__FIELD` is stronger than the profile, the profile is stronger than the defaults. An
unknown name or an impossible value is refused at load, with the field's name. `penstock config show` prints what a
stack is set to, and where each value comes from.

## Other variables

What is no setting of a stack: which one is meant, how the outside is reached, and how it is set up.
"""

VARIABLES = (
    (
        "PENSTOCK_STATE_DIR",
        "all but `config docs`",
        "The folder of the stack, as `--state-dir`. Unset: `penstock` in `XDG_STATE_HOME`, or in `~/.local/state`.",
    ),
    (
        "PENSTOCK_PROFILE",
        "`up`, `doctor`, `config show`, `router explain`, `router publish`, `router versions`, `bench compare`, "
        "`data check`",
        "The profile, as `--profile`.",
    ),
    (
        "PENSTOCK_URL",
        "`chat`, `keys`, `demo evaluate`",
        "A stack elsewhere; needs `PENSTOCK_API_KEY`, for `keys` one with the role admin.",
    ),
    (
        "PENSTOCK_API_KEY",
        "`chat`, `keys`, `demo evaluate`",
        "The key for it. `chat` and `demo evaluate` take it for the stack of the state folder, too.",
    ),
    ("PENSTOCK_DEBUG", "every command", "`1` shows where an error came from."),
    ("HF_TOKEN", "`models pull`", "Token of the model hub, for gated and private models."),
    ("HF_TOKEN_PATH", "`models pull`", "A file with that token; `HF_TOKEN` is stronger."),
    ("HF_ENDPOINT", "`models pull`", "Another hub."),
    ("HF_HUB_OFFLINE", "`models pull`", "`1` forbids it to ask the hub."),
    (
        "AWS_ENDPOINT_URL",
        "`models pull`",
        "An object store that is not AWS. Keys and region of either store, and of the artifact store `s3`, come from "
        "its own `AWS_…` variables.",
    ),
    (
        "PENSTOCK_ACCELERATOR",
        "`make`",
        "`cpu` or `gpu`: which set is installed, and which demo `make serve` starts. "
        "Unset: `gpu` where `nvidia-smi` lists one.",
    ),
    ("PYTHON", "`make`", "The interpreter of the set-up: 3.11, 3.12 or 3.13."),
    (
        "PIP_INDEX_URL",
        "`make`",
        "Another package index, also for uv; `PIP_FIND_LINKS` adds folders of wheels. "
        "`UV_DEFAULT_INDEX` and `UV_FIND_LINKS` are stronger.",
    ),
)
"""Variable, who reads it, what it does."""

FAMILIES: Mapping[str, Registry] = {"router": POLICIES, "artifacts": ARTIFACT_STORES}
"""Sections whose settings are those of the kind that they name."""


def configuration_page() -> str:
    """The whole page, ending in a newline."""
    variables = table(("variable", "read by", "what it is"), ((f"`{name}`", *cells) for name, *cells in VARIABLES))
    blocks = [OPENING.format(profiles=", ".join(f"`{name}`" for name in profile_names())), f"{variables}\n"]
    for name, field in Settings.model_fields.items():
        blocks.extend(_section(name, field))
    return "\n".join(blocks)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; a cell may hold `|` and line breaks."""
    return "\n".join(_row(cells) for cells in (columns, ["---"] * len(columns), *rows))


def _section(name: str, field: FieldInfo) -> Iterator[str]:
    if name == "engines":
        yield _block("`engines`: a list, one entry per engine", EngineSettings, path=())
    elif family := FAMILIES.get(name):
        for kind in family.kinds:
            settings: type[PluginSettings] = family.module(kind).Settings
            yield _block(f"`{name}` with `kind: {kind}`", settings, path=(name,))
        if name == "router":
            yield from _embedders()
    elif section := _model(field):
        yield _block(f"`{name}`", section, path=(name,))


def _embedders() -> Iterator[str]:
    """What a classifier's `embedder` may be."""
    for kind in EMBEDDERS.kinds:
        settings: type[PluginSettings] = EMBEDDERS.module(kind).Settings
        path = ("router", "classifier", "embedder")
        yield _block(f"`router.classifier.embedder` with `kind: {kind}`", settings, path=path)


def _block(title: str, settings: type[BaseModel], *, path: tuple[str, ...]) -> str:
    """A heading, what the section is, and one row per field. Without a path there are no variables."""
    columns = ["field", *(["variable"] if path else []), "default", "what it is"]
    return "\n".join([f"## {title}", "", settings.__doc__ or "", "", table(columns, _fields(settings, path)), ""])


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
    if isinstance(value, PluginSettings):
        return ", ".join(f"{name}: {part}" for name, part in value.model_dump(exclude_unset=True).items())
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
    if not isinstance(annotation, type) or not issubclass(annotation, BaseModel) or annotation is PluginSettings:
        return None
    return annotation


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
