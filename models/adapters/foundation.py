"""The base model that an adapter is made for: what its configuration may call it, and what an engine admits.

Owns what a base is to an adapter, and its revision. Does not own cards (`models.catalog`) or where their files lie.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from models.catalog.arguments import engine_arguments
from models.catalog.memory import ATTENTION_MODULES, module_shapes
from models.catalog.schema import Architecture, HubSource, LocalSource, ModelCard, S3Source
from models.digests import file_sha256, listing_sha256
from models.errors import ConfigurationError

PACKED = (("qkv_proj", ("q_proj", "k_proj", "v_proj")), ("gate_up_proj", ("gate_proj", "up_proj")))
"""What vLLM runs as one matrix: an engine that adapts one of a group adapts all of it."""


@dataclass(frozen=True, slots=True)
class BaseModel:
    """A base model as it is served: `modules` are the projections to which its engine applies adapters.

    `revision` is a commit (hub) or 64 hexadecimal digits (S3, local). `names` are what an adapter's configuration may
    call the base.
    """

    id: str
    revision: str
    names: frozenset[str]
    architecture: Architecture
    max_rank: int
    modules: tuple[str, ...]
    enabled: bool


def base_of(
    card: ModelCard,
    folder: Path | None,
    *,
    cache: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> BaseModel:
    """The base of a card whose files lie in `folder`, under the engine arguments that a profile sets over it.

    A hub or S3 card needs no folder. `cache` is a folder for the digests of local ones. `ConfigurationError` names a
    local folder that cannot be read.
    """
    arguments = engine_arguments(card, overrides)
    modules = _modules(card.architecture, arguments.get("lora_target_modules"))
    return BaseModel(
        id=card.id,
        revision=_revision(card, folder, cache=cache),
        names=_names(card, folder),
        architecture=card.architecture,
        max_rank=int(arguments.get("max_lora_rank", card.lora.max_rank)),
        modules=modules,
        enabled=bool(arguments.get("enable_lora") and modules),
    )


def folder_digest(folder: Path, cache: Path | None = None) -> str:
    """SHA-256 of the listing of the plain files that lie directly in a folder, hidden ones aside; 64 digits.

    With a cache folder, files whose names, sizes and times of change are as before are not read again. `OSError` when
    one cannot be read.
    """
    facts = {
        entry.name: (entry.stat().st_size, entry.stat().st_mtime_ns, entry.stat().st_ctime_ns)
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name)
        if entry.is_file() and not entry.name.startswith(".")
    }
    key = sha256(json.dumps([str(folder), facts]).encode()).hexdigest()
    note = None if cache is None else cache / f"base-{sha256(str(folder).encode()).hexdigest()[:32]}.json"
    if note is not None and (known := _noted(note, key)) is not None:
        return known
    digest = listing_sha256({name: file_sha256(folder / name) for name in facts})
    if note is not None:
        _write(note, {"key": key, "digest": digest})
    return digest


def _revision(card: ModelCard, folder: Path | None, *, cache: Path | None) -> str:
    match card.source:
        case HubSource(revision=commit):
            return commit
        case S3Source(digest=digest):
            return digest.removeprefix("sha256:")
        case LocalSource(path=path):
            if folder is None:
                raise ConfigurationError(f"The revision of {card.id!r} is that of its files; name their folder.")
            try:
                return folder_digest(folder, cache)
            except OSError as error:
                raise ConfigurationError(
                    f"The files of model {card.id!r} cannot be read: {error.strerror}. The card names {path!r}.",
                    detail=str(error),
                ) from error


def _names(card: ModelCard, folder: Path | None) -> frozenset[str]:
    names = {card.id}
    if folder is not None:
        names |= {str(folder), str(folder.resolve())}
    match card.source:
        case HubSource(repo=repo):
            names.add(repo)
        case S3Source(url=url):
            names.add(url)
    return frozenset(names)


def _modules(architecture: Architecture, targets: list[str] | None) -> tuple[str, ...]:
    """The projections that an engine adapts with these `lora_target_modules`; with experts those of attention only."""
    known = ATTENTION_MODULES if architecture.num_experts > 1 else tuple(module_shapes(architecture))
    if targets is None:
        return known
    wanted = set(targets)
    for whole, parts in PACKED:
        if wanted & {whole, *parts}:
            wanted |= set(parts)
    return tuple(name for name in known if name in wanted)


def _noted(note: Path, key: str) -> str | None:
    try:
        found = json.loads(note.read_text())
        return str(found["digest"]) if found["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(note: Path, content: Mapping[str, str]) -> None:
    """At once or not at all. A cache that cannot be written costs time only."""
    draft = note.with_name(f".{note.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        note.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft.write_text(json.dumps(content))
        draft.replace(note)
    except OSError:
        with suppress(OSError):
            draft.unlink()
