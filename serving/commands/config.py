"""`penstock config show | docs`: what a stack is set to and where each value comes from; the generated pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from serving.commands.api_page import api_page
from serving.commands.docs import configuration_page
from serving.commands.options import JsonOption, ProfileOption, StateOption, environment, profile_of, state_of
from serving.commands.settings_origin import SettingOrigin, settings_with_origin
from serving.commands.terminal import err, out, print_json
from serving.settings import load_settings, read_profile

app = typer.Typer(help="The settings of a stack.", no_args_is_help=True)

PAGES: Mapping[str, Callable[[], str]] = {"configuration.md": configuration_page, "api.md": api_page}
COLOURS: Mapping[str, str] = {"default": "dim", "profile": "", "environment": "bold cyan"}


@app.command()
def show(
    profile: ProfileOption = None,
    as_json: JsonOption = False,
    *,
    state_dir: StateOption = None,
) -> None:
    """Every setting of a profile, with the origin of its value. Secrets are masked."""
    name = profile_of(profile, state_of(state_dir))
    settings = load_settings(name)
    found = settings_with_origin(settings, profile={"profile": name, **read_profile(name)}, environment=environment())
    if as_json:
        print_json({item.path: {"value": item.value, "origin": item.origin} for item in found})
    else:
        out().print(_table(found))


@app.command()
def docs(write_to: Annotated[Path, typer.Option("--out", help="Folder of the pages.")] = Path("docs")) -> None:
    """Write configuration.md (every setting, its variable, its default, its reason) and api.md (the HTTP surface)."""
    write_to.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (write_to / name).write_text(page())
        err().print(str(write_to / name), markup=False)


def _table(found: list[SettingOrigin]) -> Table:
    table = Table("setting", "value", "origin", box=None)
    for item in found:
        table.add_row(item.path, escape(str(item.value)), item.origin, style=COLOURS[item.origin])
    return table
