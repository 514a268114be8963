"""What may become live, and how a gateway follows."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from models.catalog import ModelStore
from models.catalog.pull import Puller, access_of
from models.errors import ConfigurationError, InvalidRequest, NotFound
from router.model import RouterModel
from router.policies import classifier_of
from serving.classifier.published import PublishedRouters, first_release, unreleased
from serving.classifier.releases import ReleaseBook, Releases, threshold_of
from serving.settings import Settings, load_settings
from serving.store.store import Store
from serving.telemetry.record import CallRecord
from tests.serving.conftest import ManualClock

Versions = tuple[str, str]


@pytest.fixture
def releases(store: Store, routers: PublishedRouters) -> Releases:
    return Releases(
        store.releases, store.records.scores, name="default", policy="learned", find=routers.model, clock=ManualClock()
    )


async def test_a_version_is_promoted_with_the_threshold_that_it_was_calibrated_to(
    releases: Releases, versions: Versions, model: RouterModel, store: Store
) -> None:
    row = await releases.promote(versions[0])
    assert (row.version, row.threshold, row.share) == (versions[0], model.manifest.thresholds["learned"], None)
    assert await store.releases.live("default", "learned") == row


async def test_a_share_is_turned_into_a_threshold_and_kept(
    releases: Releases, versions: Versions, model: RouterModel
) -> None:
    row = await releases.promote(versions[0], share=0.3)
    assert (row.threshold, row.share) == (model.threshold_for(0.3, "learned"), 0.3)
    moved = await releases.set_threshold(threshold=0.125)
    assert (moved.action, moved.version, moved.threshold, moved.share) == ("set-threshold", versions[0], 0.125, None)


async def test_a_share_goes_by_the_traffic_of_the_version_once_there_is_enough_of_it(
    releases: Releases, versions: Versions, store: Store
) -> None:
    def decided(count: int, version: str, score: float) -> list[CallRecord]:
        return [
            CallRecord(
                f"r{score}-{at}",
                float(at),
                "chat",
                route_policy="learned",
                route_version=version,
                route_score=score + at / 1000,
            )
            for at in range(count)
        ]

    await store.records.add(decided(499, versions[0], 0.0) + decided(600, versions[1], 5.0))
    assert (await releases.promote(versions[0], share=0.2)).basis == "training prompts"
    await store.records.add(decided(501, versions[0], 0.6))
    row = await releases.set_threshold(share=0.2)
    assert (row.share, row.basis) == (0.2, "the last 1,000 prompts")
    assert row.threshold == pytest.approx(0.6 + 0.301)
    assert (await releases.set_threshold(share=1.0)).basis == "training prompts"


@pytest.mark.parametrize(("share", "threshold"), [(0.5, 3.0), (0.25, 4.0), (0.01, 4.0), (0.99, 1.0)])
def test_the_threshold_of_a_share_is_a_score_that_was_seen(share: float, threshold: float) -> None:
    assert threshold_of([1.0, 4.0, 2.0, 3.0], share) == threshold


async def test_a_version_that_is_not_there_or_cannot_be_used_changes_nothing(
    releases: Releases, versions: Versions, store: Store
) -> None:
    row = await releases.promote(versions[0])
    with pytest.raises(ConfigurationError):
        await releases.promote("f" * 12)
    with pytest.raises(ConfigurationError):
        await releases.shadow("f" * 12)
    assert await store.releases.live("default", "learned") == row


async def test_before_the_first_promotion_there_is_nothing_to_change(releases: Releases, versions: Versions) -> None:
    for change in (releases.set_threshold(threshold=0.1), releases.rollback(), releases.shadow(versions[0])):
        with pytest.raises(NotFound):
            await change


async def test_a_rollback_restores_the_version_before_with_its_last_threshold(
    releases: Releases, versions: Versions
) -> None:
    await releases.promote(versions[0], threshold=0.1)
    await releases.set_threshold(threshold=0.2)
    await releases.promote(versions[1], threshold=0.3)
    await releases.set_threshold(threshold=0.4)
    back = await releases.rollback()
    assert (back.action, back.version, back.threshold) == ("rollback", versions[0], 0.2)
    with pytest.raises(NotFound, match="nothing to go back to"):  # and not forth again to what was left
        await releases.rollback()


async def test_the_only_version_has_nothing_to_go_back_to(releases: Releases, versions: Versions) -> None:
    await releases.promote(versions[0])
    with pytest.raises(NotFound, match="nothing to go back to"):
        await releases.rollback()


async def test_a_shadow_gets_the_threshold_for_the_live_share_and_stays_while_the_threshold_moves(
    releases: Releases, versions: Versions, model: RouterModel
) -> None:
    await releases.promote(versions[0], share=0.25)
    row = await releases.shadow(versions[1])
    assert (row.shadow, row.shadow_threshold) == (versions[1], model.threshold_for(0.25, "learned"))
    assert (await releases.set_threshold(threshold=0.5)).shadow == versions[1]
    assert (await releases.shadow(None)).shadow is None


async def test_a_version_that_was_never_calibrated_needs_a_threshold(store: Store, model: RouterModel) -> None:
    bare = model.manifest.model_copy(update={"thresholds": {}})

    def find(_: str) -> RouterModel:
        return RouterModel(bare, model.axes, model.heads, model.examples, model.reference, model.known)

    releases = Releases(
        store.releases, store.records.scores, name="default", policy="learned", find=find, clock=ManualClock()
    )
    with pytest.raises(InvalidRequest, match="never calibrated"):
        await releases.promote("v")


def profile(folder: Path, model: Path) -> Path:
    file = folder / "learned.yaml"
    file.write_text(
        "tiers: {small: demo-small, large: demo-large}\nengines: [{card: demo-small}, {card: demo-large}]\n"
        f"router: {{kind: learned, classifier: {{model: {model}, large_share: 0.4, embedder: {{kind: hashing}}}}}}\n"
    )
    return file


async def started(settings: Settings, store_url: str, *, folder: Path) -> None:
    """What a start of a stack does about releases; its store and its cache lie under `folder`."""
    places = {"home": folder / "artifacts", "cache": folder / "fetched"}
    await first_release(settings, store_url=store_url, puller=Puller(ModelStore(None), access_of({})), **places)


class Prepared:
    """Remembers which versions were prepared; raises for the first ones if told to."""

    def __init__(self, *errors: Exception) -> None:
        self.versions: list[str] = []
        self.errors: Iterator[Exception] = iter(errors)

    async def __call__(self, version: str) -> None:
        self.versions.append(version)
        if (error := next(self.errors, None)) is not None:
            raise error


async def test_a_gateway_follows_once_the_classifiers_have_the_version(
    releases: Releases, versions: Versions, store: Store
) -> None:
    book, prepared = ReleaseBook(store.releases, name="default", policy="learned"), Prepared()
    await book.refresh(prepared)
    assert book.release is None
    first = await releases.promote(versions[0], threshold=0.1)
    await book.refresh(prepared)
    assert (book.release, prepared.versions) == (first, [versions[0]])
    moved = await releases.set_threshold(threshold=0.2)
    await book.refresh(prepared)
    assert (book.release, prepared.versions) == (moved, [versions[0]])
    await releases.shadow(versions[1])
    await book.refresh(prepared)
    assert prepared.versions == [versions[0], versions[1]]


@pytest.mark.parametrize("threshold", [float("nan"), float("inf"), -float("inf")])
async def test_a_threshold_that_is_no_number_is_refused(
    releases: Releases, versions: Versions, threshold: float
) -> None:
    with pytest.raises(InvalidRequest, match=f"threshold: {threshold} is no number"):
        await releases.promote(versions[0], threshold=threshold)


@pytest.mark.parametrize("share", [float("nan"), float("inf"), -0.01, 1.01])
async def test_a_share_that_is_none_is_refused(
    releases: Releases, versions: Versions, store: Store, share: float
) -> None:
    live = await releases.promote(versions[0])
    for change in (releases.promote(versions[1], share=share), releases.set_threshold(share=share)):
        with pytest.raises(InvalidRequest, match=f"large_share: {share} is no share"):
            await change
    assert await store.releases.live("default", "learned") == live


async def test_a_version_that_is_gone_is_not_gone_back_to(
    releases: Releases, versions: Versions, store: Store, tmp_path: Path
) -> None:
    await releases.promote(versions[0])
    live = await releases.promote(versions[1])
    shutil.rmtree(tmp_path / "artifacts")
    with pytest.raises(ConfigurationError):
        await releases.rollback()
    assert await store.releases.live("default", "learned") == live


async def test_a_gateway_whose_classifiers_are_not_ready_stays_where_it_was_and_tries_again(
    releases: Releases, versions: Versions, store: Store
) -> None:
    book = ReleaseBook(store.releases, name="default", policy="learned")
    await releases.promote(versions[0], threshold=0.1)
    with pytest.raises(OSError, match="not now"):
        await book.refresh(Prepared(OSError("not now")))
    assert book.release is None
    await book.refresh(Prepared())
    assert book.release is not None


async def test_a_profiles_model_that_is_not_calibrated_is_promoted_for_the_share_of_the_settings(
    store: Store, store_url: str, model: RouterModel, tmp_path: Path
) -> None:
    replace(model, manifest=model.manifest.model_copy(update={"thresholds": {}})).write(tmp_path / "bare")
    settings = load_settings(str(profile(tmp_path, tmp_path / "bare")))
    await started(settings, store_url, folder=tmp_path)
    live = await store.releases.live("default", "learned")
    assert live is not None
    assert (live.share, live.threshold) == (0.4, model.threshold_for(0.4, "learned"))


async def test_a_profiles_model_of_another_embedder_is_refused_and_nothing_is_live(
    store: Store, store_url: str, model: RouterModel, tmp_path: Path
) -> None:
    other = model.manifest.model_copy(update={"embedder": "hashing-64@00000000"})
    replace(model, manifest=other).write(tmp_path / "other")
    settings = load_settings(str(profile(tmp_path, tmp_path / "other")))
    with pytest.raises(ConfigurationError, match="trained with embedder hashing-64@00000000"):
        await started(settings, store_url, folder=tmp_path)
    assert await store.releases.live("default", "learned") is None


async def test_the_profiles_model_is_promoted_once_and_never_over_a_choice(
    store: Store, store_url: str, routers: PublishedRouters, versions: Versions, tmp_path: Path
) -> None:
    settings = load_settings(str(profile(tmp_path, tmp_path / "model0")))
    await started(settings, store_url, folder=tmp_path)
    live = await store.releases.live("default", "learned")
    assert live is not None
    assert (live.version, live.basis) == (versions[0], "calibrated")
    own = classifier_of(settings.router)
    assert own is not None
    before = unreleased(own, "learned")
    assert before is not None
    assert (before.release.version, before.release.threshold) == (live.version, live.threshold)
    releases = Releases(
        store.releases, store.records.scores, name="default", policy="learned", find=routers.model, clock=ManualClock()
    )
    chosen = await releases.promote(versions[1], threshold=0.1)
    await started(settings, store_url, folder=tmp_path)
    assert await store.releases.live("default", "learned") == chosen
