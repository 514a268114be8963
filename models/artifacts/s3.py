"""Artifact store `s3`: a prefix of a bucket, for machines with no common disk. Owns settings; the rest is `bucket`."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Literal, cast

from pydantic import Field

from models.artifacts import ArtifactStoreSettings, Shelf
from models.errors import ConfigurationError


class S3Settings(ArtifactStoreSettings):
    """A bucket. Its keys and region come from its own variables, `AWS_ACCESS_KEY_ID` and the like."""

    kind: Literal["s3"] = Field("s3", description="A bucket of an object store; needs the extra `s3`.")
    bucket: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", description="The bucket, which must be there.")
    prefix: str = Field(
        "penstock/artifacts", pattern=r"^[\w-]+([./][\w-]+)*$", description="What every key begins with."
    )
    endpoint: str | None = Field(
        None, pattern=r"^https?://", description="An object store that is not AWS, `http://` or `https://`."
    )


Settings = S3Settings


def build(settings: S3Settings, home: Path) -> Shelf:  # noqa: ARG001
    """The shelf of these settings; the store is not asked. `ConfigurationError` when its client is not installed."""
    try:
        edge = import_module("models.artifacts.bucket")
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"The artifact store `s3` needs the package {error.name!r}. Install the extra `s3`."
        ) from error
    return cast(Shelf, edge.BucketShelf(f"s3://{settings.bucket}/{settings.prefix}", settings.endpoint))
