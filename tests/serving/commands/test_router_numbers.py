"""NaN is within every range, and infinity within half of them: no option of `penstock router` takes either."""

from collections.abc import Callable

import pytest
import typer
from typer.testing import Result

from serving.commands.options import finite
from serving.commands.router import app

Run = Callable[..., Result]
NUMBERS = [
    ("promote abc", "--threshold"),
    ("promote abc", "--large-share"),
    ("set-threshold", "--threshold"),
    ("set-threshold", "--large-share"),
    ("calibrate --router r", "--large-share"),
    ("calibrate --router r", "--quality-floor"),
    ("calibrate --router r", "--cost-ceiling"),
    ("calibrate --router r --cost-ceiling 0.5", "--small-price"),
    ("calibrate --router r --quality-floor 0.9", "--confidence"),
    ("label --demo 3 --out labels.jsonl", "--easy-share"),
]


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
@pytest.mark.parametrize(("command", "option"), NUMBERS)
def test_what_is_no_number_is_refused_with_the_options_name(
    penstock: Run, command: str, option: str, number: str
) -> None:
    said = penstock("router", *command.split(), option, number)
    assert (said.exit_code, said.stdout) == (2, "")
    assert f"Invalid value for '{option}'" in said.stderr
    assert "Traceback" not in said.stderr


def test_every_number_of_the_router_commands_is_among_these() -> None:
    found = {
        (name, option.opts[0])
        for name, command in typer.main.get_command(app).commands.items()  # type: ignore[attr-defined]
        for option in command.params
        if option.type_descriptor.annotation is float
    }
    assert found == {(command.split()[0], option) for command, option in NUMBERS}
    assert finite(0.5) == 0.5
