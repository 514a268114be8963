"""`penstock up | down | status | logs`: the words around `serving/deploy/stack.py`, which does the work."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from serving.commands.options import JsonOption, ProfileOption, StateOption, profile_of, state_of
from serving.commands.terminal import err, out, print_json, reporting
from serving.deploy import stack
from serving.state import StateDir

CURL = """curl -N {url}/v1/chat/completions \\
  -H "Authorization: Bearer {key}" -H "Content-Type: application/json" \\
  -d '{{"model": "auto", "stream": true, "messages": [{{"role": "user", "content": "Hello! What can you do?"}}]}}'"""
ENDINGS = (signal.SIGTERM, signal.SIGHUP)


def up(
    profile: ProfileOption = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Public port, over the profile's.")] = None,
    *,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when the stack is ready.")] = False,
    as_json: JsonOption = False,
    state_dir: StateOption = None,
) -> None:
    """Start a stack, or bring a running one to what its profile says now, without cutting a stream."""
    state = state_of(state_dir)
    overrides: dict[str, Any] = {} if port is None else {"http": {"port": port}}
    with ended_like_ctrl_c():
        with reporting() as report:
            running = stack.start(profile_of(profile, state), state=state, overrides=overrides, report=report)
        if detach:
            _show(running, as_json=as_json)
        else:
            _sit(running, as_json=as_json)


def _sit(running: stack.Running, *, as_json: bool) -> None:
    """Stay until the stack has gone or the user has had enough; either way nothing is left running."""
    try:
        _show(running, as_json=as_json)
        stack.wait(running)
    except KeyboardInterrupt:
        _stop(running.state)
    except BaseException:
        _stop(running.state)
        raise


def down(as_json: JsonOption = False, state_dir: StateOption = None) -> None:
    """Stop the stack; running streams may finish first."""
    _stop(state_of(state_dir))
    if as_json:
        print_json({"stopped": True})


def status(as_json: JsonOption = False, state_dir: StateOption = None) -> None:
    """What runs, and how it is."""
    described = stack.describe(state_of(state_dir))
    if as_json:
        print_json(described)
        return
    table = Table(show_header=False, box=None)
    for name, value in described.items():
        table.add_row(f"[dim]{escape(name)}[/dim]", escape(_plain(value)))
    out().print(table)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{key}: {item}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return "\n".join(_plain(item).replace("\n", ", ") for item in value)
    return str(value)


def _stop(state: StateDir) -> None:
    with reporting() as report:
        stack.stop(state, report=report)


def _show(running: stack.Running, *, as_json: bool) -> None:
    url, key = running.url, running.key
    if as_json:
        print_json({"url": url, "key": key})
        return
    console = out()
    console.print(f"\n[bold green]Penstock is ready.[/bold green]  {url}")
    if key is None:
        console.print("Keys of earlier starts still work; `penstock keys create` makes another.")
    else:
        console.print(f"First admin key (shown this once): [bold]{escape(key)}[/bold]")
    console.print(f"\n{curl_line(url, key)}\n", markup=False)
    err().print(f"[dim]State and logs: {escape(str(running.state.path))}. Stop with Ctrl-C or `penstock down`.[/dim]")


def curl_line(url: str, key: str | None) -> str:
    """A request to paste into a shell; without a key it takes the one of the environment."""
    return CURL.format(url=url, key=key or "$PENSTOCK_API_KEY")


@contextmanager
def ended_like_ctrl_c() -> Iterator[None]:
    """A polite kill and a closed terminal end the foreground command as Ctrl-C does."""

    def interrupt(number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP:  # kernel and shell both tell of one closed terminal: only the first ends anything
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    heard = [number for number in ENDINGS if signal.getsignal(number) != signal.SIG_IGN]  # `nohup` stays deaf
    before = {number: signal.signal(number, interrupt) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
