"""The family of routing policies: the contract, the table of kinds, and how settings become a policy.

A new policy is one file here (`Settings` with its own `kind`, `build(settings)`) and one row in `POLICIES`; nothing
else changes, because settings are read through the table. Owns no decision itself.
"""

from __future__ import annotations

from typing import Annotated, Protocol, cast

from pydantic import BeforeValidator, SerializeAsAny

from models.config import PluginSettings
from models.plugins import Registry
from models.types import GenerationRequest, Route
from router.manifest import PolicyName
from router.policies.learned import ClassifierSettings
from router.policies.static import StaticSettings
from router.types import Contribution, Reading

__all__ = [
    "POLICIES",
    "ClassifierSettings",
    "Policy",
    "PolicySettings",
    "StaticSettings",
    "build_policy",
    "classifier_of",
    "scoring_of",
]

POLICIES = Registry(
    "router policy",
    {
        "static": "router.policies.static",
        "threshold": "router.policies.threshold",
        "learned": "router.policies.learned",
        "knn": "router.policies.knn",
    },
)

PolicySettings = Annotated[SerializeAsAny[PluginSettings], BeforeValidator(POLICIES.read)]


class Policy(Protocol):
    """Which tier should answer a request whose `model` is `auto`.

    Pure and quick: called once for every such request, inside the event loop, so no I/O and no wait. It may raise or
    give nonsense: the router then takes the default tier and says so.
    """

    def choose(self, request: GenerationRequest, reading: Reading | None = None, /) -> Route:
        """The tiers, best first; a tier that is left out is never tried.

        `reading`: what the classifier says of the prompt, for a policy whose settings have a `classifier`.
        """
        ...

    def explain(self, request: GenerationRequest, /) -> tuple[Contribution, ...]:
        """What spoke for the score of this request, feature by feature; empty when nothing is scored."""
        ...


def classifier_of(settings: PluginSettings) -> ClassifierSettings | None:
    """The classifier deployment that the policy of these settings needs; None for one that reads no prompt."""
    return getattr(settings, "classifier", None)


def scoring_of(settings: PluginSettings) -> PolicyName:
    """By which of a trained model's means the policy of these settings scores: its kind, where it has a classifier."""
    return cast(PolicyName, settings.kind)


def build_policy(settings: PluginSettings) -> Policy:
    """The policy that these settings describe."""
    return cast(Policy, POLICIES.module(settings.kind).build(settings))
