"""What is written is what was said: no pictures, no markup, no line breaks of our own."""

import json

import pytest
from rich.table import Table

from serving.commands.terminal import err, out, print_json, print_problem, reporting, write

TRICKY = "see :smile: [red]x[/red] a\tb " + "long " * 50


def test_json_is_one_line_that_reads_back(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"text": TRICKY})
    shown = capsys.readouterr().out
    assert (shown.count("\n"), json.loads(shown)) == (1, {"text": TRICKY})


def test_text_is_written_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    write(TRICKY)
    assert capsys.readouterr().out == TRICKY


def test_a_name_between_colons_stays_one_wherever_it_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("x")
    table.add_row(":smile:")
    out().print(":smile:")
    out().print(table)
    err().print(":smile:", markup=False)
    print_problem(":smile:")
    with reporting() as report:
        report(":smile:")
    shown = capsys.readouterr()
    assert (shown.out.count(":smile:"), shown.err.count(":smile:")) == (2, 3)
