"""The options that several subcommands share, so that they are spelled the same everywhere. Reads the environment."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

import typer

from models.errors import InvalidRequest
from serving.state import StateDir

SPAN = re.compile(r"([1-9][0-9]{0,5})([smhdw])")
SECONDS = MappingProxyType({"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800})

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


def span_s(text: str, *, option: str) -> float:
    """A span of time as people write it for this option: `30d`. In seconds."""
    found = SPAN.fullmatch(text)
    if found is None:
        raise InvalidRequest(f"--{option} wants a number and one of s, m, h, d, w, such as 30d.", param=option)
    return float(int(found[1]) * SECONDS[found[2]])


def finite(value: float | None) -> float | None:
    """For the `callback` of an option that takes a number: NaN is within every range, and infinity is no price."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no number to compare with.")
    return value


def profile_of(given: str | None, state: StateDir) -> str:
    """The profile that was asked for, that of the running stack, or the one that runs anywhere."""
    if given is not None:
        return str(Path(given).absolute()) if given.endswith((".yaml", ".yml")) else given
    running = state.read_stack()
    return running.profile if running is not None else "cpu-demo"
