"""What a router model says of itself, and which one can be used here. Owns the names; the numbers are `model.py`'s."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import pairwise
from typing import Literal, get_args

from pydantic import Field, ValidationError

from models.config import Frozen
from models.embedders import Embedder, Identity
from models.errors import ConfigurationError
from router.surface import VERSION

FORMAT = 2
AGAIN = "Train it again: `penstock router train`."
PolicyName = Literal["learned", "knn"]
POLICIES: tuple[PolicyName, ...] = get_args(PolicyName)
"""The ways in which one model scores: by what it learned, by the neighbours among its examples."""


class Manifest(Frozen):
    """What a model says of itself. Mappings have an entry for each of `POLICIES`, `thresholds` for those that are
    calibrated."""

    format: int = Field(FORMAT, description="Of the files.")
    surface_version: int = Field(VERSION, description="Of `router/surface.py` that it was trained with.")
    embedder: str = Field(description="Id of the embedder that it was trained with.")
    depths: tuple[int, ...] = Field(description="The embedder's layers that it reads.")
    max_tokens: int = Field(description="Tokens of a text that the embedder reads.")
    small: str = Field(description="What the small tier was called in the labels.")
    large: str = Field(description="What the large tier was called in the labels.")
    data_digest: str = Field(description="SHA-256 of the labelled data.")
    prompts: int = Field(ge=1, description="How many labelled prompts it was trained on.")
    seed: int = Field(description="Of its training.")
    weights_digest: str = Field("", description="SHA-256 of the weights; given when it is written.")
    warnings: tuple[str, ...] = Field((), description="What its training had to say against it.")
    quantiles: Mapping[PolicyName, tuple[float, ...]] = Field(
        description="The gain's 0, 1, … 100 % quantiles on training prompts held out in turn."
    )
    widest: Mapping[PolicyName, float] = Field(description="The largest error of the gain on those same prompts.")
    farthest: float = Field(description="The largest distance of an example from the nearest other one.")
    thresholds: Mapping[PolicyName, float] = Field(
        default_factory=dict, description="Gains from here on go to the large tier."
    )

    def require(self, embedder: Embedder | Identity) -> None:
        """Raise `ConfigurationError` unless the model was trained with this embedder, read as deep and as far."""
        trained, here = (
            (self.embedder, self.depths, self.max_tokens),
            (embedder.id, embedder.depths, embedder.max_tokens),
        )
        if trained != here:
            raise ConfigurationError(
                f"The router was trained with embedder {trained[0]} at depths {trained[1]} and {trained[2]} tokens;"
                f" here it is {here[0]} at {here[1]} and {here[2]}."
            )

    def about(self) -> dict[str, str]:
        """What a published version says of the model in it."""
        thresholds = ", ".join(f"{policy} {value:g}" for policy, value in sorted(self.thresholds.items()))
        return {
            "prompts": str(self.prompts),
            "data_digest": self.data_digest,
            "small": self.small,
            "large": self.large,
            "embedder": self.embedder,
            "thresholds": thresholds,
        }


def read_manifest(content: bytes, *, where: str) -> Manifest:
    """The manifest in this JSON. Raises `ConfigurationError` for one that cannot be read or that is of another format
    or other features; `where` names it."""
    number = _format(content)
    if number not in (None, FORMAT):
        raise ConfigurationError(
            f"The router model in {where} has format {number}, this version reads {FORMAT}. {AGAIN}"
        )
    try:
        found = Manifest.model_validate_json(content)
    except ValidationError as error:
        raise ConfigurationError(f"The manifest in {where} cannot be read.", detail=str(error)) from error
    if found.surface_version != VERSION:
        raise ConfigurationError(
            f"The router model in {where} was trained on features of version {found.surface_version};"
            f" here it is {VERSION}. {AGAIN}"
        )
    if any(not _ascends(found.quantiles.get(policy, ())) or policy not in found.widest for policy in POLICIES):
        raise ConfigurationError(f"The manifest in {where} does not say how its policies scored. {AGAIN}")
    return found


def _ascends(quantiles: tuple[float, ...]) -> bool:
    """Whether these can be quantiles of a gain."""
    ordered = all(before <= after for before, after in pairwise(quantiles))
    return len(quantiles) >= 2 and ordered and -1 <= quantiles[0] <= quantiles[-1] <= 1


def _format(content: bytes) -> object:
    """The format that it names, before anything else is believed; None where it names none."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return found.get("format") if isinstance(found, dict) else None
