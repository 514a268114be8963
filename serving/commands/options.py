"""The options that several subcommands share, so that they are spelled the same everywhere. Reads the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from serving.state import StateDir

StateOption = Annotated[
    Path | None,
    typer.Option(
        "--state-dir",
        envvar="PENSTOCK_STATE_DIR",
        help="Folder of the stack.",
        show_default="the user's state folder",
        rich_help_panel="Which stack",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")]
ProfileOption = Annotated[
    str | None,
    typer.Option("--profile", envvar="PENSTOCK_PROFILE", help="Name of a shipped profile, or a YAML file."),
]


def state_of(given: Path | None) -> StateDir:
    """The state folder that this command works on."""
    return StateDir.find(given, os.environ)


def environment() -> Mapping[str, str]:
    """The environment, for the commands that look for more than the state folder there."""
    return os.environ


def profile_of(given: str | None, state: StateDir) -> str:
    """The profile that was asked for, that of the running stack, or the one that runs anywhere."""
    if given is not None:
        return str(Path(given).absolute()) if given.endswith((".yaml", ".yml")) else given
    running = state.read_stack()
    return running.profile if running is not None else "cpu-demo"
