"""`penstock`: the one command line. Owns the list of subcommands and how an error ends a command; no command itself."""

from __future__ import annotations

import os
from typing import Any

import typer
from typer.core import TyperGroup

from models.errors import PenstockError
from serving.commands import chat, config, demo, doctor, logs, models, router, stack
from serving.commands.terminal import print_problem


class Commands(TyperGroup):
    """The command tree. An error is one sentence and exit code 1; `PENSTOCK_DEBUG=1` shows where it came from."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except PenstockError as error:
            if os.environ.get("PENSTOCK_DEBUG") == "1":
                raise
            print_problem(error.public)
            if error.detail:
                print_problem(error.detail)
            raise typer.Exit(1) from error


def build() -> typer.Typer:
    """The whole command line."""
    app = typer.Typer(
        name="penstock",
        help="A self-hosted GPU model-serving stack: vLLM on Ray Serve behind a gateway.",
        cls=Commands,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    for command in (stack.up, stack.down, stack.status, logs.logs, doctor.doctor, chat.chat):
        app.command()(command)
    for name, group in (("models", models), ("router", router), ("config", config), ("demo", demo)):
        app.add_typer(group.app, name=name)
    return app


def main() -> None:
    """The console script."""
    build()()
