"""`penstock config show | docs`: what a stack is set to and where each value comes from; every setting there is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from serving.commands.docs import configuration_page
from serving.commands.options import JsonOption, ProfileOption, StateOption, environment, profile_of, state_of
from serving.commands.settings_origin import SettingOrigin, settings_with_origin
from serving.commands.terminal import out, print_json
from serving.settings import load_settings, read_profile

app = typer.Typer(help="The settings of a stack.", no_args_is_help=True)

PAGE = Path("docs/configuration.md")
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
def docs(
    write_to: Annotated[Path, typer.Option("--out", help="Where to write; - prints.", allow_dash=True)] = PAGE,
) -> None:
    """The page docs/configuration.md: every setting, its variable, its default and its reason."""
    page = configuration_page()
    if write_to == Path("-"):
        out().print(page, markup=False, end="")
    else:
        write_to.write_text(page)


def _table(found: list[SettingOrigin]) -> Table:
    table = Table("setting", "value", "origin", box=None)
    for item in found:
        table.add_row(item.path, escape(str(item.value)), item.origin, style=COLOURS[item.origin])
    return table
