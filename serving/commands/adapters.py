"""`penstock adapters`: what there is, what comes in, and what goes. Releases are in `adapter_releases.py`.

Owns the words on the terminal; the rules are `serving/adapters`'.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from models.adapters.archive import pack, unpack
from models.errors import ConfigurationError
from serving.commands.adapter_calls import AdapterCalls
from serving.commands.adapter_releases import NameArgument, VersionOption
from serving.commands.adapter_releases import app as releases
from serving.commands.options import JsonOption, StateOption
from serving.commands.terminal import err, out, print_json, print_table

app = typer.Typer(help="LoRA adapters: versions, releases, and what replicas hold.", no_args_is_help=True)
app.add_typer(releases)


@app.callback()
def adapters() -> None:
    """LoRA adapters: versions, releases, and what replicas hold."""


@app.command("push")
def push(
    name: NameArgument,
    folder: Annotated[Path, typer.Argument(help="As PEFT saves an adapter.", show_default=False)],
    *,
    base: Annotated[
        str | None, typer.Option(help="Card that it was trained on; for a new adapter.", show_default="the adapter's")
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="What it reached, such as loss=0.31; again for more.")
    ] = None,
    job: Annotated[str | None, typer.Option(help="The training job that made it.")] = None,
    data_digest: Annotated[str | None, typer.Option(help="Of the data that it was trained on.")] = None,
    as_json: JsonOption = False,
    state_dir: StateOption = None,
) -> None:
    """Check an adapter, keep its files, and print the number of its new version. Nothing serves it yet."""
    facts = {"base": base, "job": job, "data_digest": data_digest}
    given = {key: value for key, value in facts.items() if value is not None}
    for one in metric or ():
        key, sign, value = one.partition("=")
        if not sign or not key:
            raise ConfigurationError(f"--metric wants NAME=NUMBER, such as loss=0.31, not {one!r}.")
        given[f"metrics.{key}"] = value
    calls = AdapterCalls.of(state_dir)
    with TemporaryDirectory(prefix="penstock-") as draft:
        archive = Path(draft, "adapter.zip")
        left_out = pack(folder, archive)
        made = calls.push(name, archive, facts=given)
    if as_json:
        print_json(made)
        return
    if left_out:
        err().print(f"Left out: {', '.join(left_out)}.", style="dim", markup=False)
    about = made["facts"]
    err().print(
        f"{name} version {made['version']} is {made['state']}: rank {about['rank']},"
        f" {', '.join(about['target_modules'])}, {made['bytes']:,} bytes. Release it:"
        f" penstock adapters promote {name} --version {made['version']}",
        markup=False,
    )
    out().print(str(made["version"]), markup=False)


@app.command("list")
def list_adapters(*, as_json: JsonOption = False, state_dir: StateOption = None) -> None:
    """Every adapter of the org: base, what is live, what is tried, the newest version."""
    found = AdapterCalls.of(state_dir).ask("GET")["data"]
    if as_json:
        print_json(found)
        return
    table = Table("adapter", "base", "alias", "live", "canary", "newest", "state", "rank", "MB", box=None)
    for one in found:
        for row in _rows(one):
            table.add_row(*row)
    print_table(table, empty="There is no adapter: `penstock adapters push NAME FOLDER --base MODEL` brings one.")


@app.command("show")
def show(name: NameArgument, *, as_json: JsonOption = False, state_dir: StateOption = None) -> None:
    """One adapter: every version with its state, rank, figures, origin and reason."""
    found = AdapterCalls.of(state_dir).ask("GET", name)
    if as_json:
        print_json(found)
    else:
        _show(found)


@app.command("status")
def status(name: NameArgument, *, as_json: JsonOption = False, state_dir: StateOption = None) -> None:
    """Which replica holds which version, in which slot, its calls and last error; and what was done last."""
    found = AdapterCalls.of(state_dir).ask("GET", name, "status")
    if as_json:
        print_json(found)
        return
    _show(found)
    table = Table("replica", "model", "slot", "calls", "running", "loaded in", "problem", box=None)
    for replica in found["replicas"]:
        if not replica["answers"]:
            table.add_row(replica["replica"], "does not answer")
        for one in replica["adapters"]:
            table.add_row(replica["replica"], *_held(one))
    out().print(table)
    for row in found["last"]:
        detail = escape(", ".join(f"{key} {value}" for key, value in row["detail"].items() if key != "loads_ms"))
        out().print(f"[dim]{_moment(row['at'])}[/dim] {escape(row['action'])} by {escape(row['actor'])}: {detail}")


@app.command("export")
def export(
    name: NameArgument,
    folder: Annotated[Path, typer.Argument(help="New folder for the files.", show_default=False)],
    *,
    version: VersionOption,
    state_dir: StateOption = None,
) -> None:
    """Write a version's files into a folder, as PEFT reads them."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigurationError(f"{str(folder)!r} is there already: name a new folder.")
    with TemporaryDirectory(prefix="penstock-") as draft:
        archive = Path(draft, "adapter.zip")
        AdapterCalls.of(state_dir).content(name, version, to=archive)
        folder.mkdir(parents=True, exist_ok=True)
        unpack(archive, folder, max_bytes=2**40)
    err().print(f"Version {version} of {name} is in {folder}.", markup=False)


