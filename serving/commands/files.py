"""`penstock files`: training and evaluation files of the org, as `/v1/files` keeps them. Owns the words alone."""

from __future__ import annotations

import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from models.errors import ConfigurationError
from serving.commands.calls import StackCalls
from serving.commands.options import JsonOption, StateOption, environment, state_of
from serving.commands.target import target_of
from serving.commands.terminal import err, out, print_json, print_table

app = typer.Typer(help="Files for fine-tuning: checked, kept, and read again.", no_args_is_help=True)

FileArgument = Annotated[str, typer.Argument(help="Id of a file, such as file-1a2b.", show_default=False)]
PAGE = 1000


@app.callback()
def files() -> None:
    """Files for fine-tuning: checked, kept, and read again."""


@app.command("upload")
def upload(
    file: Annotated[Path, typer.Argument(help="JSON lines.", show_default=False)],
    *,
    purpose: Annotated[str, typer.Option(help="fine-tune (training, validation) or evals (the gate's).")] = "fine-tune",
    expires_after_s: Annotated[
        int | None, typer.Option(min=3600, help="Seconds after which it goes.", show_default="it stays")
    ] = None,
    as_json: JsonOption = False,
    state_dir: StateOption = None,
) -> None:
    """Send a file, have every line checked, and print its id."""
    if not file.is_file():
        raise ConfigurationError(f"{str(file)!r} is not a file.")
    fields = {"purpose": purpose}
    if expires_after_s is not None:
        fields |= {"expires_after[anchor]": "created_at", "expires_after[seconds]": str(expires_after_s)}
    calls = _calls(state_dir)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = err()
    with (
        Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress,
        progress.open(file, "rb", description=escape(file.name)) as data,
    ):
        made = calls.answer("POST", data=fields, files={"file": (file.name, data)})
    if as_json:
        print_json(made)
        return
    console.print(f"{file.name}: {made['bytes']:,} bytes{_found(made)}.", markup=False)
    out().print(made["id"], markup=False)


@app.command("list")
def list_files(
    *,
    purpose: Annotated[str | None, typer.Option(help="Of this purpose alone.", show_default="all")] = None,
    as_json: JsonOption = False,
    state_dir: StateOption = None,
) -> None:
    """Every file of the org, newest first."""
    calls = _calls(state_dir)
    asked: dict[str, str | int] = {"limit": PAGE} | ({} if purpose is None else {"purpose": purpose})
    found, more = [], True
    while more:
        page = calls.answer("GET", params=asked)
        found += page["data"]
        more = page["has_more"]
        asked["after"] = page["last_id"] or ""
    if as_json:
        print_json(found)
        return
    table = Table("file", "name", "purpose", "examples", "MB", "made", "expires", box=None)
    for one in found:
        table.add_row(*_row(one))
    such = "" if purpose is None else f" of purpose {purpose}"
    print_table(table, empty=f"There is no file{such}: `penstock files upload FILE` brings one.")


@app.command("show")
def show(file: FileArgument, *, as_json: JsonOption = False, state_dir: StateOption = None) -> None:
    """One file, and what the check found in it."""
    found = _calls(state_dir).answer("GET", file)
    if as_json:
        print_json(found)
        return
    table = Table("file", "name", "purpose", "examples", "MB", "made", "expires", box=None)
    table.add_row(*_row(found))
    out().print(table)
    for name, value in found["penstock"]["facts"].items():
        out().print(f"{name}: {value}", markup=False)


@app.command("delete")
def delete(file: FileArgument, *, as_json: JsonOption = False, state_dir: StateOption = None) -> None:
    """Forget a file with its bytes. One that a job reads is refused."""
    gone = _calls(state_dir).answer("DELETE", file)
    if as_json:
        print_json(gone)
    else:
        err().print(f"{file} is deleted.", markup=False)


@app.command("content")
def content(
    file: FileArgument,
    *,
    to: Annotated[Path | None, typer.Option("--out", help="New file for it.", show_default="stdout")] = None,
    as_json: JsonOption = False,
    state_dir: StateOption = None,
) -> None:
    """A file's bytes as they came."""
    if as_json and to is None:
        raise ConfigurationError("--json tells where the bytes are: name a file with --out.")
    calls = _calls(state_dir)
    if to is None:
        with TemporaryDirectory(prefix="penstock-") as draft:
            whole = Path(draft, "content")
            calls.content(file, "content", to=whole)
            with whole.open("rb") as data:
                shutil.copyfileobj(data, sys.stdout.buffer)
        return
    if to.exists():
        raise ConfigurationError(f"{str(to)!r} is there already: name a new file.")
    calls.content(file, "content", to=to)
    if as_json:
        print_json({"id": file, "path": str(to), "bytes": to.stat().st_size})
    else:
        err().print(f"{file} is in {to}.", markup=False)


def _calls(state_dir: Path | None) -> StackCalls:
    return StackCalls(target_of(state_of(state_dir), environment()), "/v1/files")


def _found(one: dict[str, Any]) -> str:
    facts = one["penstock"]["facts"]
    kind = f" ({facts['format']})" if "format" in facts else ""
    return f", {facts['examples']:,} examples{kind}" if "examples" in facts else ""


def _row(one: dict[str, Any]) -> list[str]:
    examples = one["penstock"]["facts"].get("examples")
    return [
        one["id"],
        escape(one["filename"]),
        one["purpose"],
        "" if examples is None else f"{examples:,}",
        f"{one['bytes'] / 1e6:.1f}",
        _moment(one["created_at"]),
        "" if one["expires_at"] is None else _moment(one["expires_at"]),
    ]


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")
