"""One published version: its name, its files and their digests, as the index of a store keeps it. Touches no file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationError, model_validator

from models.config import Frozen
from models.digests import listing_sha256
from models.errors import ConfigurationError
from models.problems import first_problem

ArtifactKind = Literal["router", "adapter", "file", "checkpoint"]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$")]
Fact = Annotated[str, StringConstraints(max_length=500)]

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
VERSION_DIGITS = 12
MOST_FILES = 100
MOST_FACTS = 32


class ArtifactFile(Frozen):
    """One file of a version."""

    size: int = Field(ge=0, description="Bytes.")
    sha256: Sha256


class Artifact(Frozen):
    """One version. The same files give the same version, whoever publishes them and when."""

    kind: ArtifactKind
    name: str = Field(description="The operator's name for the row of versions.")
    digest: Sha256 = Field(description="SHA-256 of the `sha256sum` listing of the files, sorted by name.")
    published_at: float = Field(ge=0, description="Seconds since the epoch.")
    files: Mapping[FileName, ArtifactFile] = Field(min_length=1, max_length=MOST_FILES)
    about: Mapping[Fact, Fact] = Field(max_length=MOST_FACTS, description="What its publisher says of it.")

    @property
    def version(self) -> str:
        """The first digits of the digest: what people write."""
        return self.digest[:VERSION_DIGITS]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files.values())

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r}, version {self.version}"

    @model_validator(mode="after")
    def _digest_is_that_of_the_files(self) -> Artifact:
        if self.digest != digest_of(self.files):
            raise ValueError("digest: is not that of the files")
        return self


def digest_of(files: Mapping[str, ArtifactFile]) -> str:
    """The digest of a version with these files."""
    return listing_sha256({name: file.sha256 for name, file in files.items()})


def described(**fields: Any) -> Artifact:
    """The artifact of these fields; `ConfigurationError` names the one that cannot be."""
    require_name(fields["name"])
    try:
        return Artifact(**fields)
    except ValidationError as error:
        raise ConfigurationError(f"This cannot be published. {first_problem(error, whole='artifact')}.") from error


def is_name(text: str) -> bool:
    """Whether this can be a name. Names become parts of paths."""
    return NAME.fullmatch(text) is not None and ".." not in text


def require_name(name: str) -> None:
    """Refuse what is no name, and say what one is."""
    if not is_name(name):
        raise ConfigurationError(
            f"{name[:64]!r} cannot be the name of an artifact. Use up to 63 lower-case letters, digits, '.', '_' and"
            " '-', a letter or digit first, and no '..'."
        )
