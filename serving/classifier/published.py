"""Published router models: found by version, brought to this machine, read; and the first one of a stack.

Owns the way from a version to a model in memory. Does not own the store (`models/artifacts`) or what is live.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from models.artifacts import ArtifactStoreSettings
from models.artifacts.artifact import VERSION_DIGITS, ArtifactKind, digest_of
from models.artifacts.contents import contents
from models.artifacts.store import ArtifactStore, open_artifacts
from models.catalog.pull import Puller
from models.catalog.store import PACKAGE
from models.clock import SystemClock
from models.embedders import identity_of
from models.errors import ConfigurationError
from router.manifest import PolicyName
from router.policies import ClassifierSettings, classifier_of, scoring_of
from serving.classifier.releases import Releases
from serving.settings import Settings
from serving.store.releases import ReleaseRow
from serving.store.store import Store

if TYPE_CHECKING:
    from router.model import RouterModel

KIND: ArtifactKind = "router"


class PublishedRouters:
    """The versions of one router."""

    def __init__(self, artifacts: ArtifactStore, *, name: str, cache: Path) -> None:
        """`cache`: the folder for what is fetched."""
        self.artifacts = artifacts
        self.name = name
        self._cache = cache

    @classmethod
    def of(cls, settings: ArtifactStoreSettings, *, home: Path, cache: Path, name: str) -> Self:
        """`home`: where a local store lies unless its settings say so."""
        return cls(open_artifacts(settings, home=home), name=name, cache=cache)

    def version(self, begins: str) -> str:
        """The whole version that begins with these digits. Raises `ConfigurationError`."""
        return self.artifacts.find(KIND, self.name, version=begins).version

    def model(self, version: str) -> RouterModel:
        """The model of a version. Raises `ConfigurationError` when it is not there or cannot be used."""
        artifact = self.artifacts.find(KIND, self.name, version=version)
        return read(self.artifacts.fetch(artifact, to=self._cache))

    def publish(self, folder: Path) -> str:
        """Publish a trained model; returns its version. Raises `ConfigurationError` for a folder that holds none."""
        about = read(folder).manifest.about()
        return self.artifacts.publish(folder, kind=KIND, name=self.name, about=about).version


def read(folder: Path) -> RouterModel:
    """The model of a folder. The command line loads where what a model needs is not installed, so it comes late.

    Raises `ConfigurationError`.
    """
    try:
        library = import_module("router.model")
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"A trained router needs the extras `engine` and `router` ({error.name} is missing): make setup."
        ) from error
    model: RouterModel = library.read_model(folder)
    return model


def require_fit(model: RouterModel, classifier: ClassifierSettings, *, puller: Puller) -> None:
    """Raise `ConfigurationError` unless the classifier of these settings has the embedder that the model was made with:
    live it would answer nothing, and every prompt would be left to the default tier."""
    model.manifest.require(identity_of(classifier.embedder, puller=puller))


def fitting(
    find: Callable[[str], RouterModel], classifier: ClassifierSettings, *, puller: Puller
) -> Callable[[str], RouterModel]:
    """`find`, but what the classifier of these settings cannot use is refused."""

    def found(version: str) -> RouterModel:
        model = find(version)
        require_fit(model, classifier, puller=puller)
        return model

    return found


class Unreleased(NamedTuple):
    """The profile's own model, as the first `penstock up` would make it live."""

    model: RouterModel
    release: ReleaseRow

    def find(self, version: str) -> RouterModel:
        """The model, for whoever asks for its version. Raises `ConfigurationError` for another one."""
        if version != self.release.version:
            raise ConfigurationError(f"Version {version!r} is not that of the profile's own model.")
        return self.model


def unreleased(classifier: ClassifierSettings, policy: PolicyName) -> Unreleased | None:
    """The model that these settings bring along, if they do. Publishes nothing; raises `ConfigurationError`."""
    folder = _brought(classifier)
    if folder is None:
        return None
    model = read(folder)
    version = digest_of(contents(folder, max_bytes=ArtifactStoreSettings(kind="folder").max_bytes))[:VERSION_DIGITS]
    threshold, share = model.manifest.thresholds.get(policy), None
    if threshold is None:
        threshold, share = model.threshold_for(classifier.large_share, policy), classifier.large_share
    return Unreleased(
        model, ReleaseRow(classifier.name, policy, "promote", version, threshold, created_at=0, share=share)
    )


def _brought(classifier: ClassifierSettings) -> Path | None:
    if classifier.model is None:
        return None
    folder = PACKAGE / classifier.model
    if not folder.is_dir():
        raise ConfigurationError(f"router.classifier.model: {str(classifier.model)!r} is no folder.")
    return folder


async def first_release(settings: Settings, *, store_url: str, home: Path, cache: Path, puller: Puller) -> None:
    """Publish and promote the profile's model where the policy wants one and nothing was ever promoted.

    Raises `ConfigurationError` for a model that cannot be used.
    """
    classifier = classifier_of(settings.router)
    if classifier is None or (folder := _brought(classifier)) is None:
        return
    async with Store.open(store_url) as store:
        if await store.releases.live(classifier.name, scoring_of(settings.router)) is not None:
            return
        routers = PublishedRouters.of(settings.artifacts, home=home, cache=cache, name=classifier.name)
        releases = Releases(
            store.releases,
            store.records.scores,
            name=classifier.name,
            policy=scoring_of(settings.router),
            find=fitting(routers.model, classifier, puller=puller),
            clock=SystemClock(),
        )
        version = routers.publish(folder)
        calibrated = scoring_of(settings.router) in routers.model(version).manifest.thresholds
        await releases.promote(version, share=None if calibrated else classifier.large_share)
