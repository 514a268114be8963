"""`penstock`: the one command line. Owns the list of subcommands and how an error ends a command; no command itself."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable
from importlib import import_module
from typing import Any, NoReturn

import typer
from pydantic import ValidationError
from typer.core import TyperGroup
from yaml import YAMLError

from models.errors import PenstockError
from models.problems import first_problem, yaml_problem
from serving.commands.terminal import print_problem

COMMANDS = {
    "up": "serving.commands.stack",
    "down": "serving.commands.stack",
    "status": "serving.commands.stack",
    "logs": "serving.commands.logs",
    "doctor": "serving.commands.doctor",
    "chat": "serving.commands.chat",
    "keys": "serving.commands.keys",
    "records": "serving.commands.records",
    "models": "serving.commands.models",
    "adapters": "serving.commands.adapters",
    "files": "serving.commands.files",
    "router": "serving.commands.router",
    "config": "serving.commands.config",
    "demo": "serving.commands.demo",
    "bench": "serving.commands.bench",
    "data": "serving.commands.data",
}
"""Subcommand → its module, which holds a function of that name, or `app` with commands of its own."""


class Commands(TyperGroup):
    """The command tree. An error is one sentence and exit code 1; `PENSTOCK_DEBUG=1` shows where it came from."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except PenstockError as error:
            _end(error, error.public, _detail(error))
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # whoever read the output has enough: the command line ends without a word
            _end(error, _operating_system_says(error))


def build(names: Iterable[str] = tuple(COMMANDS)) -> typer.Typer:
    """The command line with these subcommands; only their modules are loaded."""
    root = typer.Typer(
        name="penstock",
        help="A self-hosted GPU model-serving stack: vLLM on Ray Serve behind a gateway.",
        cls=Commands,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    root.callback()(_root)
    for name in names:
        module = import_module(COMMANDS[name])
        if hasattr(module, "app"):
            root.add_typer(module.app, name=name)
        else:
            root.command(name)(getattr(module, name))
    return root


def main() -> None:
    """The console script."""
    asked = [name for name in sys.argv[1:2] if name in COMMANDS]
    build(asked or COMMANDS)()


def _end(error: Exception, *sentences: str | None) -> NoReturn:
    """Exit code 1 behind these sentences, or behind the traceback for whoever asked for it."""
    if os.environ.get("PENSTOCK_DEBUG") == "1":
        raise error
    for sentence in filter(None, sentences):
        print_problem(sentence)
    raise typer.Exit(1) from error


def _detail(error: PenstockError) -> str | None:
    """What stands behind an error. Of all that pydantic or YAML say of a file the first problem is enough."""
    cause = error.__cause__
    if error.detail is None or not isinstance(cause, ValidationError | YAMLError):
        return error.detail
    return f"{first_problem(cause) if isinstance(cause, ValidationError) else yaml_problem(cause)}."


def _operating_system_says(error: OSError) -> str:
    """What a file, folder or socket that was named on the command line could not do."""
    reason = error.strerror or str(error) or type(error).__name__
    return f"{reason}." if error.filename is None else f"{str(error.filename)!r}: {reason}."


def _root() -> None:
    """A self-hosted GPU model-serving stack: vLLM on Ray Serve behind a gateway."""
