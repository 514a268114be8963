"""What is written is what was said: no pictures, no markup, no line breaks of our own."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable

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


REPORTS = """
import sys
from serving.commands.terminal import reporting
with reporting() as report:
    report("before")
    sys.stdin.readline()
    report("after")
    report("still")
print("went on")
"""


@pytest.mark.parametrize("opened", [pty.openpty, os.pipe])
def test_a_command_goes_on_when_nobody_can_read_its_progress(opened: Callable[[], tuple[int, int]]) -> None:
    ours, theirs = opened()
    process = subprocess.Popen(
        [sys.executable, "-c", REPORTS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=theirs, text=True
    )
    os.close(theirs)
    assert os.read(ours, 1)
    os.close(ours)
    assert process.communicate("\n", timeout=60)[0] == "went on\n"
