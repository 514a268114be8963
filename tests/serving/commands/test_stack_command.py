import json
import os
import signal
import subprocess
import time

import pytest

from serving.commands.stack import curl_line, ended_like_ctrl_c


@pytest.mark.parametrize("key", ["sk-penstock-abc_-123", None])
def test_the_curl_line_survives_a_shell(key: str | None) -> None:
    """What curl would get, told by a shell function that stands in its place."""
    script = (
        f'curl() {{ for word in "$@"; do printf \'%s\\n\' "$word"; done; }}\n{curl_line("http://127.0.0.1:8000", key)}'
    )
    ran = subprocess.run(
        ["sh", "-c", script], env={"PENSTOCK_API_KEY": "from-env"}, capture_output=True, text=True, check=True
    )
    words = ran.stdout.splitlines()
    assert words[:2] == ["-N", "http://127.0.0.1:8000/v1/chat/completions"]
    assert f"Authorization: Bearer {key or 'from-env'}" in words
    assert json.loads(words[-1])["model"] == "auto"


def test_a_closed_terminal_interrupts_once_and_the_drain_that_follows_is_left_alone() -> None:
    inherited = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # a shell or CI may have us ignore it
    try:
        _two_hangups()
    finally:
        signal.signal(signal.SIGHUP, inherited)


def _two_hangups() -> None:
    before = signal.getsignal(signal.SIGHUP)
    with ended_like_ctrl_c():
        with pytest.raises(KeyboardInterrupt):
            _told(signal.SIGHUP)
        _told(signal.SIGHUP)
        with pytest.raises(KeyboardInterrupt):
            _told(signal.SIGTERM)
    assert signal.getsignal(signal.SIGHUP) == before


def test_a_hangup_that_is_ignored_stays_ignored() -> None:
    """As under `nohup`."""
    inherited = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ended_like_ctrl_c():
            _told(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, inherited)


def _told(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)
    time.sleep(0.1)
