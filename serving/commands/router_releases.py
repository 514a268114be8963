"""`penstock router promote`, `set-threshold`, `shadow`, `rollback` and `status`: what is live, and changing it.

Changes go to the stack's store, which every gateway follows within a second; no process restarts. Owns the words on
the terminal; the rules are `serving/classifier/releases.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import httpx2
import typer
from rich.markup import escape
from rich.table import Table

from models.catalog import ModelStore
from models.catalog.pull import Puller, access_of
from models.clock import SystemClock
from models.errors import ConfigurationError, PenstockError, Unavailable
from router.drift import FEWEST
from router.policies import ClassifierSettings, classifier_of, scoring_of
from serving.classifier.published import PublishedRouters, fitting
from serving.classifier.releases import Releases
from serving.commands.options import JsonOption, StateOption, environment, finite, profile_of, state_of
from serving.commands.target import store_url_of, target_of
from serving.commands.terminal import err, out, print_json
from serving.settings import Settings, load_settings
from serving.state import StateDir
from serving.store.releases import ReleaseRow
from serving.store.store import Store

PATIENCE_S = 30.0

ThresholdOption = Annotated[
    float | None,
    typer.Option("--threshold", callback=finite, help="Gains from here on go to the large tier.", show_default=False),
]
ShareOption = Annotated[
    float | None,
    typer.Option(
        "--large-share",
        min=0,
        max=1,
        callback=finite,
        help="The threshold for this share of large calls.",
        show_default=False,
    ),
]
VersionArgument = Annotated[
    str, typer.Argument(help="As `penstock router versions` lists it; its first digits will do.", show_default=False)
]

app = typer.Typer()


@app.command("promote")
def promote(
    version: VersionArgument,
    *,
    threshold: ThresholdOption = None,
    large_share: ShareOption = None,
    as_json: JsonOption = False,
    state_dir: StateOption = None,
) -> None:
    """Make a published version live, within a second on every gateway; the one before stays for `rollback`."""
    _one_of(threshold, large_share)

    async def change(releases: Releases, routers: PublishedRouters) -> ReleaseRow:
        return await releases.promote(routers.version(version), threshold=threshold, share=large_share)

    _changed(change, state_of(state_dir), as_json=as_json)


@app.command("set-threshold")
def set_threshold(
    *,
    threshold: ThresholdOption = None,
    large_share: ShareOption = None,
    as_json: JsonOption = False,
    state_dir: StateOption = None,
) -> None:
    """Move the live version's threshold, within a second on every gateway."""
    _one_of(threshold, large_share)
    if threshold is None and large_share is None:
        raise ConfigurationError("Name the new threshold: --threshold or --large-share.")

    async def change(releases: Releases, _: PublishedRouters) -> ReleaseRow:
        return await releases.set_threshold(threshold=threshold, share=large_share)

    _changed(change, state_of(state_dir), as_json=as_json)


@app.command("shadow")
def shadow(
    version: Annotated[
        str | None, typer.Argument(help="A published version; its first digits will do.", show_default=False)
    ] = None,
    *,
    off: Annotated[bool, typer.Option("--off", help="End it.")] = False,
    as_json: JsonOption = False,
    state_dir: StateOption = None,
) -> None:
    """Let a version read along: it decides nothing, and every record keeps what it would have done."""
    if (version is None) != off:
        raise ConfigurationError("Name a version, or --off.")

    async def change(releases: Releases, routers: PublishedRouters) -> ReleaseRow:
        return await releases.shadow(None if version is None else routers.version(version))

    _changed(change, state_of(state_dir), as_json=as_json)


@app.command("rollback")
def rollback(*, as_json: JsonOption = False, state_dir: StateOption = None) -> None:
    """Back to the version that was live before this one, with its threshold."""

    async def change(releases: Releases, _: PublishedRouters) -> ReleaseRow:
        return await releases.rollback()

    _changed(change, state_of(state_dir), as_json=as_json)


@app.command("status")
def status(*, as_json: JsonOption = False, state_dir: StateOption = None) -> None:
    """What is live, what it decided lately, how far the prompts have moved from its training, and what to do."""
    found = _asked(state_of(state_dir))
    if as_json:
        print_json(found)
    else:
        _show(found)


Change = Callable[[Releases, PublishedRouters], Awaitable[ReleaseRow]]


def _changed(change: Change, state: StateDir, *, as_json: bool) -> None:
    row = asyncio.run(_change(change, state))
    if as_json:
        print_json(asdict(row))
        return
    share = "" if row.share is None else f", for {row.share:.0%} large calls by {row.basis}"
    beside = "" if row.shadow is None else f"; {row.shadow} reads along"
    err().print(f"Live: version {row.version} from {row.threshold:.4f} on{share}{beside}.", markup=False)


