"""`penstock router publish` and `router versions`: trained models as versions that a stack can name and fetch.

Owns the words on the terminal. Versions and where they lie are `models.artifacts`. Asks no stack.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Column, Table

from models.artifacts.artifact import Artifact
from models.artifacts.store import ArtifactStore, open_artifacts
from models.catalog import ModelStore
from models.catalog.pull import Puller, access_of
from models.errors import ConfigurationError
from router.policies import classifier_of
from serving.classifier.published import KIND, read, require_fit
from serving.commands.options import JsonOption, ProfileOption, StateOption, environment, profile_of, state_of
from serving.commands.router_inputs import warn
from serving.commands.terminal import err, out, print_json
from serving.settings import Settings, load_settings
from serving.state import StateDir

if TYPE_CHECKING:
    from router.model import RouterModel

LONG_FRACTION = re.compile(r"(\.\d{3})\d+")

app = typer.Typer()


@app.command("publish")
def publish(
    folder: Annotated[Path, typer.Argument(help="Folder of a trained model.", show_default=False)],
    *,
    name: Annotated[str, typer.Option(help="The row of versions that this one joins.")] = "default",
    profile: ProfileOption = None,
    as_json: JsonOption = False,
    state_dir: StateOption = None,
) -> None:
    """Keep a trained model as a version, which never changes. The same model gives the same version."""
    model, state = read(folder), state_of(state_dir)
    settings = load_settings(profile_of(profile, state))
    store = open_artifacts(settings.artifacts, home=state.artifacts)
    state.create()
    made = store.publish(folder, kind=KIND, name=name, about=model.manifest.about())
    misfit = _misfit(model, settings, state=state)
    warn(misfit)
    if as_json:
        print_json(described(made))
        return
    if not misfit:
        err().print(
            f"Router {made.name!r} has this version. Make it live: penstock router promote {made.version}", markup=False
        )
    out().print(made.version, markup=False)


@app.command("versions")
def versions(
    *,
    name: Annotated[str | None, typer.Option(help="Only this row.", show_default="all")] = None,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
    state_dir: StateOption = None,
) -> None:
    """Every published model, the newest first: when, on how many prompts, for which pair; --json tells all of it."""
    store = _store(profile, state_of(state_dir))
    names = store.names(KIND) if name is None else [name]
    found = [artifact for row in names for artifact in store.versions(KIND, row)]
    if as_json:
        print_json([described(artifact) for artifact in found])
    elif found:
        out().print(_table(found))
    else:
        err().print("No router is published. Publish one: penstock router publish FOLDER", markup=False)


def _misfit(model: RouterModel, settings: Settings, *, state: StateDir) -> list[str]:
    """Why the stack of these settings could not use the model, if that is so."""
    classifier = classifier_of(settings.router)
    if classifier is None:
        return []
    try:
        require_fit(model, classifier, puller=Puller(ModelStore(state.models), access_of(environment()), wait=True))
    except ConfigurationError as error:
        return [f"The classifier of profile {settings.profile!r} cannot use this version. {error.public}"]
    return []


def described(artifact: Artifact) -> dict[str, Any]:
    """What `--json` says of a version."""
    return {"version": artifact.version, **artifact.model_dump(mode="json")}


def _store(profile: str | None, state: StateDir) -> ArtifactStore:
    return open_artifacts(load_settings(profile_of(profile, state)).artifacts, home=state.artifacts)


def _table(found: list[Artifact]) -> Table:
    """What fits into 80 columns; longer names are folded, and what people copy stays whole."""
    copied = [Column(name, no_wrap=True, min_width=width) for name, width in (("version", 12), ("published", 16))]
    folded = [Column(name, overflow="fold") for name in ("pair", "thresholds")]
    table = Table(Column("name", overflow="fold"), *copied, Column("prompts", no_wrap=True), *folded, box=None)
    for artifact in found:
        facts = {key: escape(value) for key, value in artifact.about.items()}
        table.add_row(
            artifact.name,
            artifact.version,
            datetime.fromtimestamp(artifact.published_at, UTC).strftime("%Y-%m-%d %H:%M"),
            facts.get("prompts", ""),
            f"{facts.get('small', '')} → {facts.get('large', '')}",
            LONG_FRACTION.sub(r"\1", facts.get("thresholds", "")).replace(", ", "\n"),
        )
    return table
