"""What adapters are called: by people, by clients, and by engines, which never see one name with two weights."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Cohort = Literal["live", "canary", "pinned"]

ENGINE_DIGITS = 20
"""Of the digest in an engine's name: 80 bits, so that nobody can make other weights of the same name."""

_ENGINE_NAME = re.compile(rf"[a-z0-9][a-z0-9._-]{{0,62}}@[0-9a-f]{{{ENGINE_DIGITS}}}")
_ARTIFACT = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class AdapterRef:
    """All that a replica needs to serve one version: what the engine calls it, and where its files are.

    `artifact` is its name in the artifact store, `digest` the SHA-256 of the listing of its files.
    """

    engine_name: str
    artifact: str
    digest: str

    @property
    def header(self) -> str:
        """As a gateway sends it with a call."""
        return f"{self.engine_name} {self.artifact} {self.digest}"

    @classmethod
    def of(cls, header: str) -> AdapterRef | None:
        """What such a header says; None for anything else."""
        parts = header.split(" ")
        if len(parts) != 3:
            return None
        name, artifact, digest = parts
        if not (_ENGINE_NAME.fullmatch(name) and _ARTIFACT.fullmatch(artifact) and _DIGEST.fullmatch(digest)):
            return None
        return cls(name, artifact, digest) if name.endswith(f"@{digest[:ENGINE_DIGITS]}") else None


@dataclass(frozen=True, slots=True)
class ServedAdapter:
    """The version that answers a call: of which adapter, on which card, and why this one.

    `live`: the alias points to it; `canary`: the caller is among those who try it; `pinned`: the call names it.
    """

    name: str
    number: int
    ref: AdapterRef
    card: str
    cohort: Cohort


def engine_name(name: str, digest: str) -> str:
    """What engines call the version of this adapter with this digest (64 hexadecimal digits)."""
    return f"{name}@{digest[:ENGINE_DIGITS]}"


def adapter_of(name: str) -> str:
    """The adapter whose version, if it is one's, engines call so; else the name itself."""
    return name.partition("@")[0]