@app.command("delete")
def delete(
    name: NameArgument,
    *,
    version: Annotated[int | None, typer.Option(min=1, help="This version alone.", show_default="all")] = None,
    state_dir: StateOption = None,
) -> None:
    """Forget an adapter, or one version, with its files. What replicas hold is refused: retire it first."""
    path = (name,) if version is None else (name, "versions", str(version))
    AdapterCalls.of(state_dir).ask("DELETE", *path)
    err().print(f"{name}{'' if version is None else f' version {version}'} is deleted.", markup=False)


@app.command("price")
def price(
    name: NameArgument,
    *,
    input_micro_usd: Annotated[int | None, typer.Option(min=0, help="Per million prompt tokens.")] = None,
    output_micro_usd: Annotated[int | None, typer.Option(min=0, help="Per million answer tokens.")] = None,
    as_json: JsonOption = False,
    state_dir: StateOption = None,
) -> None:
    """Set what an adapter's tokens cost; without figures: what its base costs."""
    if (input_micro_usd is None) != (output_micro_usd is None):
        raise ConfigurationError("Name both prices, or neither.")
    told = None
    if input_micro_usd is not None:
        told = {"input_micro_usd": input_micro_usd, "output_micro_usd": output_micro_usd}
    found = AdapterCalls.of(state_dir).ask("PUT", name, "price", body={"price": told})
    if as_json:
        print_json(found)
    else:
        err().print(f"Price of {name}: {told or 'that of its base'}.", markup=False)


def _rows(adapter: dict[str, Any]) -> list[list[str]]:
    """One line per alias, or one where there is none."""
    newest = adapter["versions"][0] if adapter["versions"] else None
    about = (newest or {}).get("facts", {})
    tail = [str(newest["version"]), newest["state"], str(about.get("rank", "")), _megabytes(newest)] if newest else []
    head = [escape(adapter["name"]), escape(adapter["base"])]
    if not adapter["aliases"]:
        return [[*head, "", "", "", *tail]]
    return [[*head, escape(alias["alias"]), *_pointing(alias), *tail] for alias in adapter["aliases"]]


def _pointing(alias: dict[str, Any]) -> list[str]:
    live, *rest = alias["targets"]
    return [str(live["version"]), ", ".join(f"{one['version']} at {one['weight']:g} %" for one in rest)]


def _show(found: dict[str, Any]) -> None:
    console = out()
    console.print(f"{found['name']} on {found['base']}", markup=False)
    for alias in found["aliases"]:
        live, tried = _pointing(alias)
        before = "" if alias["previous"] is None else f"; before it {alias['previous']}"
        beside = f"; trying {tried}" if tried else ""
        console.print(f"alias {alias['alias']}: version {live}{beside}{before}", markup=False)
    table = Table("version", "state", "rank", "modules", "MB", "made", "model or reason", box=None)
    for one in found["versions"]:
        about = one["facts"]
        modules = ", ".join(name.removesuffix("_proj") for name in about.get("target_modules", ()))
        told = escape(one["reason"] or one["model"] or "")
        rank = str(about.get("rank", ""))
        table.add_row(
            str(one["version"]), one["state"], rank, modules, _megabytes(one), _moment(one["created_at"]), told
        )
    console.print(table)


def _held(one: dict[str, Any]) -> list[str]:
    loaded = "" if one["loaded_ms"] is None else f"{one['loaded_ms']:.0f} ms"
    place = str(one["slot"]) if one["slot"] is not None else "memory" if one["in_host_memory"] else "disk"
    error = one["last_error"]
    return [
        escape(one["engine_name"]),
        place if one["state"] == "ready" else one["state"],
        f"{one['served']:,}",
        str(one["running"]),
        loaded,
        escape(error["message"]) if error else "",
    ]


def _megabytes(version: dict[str, Any]) -> str:
    return f"{version['bytes'] / 1e6:.1f}" if version["bytes"] else ""


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")
