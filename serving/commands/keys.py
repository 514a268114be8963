"""`penstock keys`: make, list and revoke keys. Owns the words on the terminal; `key_sources.py` reaches the keys."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.markup import escape
from rich.table import Table

from models.clock import SystemClock
from models.types import Role
from serving.commands.key_sources import open_keys
from serving.commands.options import JsonOption, StateOption, environment, span_s, state_of
from serving.commands.terminal import err, out, print_json
from serving.tenancy.keys import KeySpec

app = typer.Typer(help="The keys of a stack.", no_args_is_help=True)


@app.command()
def create(
    org: Annotated[str, typer.Option(help="Who pays.")],
    user: Annotated[str, typer.Option(help="Who calls.")],
    *,
    role: Annotated[str, typer.Option(help="inference, engineer, metrics or admin.")] = "inference",
    model: Annotated[list[str] | None, typer.Option(help="Admit this model; repeat for more. Default: all.")] = None,
    expires: Annotated[str | None, typer.Option(help="Lifetime, such as 12h, 30d or 8w. Default: none.")] = None,
    concurrency: Annotated[
        int | None, typer.Option(help="Most generations (n for each prompt) at the same time.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="What the key is for.")] = None,
    as_json: JsonOption = False,
    state_dir: StateOption = None,
) -> None:
    """Make a key and print its secret, this once."""
    spec = KeySpec(
        org=org,
        user=user,
        role=cast(Role, role),
        models=tuple(model) if model else None,
        concurrency=concurrency,
        expires_at=None if expires is None else SystemClock().now() + span_s(expires, option="expires"),
        name=name,
    )
    made = asyncio.run(_create(spec, state_dir))
    if as_json:
        print_json(made)
        return
    err().print(f"Key {made['id']} for {org}/{user}. Its secret is shown this once:", markup=False)
    out().print(made["key"], markup=False)


@app.command("list")
def list_keys(*, as_json: JsonOption = False, state_dir: StateOption = None) -> None:
    """Every key: whose it is, what it may do, and whether it still works."""
    rows = asyncio.run(_list(state_dir))
    if as_json:
        print_json(rows)
    else:
        out().print(_table(rows))


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(help="Id of a key, as `penstock keys list` shows it.", show_default=False)],
    *,
    state_dir: StateOption = None,
) -> None:
    """Refuse a key from now on, within a second on every gateway."""
    asyncio.run(_revoke(key_id, state_dir))
    err().print(f"Key {key_id} is revoked.", markup=False)


@app.command("keep-text")
def keep_text(
    org: Annotated[str, typer.Argument(help="Name of an org.", show_default=False)],
    *,
    keep: Annotated[bool, typer.Option("--on/--off", help="From now on; what is stored stays.")] = True,
    state_dir: StateOption = None,
) -> None:
    """Let records of an org keep the text of prompts and answers, or stop it. Off unless switched on here."""
    asyncio.run(_keep_text(org, state_dir, keep=keep))
    err().print(f"Records of {org} {'keep' if keep else 'do not keep'} texts from now on.", markup=False)


async def _create(spec: KeySpec, state_dir: Path | None) -> dict[str, Any]:
    async with open_keys(state_of(state_dir), environment()) as keys:
        return await keys.create(spec)


async def _list(state_dir: Path | None) -> list[dict[str, Any]]:
    async with open_keys(state_of(state_dir), environment()) as keys:
        return await keys.list()


async def _revoke(key_id: str, state_dir: Path | None) -> None:
    async with open_keys(state_of(state_dir), environment()) as keys:
        await keys.revoke(key_id)


async def _keep_text(org: str, state_dir: Path | None, *, keep: bool) -> None:
    async with open_keys(state_of(state_dir), environment()) as keys:
        await keys.keep_text(org, keep)


def _table(rows: list[dict[str, Any]]) -> Table:
    now = SystemClock().now()
    table = Table("id", "starts with", "org", "user", "role", "models", "calls", "expires", "state", "name", box=None)
    for row in rows:
        table.add_row(
            row["id"],
            row["prefix"],
            row["org"],
            row["user"],
            row["role"],
            escape(", ".join(row["models"])) if row["models"] else "all",
            str(row["concurrency"] or "any"),
            _day(row["expires_at"]),
            _state(row, now),
            escape(row["name"] or ""),
        )
    return table


def _state(row: Mapping[str, Any], now: float) -> str:
    if row["revoked_at"] is not None:
        return f"revoked {_day(row['revoked_at'])}"
    return "works" if row["expires_at"] is None or now < row["expires_at"] else "expired"


def _day(at: float | None) -> str:
    return "never" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")
