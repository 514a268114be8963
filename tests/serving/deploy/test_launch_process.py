"""The launch process tells, fails, and never outlives the command that started it."""

import json
import os
import sys
from pathlib import Path

import psutil
import pytest

from serving.deploy.launch_process import LaunchFailed, run_launch

TELLS = "import json, os, sys, time\nprint(json.dumps({'event': 'progress', 'text': str(os.getpid())}), flush=True)\n"
STUBBORN = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"


def command(code: str) -> list[str]:
    return [sys.executable, "-c", code]


@pytest.mark.parametrize("before", ["", STUBBORN])
def test_an_interrupted_command_takes_its_launch_process_with_it(tmp_path: Path, before: str) -> None:
    heard: list[int] = []

    def interrupted(text: str) -> None:
        heard.append(int(text))
        raise KeyboardInterrupt

    code = f"{before}{TELLS}time.sleep(600)"
    with pytest.raises(KeyboardInterrupt):
        run_launch(command(code), os.environ, log=tmp_path / "log", report=interrupted, grace_s=0.5)
    assert len(heard) == 1
    assert not psutil.pid_exists(heard[0])


def test_progress_is_passed_on_and_other_lines_are_not(tmp_path: Path) -> None:
    heard: list[str] = []
    run_launch(command(f"print('chatter')\n{TELLS}"), os.environ, log=tmp_path / "log", report=heard.append)
    assert [text.isdigit() for text in heard] == [True]


def test_the_last_words_become_the_error(tmp_path: Path) -> None:
    event = json.dumps({"event": "failed", "text": "No luck.", "log": ["a", "b"]})
    with pytest.raises(LaunchFailed, match="No luck") as failed:
        run_launch(command(f"print({event!r})"), os.environ, log=tmp_path / "log", report=str)
    assert failed.value.detail == "a\nb"


def test_a_process_that_dies_without_a_word_is_an_error_with_its_log(tmp_path: Path) -> None:
    with pytest.raises(LaunchFailed, match="did not start") as failed:
        run_launch(command("raise SystemExit('out of luck')"), os.environ, log=tmp_path / "log", report=str)
    assert "out of luck" in str(failed.value.detail)