async def _change(change: Change, state: StateDir) -> ReleaseRow:
    settings = load_settings(profile_of(None, state))
    classifier = _classifier(settings)
    routers = PublishedRouters.of(settings.artifacts, home=state.artifacts, cache=state.fetched, name=classifier.name)
    puller = Puller(ModelStore(state.models), access_of(environment()), wait=True)
    async with Store.open(store_url_of(state)) as store:
        releases = Releases(
            store.releases,
            store.records.scores,
            name=classifier.name,
            policy=scoring_of(settings.router),
            find=fitting(routers.model, classifier, puller=puller),
            clock=SystemClock(),
        )
        return await change(releases, routers)


def _classifier(settings: Settings) -> ClassifierSettings:
    found = classifier_of(settings.router)
    if found is None:
        raise ConfigurationError(
            f"The profile's routing policy is {settings.router.kind!r}, which reads no prompt: set `router.kind` to"
            " `learned` or `knn`, and `penstock up`."
        )
    return found


def _one_of(threshold: float | None, large_share: float | None) -> None:
    if threshold is not None and large_share is not None:
        raise ConfigurationError("Name --threshold or --large-share, not both.")


def _asked(state: StateDir) -> dict[str, Any]:
    target = target_of(state, environment())
    headers = {"Authorization": f"Bearer {target.key}"}
    try:
        answer = httpx2.get(f"{target.url}/v1/router/status", headers=headers, timeout=PATIENCE_S, trust_env=False)
        body: dict[str, Any] = answer.json()
    except (httpx2.HTTPError, ValueError) as error:
        raise Unavailable("The stack does not answer.", detail=str(error)) from error
    if not answer.is_success:
        raise PenstockError(body["error"]["message"], code=body["error"]["code"])
    return body


def _show(found: dict[str, Any]) -> None:
    console, live = out(), found["live"]
    console.print(f"policy {found['policy']}", markup=False)
    if live is not None:
        _show_live(found)
    for warning in found["warnings"]:
        console.print(f"[yellow]{escape(warning)}[/yellow]")


def _show_live(found: dict[str, Any]) -> None:
    console, live, decided = out(), found["live"], found["decisions"]
    for line in _live_lines(live, found["model"]):
        console.print(line, markup=False)
    if decided["count"]:
        console.print(
            f"last {decided['count']:,} decisions at this threshold: {decided['large_share']:.1%} large"
            f" ({decided['routed_large_share']:.1%} with conversations that stay)",
            markup=False,
        )
    else:
        console.print("no decisions at this threshold yet")
    if found["defaults"]:
        causes = ", ".join(f"{cause} {count}" for cause, count in sorted(found["defaults"].items()))
        console.print(f"left to the default tier in the last hour: {causes}", markup=False)
    if (beside := found["shadow"]) is not None and beside["count"]:
        console.print(
            f"shadow {beside['version']}: {beside['agreement']:.1%} of {beside['count']:,} alike,"
            f" {beside['large_share']:.1%} large",
            markup=False,
        )
    _show_drift(found["drift"])


def _live_lines(live: dict[str, Any], model: dict[str, str] | None) -> Iterator[str]:
    """Which version, from where on, since when, and what it is. `model`: None where no classifier has it."""
    since = datetime.fromtimestamp(live["created_at"], UTC).strftime("%Y-%m-%d %H:%M UTC")
    meant = "" if live["share"] is None else f", meant for {live['share']:.0%} large calls"
    basis = "" if live["basis"] is None else f" by {live['basis']}" if meant else f" ({live['basis']})"
    yield f"live: router {live['name']!r}, version {live['version']}, since {since} ({live['action']})"
    yield f"threshold: gains from {live['threshold']:.4f} on go to the large tier{meant}{basis}"
    if model is None:
        yield "model: no classifier has it in memory"
        return
    yield (
        f"model: {model.get('prompts')} labelled prompts (data {model.get('data_digest', '')[:8]}),"
        f" {model.get('small')} → {model.get('large')}, embedder {model.get('embedder')}"
    )


def _show_drift(drift: dict[str, Any]) -> None:
    console = out()
    seen = max((shift["prompts"] for shift in drift.values()), default=0)
    if seen < FEWEST:
        console.print(f"drift: of {seen} prompts nothing can be told yet; {FEWEST} are enough")
    else:
        table = Table("quantity", "PSI", "prompts", "", box=None)
        for name, shift in drift.items():
            psi = "–" if shift["psi"] is None else f"{shift['psi']:.3f}"
            table.add_row(name, psi, str(shift["prompts"]), shift["verdict"])
        console.print(table)
