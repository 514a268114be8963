"""What the first page says works: its commands, its Python, and the curl line that a start prints."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from openai import OpenAI

from tests.e2e.conftest import PENSTOCK, Stack
from tests.readme import README, blocks

LIMIT_S = 300
# They start and stop stacks (the fixture and the other tests do), never end, or train (`test_fine_tuning.py` gives it).
ELSEWHERE = ("penstock up", "penstock down", "penstock logs -f", "penstock finetune run")
SHORTER = {"penstock demo evaluate": " --per-family 2"}


def commands() -> list[str]:
    lines = [line.split("#")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line.startswith("penstock ") and not line.startswith(ELSEWHERE)]


@pytest.fixture(scope="module")
def somewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which a reader works: what one line makes, the next one finds."""
    return tmp_path_factory.mktemp("reader")


def shell(stack: Stack, command: list[str], said: str = "", *, cwd: Path | None = None) -> str:
    environment = {**os.environ, "PENSTOCK_STATE_DIR": str(stack.state_dir), "PENSTOCK_API_KEY": stack.key}
    done = subprocess.run(
        command, cwd=cwd, env=environment, input=said, capture_output=True, text=True, timeout=LIMIT_S
    )
    assert done.returncode == 0, f"{command}: {done.stderr[-2000:]}"
    return done.stdout


def test_the_page_has_commands() -> None:
    assert len(commands()) >= 6


@pytest.mark.parametrize("line", commands())
def test_a_command_of_the_page_works(stack: Stack, somewhere: Path, line: str) -> None:
    words = shlex.split(line + SHORTER.get(line, ""))
    assert shell(stack, [str(PENSTOCK), *words[1:]], said="Hello\n", cwd=somewhere).strip()


def test_the_adapter_of_the_page_answers_by_its_name(stack: Stack) -> None:
    with OpenAI(base_url=f"{stack.url}/v1", api_key=stack.key, max_retries=0) as client:
        asked = client.chat.completions.create(
            model="hello", messages=[{"role": "user", "content": "Who are you?"}], temperature=0
        )
    assert asked.choices[0].message.content == "Hello from an adapter."


def test_the_python_of_the_page_prints_an_answer(stack: Stack) -> None:
    (code,) = blocks("python")
    assert "KEY" in code
    code = f"KEY = {stack.key!r}\n" + code.replace("http://127.0.0.1:8000", stack.url)
    assert len(shell(stack, [sys.executable, "-c", code]).split()) > 2


@pytest.mark.parametrize("model", ["auto", "demo-small", "demo-large"])
def test_the_prompts_of_the_page_are_ones_that_either_tier_answers(stack: Stack, model: str) -> None:
    (explained,) = re.findall(r'^penstock router explain "(.*?)"', README, flags=re.M)
    (greeting,) = re.findall(r'"content": "(.*?)"', blocks("python")[0])
    with OpenAI(base_url=f"{stack.url}/v1", api_key=stack.key, max_retries=0) as client:
        for prompt, answer in ((explained, "The total is 42 oak lamps."), (greeting, "Hello! How can I help you?")):
            asked = client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": prompt}], temperature=0
            )
            assert asked.choices[0].message.content == answer


def test_the_curl_line_streams_when_pasted(stack: Stack) -> None:
    printed = shell(stack, [str(PENSTOCK), "up", "--profile", "cpu-demo", "--detach"])
    lines = printed[printed.index("curl ") :].split("\n\n")[0]
    answer = shell(stack, ["bash", "-c", lines])
    assert answer.count("data: {") > 2
    assert answer.rstrip().endswith("data: [DONE]")
