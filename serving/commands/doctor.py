"""`penstock doctor`: whether this machine can run a profile, and what to do where it cannot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import typer
from rich.markup import escape
from rich.table import Table

from models.errors import PenstockError
from serving.commands.checkup import (
    Finding,
    card_findings,
    machine_findings,
    package_finding,
    port_finding,
    profile_findings,
)
from serving.commands.machine import is_listening, this_machine
from serving.commands.options import JsonOption, ProfileOption, StateOption, profile_of, state_of
from serving.commands.terminal import out, print_json
from serving.settings import load_settings
from serving.state import StateDir

REPOSITORY = Path(__file__).parents[2]
MARKS = {"ok": "[green]✓[/green]", "warning": "[yellow]![/yellow]", "failure": "[red]✗[/red]"}


def doctor(
    profile: ProfileOption = None,
    as_json: JsonOption = False,
    *,
    state_dir: StateOption = None,
) -> None:
    """Look at this machine, the installed packages and the profile. Exit code 1 when something would fail."""
    state = state_of(state_dir)
    findings = list(examine(profile_of(profile, state), state))
    healthy = all(finding.verdict != "failure" for finding in findings)
    if as_json:
        print_json({"healthy": healthy, "findings": [asdict(finding) for finding in findings]})
    else:
        out().print(_table(findings))
    if not healthy:
        raise typer.Exit(1)


def examine(profile: str, state: StateDir) -> Iterator[Finding]:
    """Every check, in the order of a reader's interest; a profile that does not load ends it."""
    machine = this_machine(state.path)
    yield from machine_findings(machine)
    try:
        settings = load_settings(profile)
    except PenstockError as error:
        yield Finding("profile", "failure", profile, error.public)
        return
    yield Finding("profile", "ok", f"{profile} loads")
    yield from profile_findings(settings, machine)
    yield package_finding(REPOSITORY / f"requirements-{settings.ray.accelerator}.txt", machine.installed)
    yield port_finding(settings, state, listening=is_listening)
    yield from card_findings(settings, state)


def _table(findings: list[Finding]) -> Table:
    table = Table(show_header=False, box=None)
    for finding in findings:
        advice = f"\n[yellow]{escape(finding.advice)}[/yellow]" if finding.advice else ""
        table.add_row(MARKS[finding.verdict], finding.name, f"{escape(finding.fact)}{advice}")
    return table
