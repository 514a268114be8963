"""A classifier inside the process that asks: for the command line, where no stack runs. The same scorer, no hop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from models.catalog.pull import Puller
from models.embedders import build_embedder
from models.errors import ConfigurationError
from router.manifest import PolicyName
from router.policies import ClassifierSettings
from router.tasks import shipped
from router.types import NoReading
from serving.classifier.client import Outcome, ask_of, outcome_of
from serving.classifier.scorer import Scorer
from serving.store.releases import ReleaseRow

if TYPE_CHECKING:
    from router.model import RouterModel

PATIENCE_S = 60.0


class LocalClassifier:
    """Loads the embedder with the first prompt: seconds, mostly imports."""

    def __init__(
        self,
        settings: ClassifierSettings,
        find: Callable[[str], RouterModel],
        *,
        puller: Puller,
        release: ReleaseRow | None,
        policy: PolicyName,
    ) -> None:
        """`find`: gives the model of a version, or raises `ConfigurationError`; `puller`: fetches an embedder that the
        settings name by its place on a hub."""
        self._settings = settings
        self._puller = puller
        self._find = find
        self._release = release
        self._policy = policy

    async def look(self, text: str, *, nearest: int | None) -> Outcome:
        """As the gateway's client."""
        if self._release is None:
            return Outcome(NoReading("none", "no router model is promoted"))
        ask = ask_of(text, self._release, policy=self._policy, within_s=PATIENCE_S, nearest=nearest)
        try:
            scorer = await asyncio.to_thread(scorer_of, self._settings, self._find, puller=self._puller)
            scorer.load(self._release.version)
        except ConfigurationError as error:
            return Outcome(NoReading("down", error.public))
        return outcome_of(scorer.read([ask])[0], self._release)


def scorer_of(settings: ClassifierSettings, find: Callable[[str], RouterModel], *, puller: Puller) -> Scorer:
    """A scorer for these settings. Blocks while the embedder is loaded; raises `ConfigurationError`."""
    embedder, tasks = build_embedder(settings.embedder, puller=puller), shipped()
    return Scorer(embedder, tasks if tasks.manifest.embedder == embedder.id else None, find=find)
