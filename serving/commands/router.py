"""`penstock router`: where a prompt would go and why. Training, releases, labels and tasks have files of their own.

`explain` asks the running stack, or without one runs the profile's own policy here.
"""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import Annotated, Any

import httpx2
import typer
from rich.markup import escape
from rich.table import Table

from models.catalog import Catalog, ModelStore
from models.catalog.pull import Puller, access_of
from models.errors import PenstockError, Unavailable
from models.types import GenerationRequest, Principal
from router.policies import build_policy, classifier_of, scoring_of
from router.router import Router
from serving.classifier.explainer import Classifier, explained
from serving.classifier.published import PublishedRouters, unreleased
from serving.commands.options import JsonOption, ProfileOption, StateOption, environment, profile_of, state_of
from serving.commands.router_label import app as labelling
from serving.commands.router_releases import app as releases
from serving.commands.router_tasks import app as tasks
from serving.commands.router_training import app as training
from serving.commands.router_versions import app as versions
from serving.commands.target import Target, target_of
from serving.commands.terminal import err, out, print_json
from serving.fleet import fleet_of
from serving.settings import Settings, load_settings
from serving.state import NoStack, StateDir
from serving.store.store import Store

app = typer.Typer(help="How requests find their tier.", no_args_is_help=True)
app.add_typer(training)
app.add_typer(labelling)
app.add_typer(releases)
app.add_typer(versions)
app.add_typer(tasks)

ANYBODY = Principal(key_id="-", org="-", user="-", role="engineer")
PATIENCE_S = 30.0


@app.callback()
def router() -> None:
    """How requests find their tier."""


@app.command("explain")
def explain(
    text: Annotated[str, typer.Argument(help="The prompt.", show_default=False)],
    model: Annotated[str, typer.Option(help="What the client would ask for.")] = "auto",
    *,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
    state_dir: StateOption = None,
) -> None:
    """Show which tier a prompt would go to and why: scores or points, threshold, near examples, dropped cards."""
    state = state_of(state_dir)
    target = None if profile is not None else _running(state)
    found = (
        _asked(target, text, model=model) if target is not None else _here(text, model, state=state, profile=profile)
    )
    if as_json:
        print_json(found)
    else:
        _show(found)


def _running(state: StateDir) -> Target | None:
    try:
        return target_of(state, environment())
    except NoStack:
        return None


def _asked(target: Target, text: str, *, model: str) -> dict[str, Any]:
    body = {"model": model, "messages": [{"role": "user", "content": text}]}
    headers = {"Authorization": f"Bearer {target.key}"}
    try:
        answer = httpx2.post(
            f"{target.url}/v1/router/explain", json=body, headers=headers, timeout=PATIENCE_S, trust_env=False
        )
        found: dict[str, Any] = answer.json()
    except (httpx2.HTTPError, ValueError) as error:
        raise Unavailable("The stack does not answer.", detail=str(error)) from error
    if not answer.is_success:
        raise PenstockError(found["error"]["message"], code=found["error"]["code"])
    return {"profile": None, **found}


def _here(text: str, model: str, *, state: StateDir, profile: str | None) -> dict[str, Any]:
    settings = load_settings(profile_of(profile, state))
    catalog = Catalog.load(state.cards)
    return {
        "profile": settings.profile,
        **asyncio.run(_explained(text, model, settings=settings, catalog=catalog, state=state)),
    }


async def _explained(text: str, model: str, *, settings: Settings, catalog: Catalog, state: StateDir) -> dict[str, Any]:
    """Run the same policy and plan that the gateway runs, for a caller without limits."""
    cards = {engine.card: catalog.card(engine.card) for engine in settings.engines}
    request = GenerationRequest(
        id="explain",
        kind="chat",
        model=model,
        body={"messages": [{"role": "user", "content": text}]},
        stream=False,
        include_usage=False,
        text=text,
        received=0.0,
    )
    return await explained(
        request,
        ANYBODY,
        router=Router(build_policy(settings.router), fleet_of(cards, settings.tiers), default=settings.tiers.default),
        classifier=await _classifier(settings, state),
    )


async def _classifier(settings: Settings, state: StateDir) -> Classifier | None:
    """The live version as the store knows it; before the first release, the model that the profile brings along."""
    classifier = classifier_of(settings.router)
    if classifier is None:
        return None
    release = None
    if settings.store.url is not None or state.database.exists():
        async with Store.open(state.store_url(settings.store)) as store:
            release = await store.releases.live(classifier.name, scoring_of(settings.router))
    routers = PublishedRouters.of(settings.artifacts, home=state.artifacts, cache=state.fetched, name=classifier.name)
    find = routers.model
    if release is None and (own := unreleased(classifier, scoring_of(settings.router))) is not None:
        release, find = own.release, own.find
        err().print(
            f"Nothing is promoted yet: this is the profile's own model, {str(classifier.model)!r}, which the next"
            " `penstock up` makes live.",
            markup=False,
        )
    local: Classifier = import_module("serving.classifier.local").LocalClassifier(
        classifier,
        find,
        puller=Puller(ModelStore(state.models), access_of(environment()), wait=True),
        release=release,
        policy=scoring_of(settings.router),
    )
    return local


def _show(found: dict[str, Any]) -> None:
    console, route = out(), found["route"]
    if found["contributions"]:
        table = Table("feature", "value", "weight", "points", "seen", box=None)
        for part in found["contributions"]:
            style = "dim" if part["points"] == 0 else ""
            cells = (f"{part['value']:.2f}", f"{part['weight']:+.2f}", f"{part['points']:+.2f}", escape(part["reason"]))
            table.add_row(part["feature"], *cells, style=style)
        console.print(table)
    if found["reading"] is not None:
        _show_reading(found["reading"], found["nearest"])
    console.print(f"\n[bold]{route['policy']}[/bold]: {escape(route['reason'])}")
    for place, attempt in enumerate(found["attempts"], start=1):
        console.print(f"  {place}. {attempt['card']} [dim](tier {attempt['tier']})[/dim]")
    for item in found["dropped"]:
        console.print(f"  [dim]– {item['card']}: {escape(item['reason'])}[/dim]")


def _show_reading(reading: dict[str, Any], nearest: list[dict[str, Any]]) -> None:
    console = out()
    if "gain" not in reading:
        return
    console.print(
        f"expected quality: small {reading['small']:.3f}, large {reading['large']:.3f};"
        f" gain {reading['gain']:+.3f} ± {reading['error']:.3f} against {reading['threshold']:.3f}"
        f" (version {reading['version']})",
        markup=False,
    )
    if reading["task"] is not None:
        console.print(f"task: {reading['task']}; needs retrieval: {reading['retrieval']:.0%}", markup=False)
    if nearest:
        table = Table("like", "small", "large", "labelled prompt", box=None)
        for one in nearest:
            table.add_row(
                f"{one['similarity']:.2f}", f"{one['small']:.2f}", f"{one['large']:.2f}", escape(one["text"][:80])
            )
        console.print(table)
