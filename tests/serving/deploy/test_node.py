import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import astuple

import psutil
import pytest

from models.free_ports import port_is_free
from serving.deploy.node import (
    GATEWAY_PORTS,
    STACK_ID,
    answers,
    end_node,
    free_ports,
    is_living,
    stack_processes,
)

SLEEP = "import time; print('up', flush=True); time.sleep(60)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"
WITH_NAMELESS_CHILD = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE, env={}, start_new_session=True)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(60)
"""

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a process that runs until it is ended; `stack` is the id in its environment."""
    started: list[subprocess.Popen[str]] = []

    def launch(*arguments: str, stack: str | None) -> subprocess.Popen[str]:
        environment = {name: value for name, value in os.environ.items() if name != STACK_ID}
        environment |= {STACK_ID: stack} if stack is not None else {}
        command = [sys.executable, "-c", *arguments]
        started.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield launch
    for process in started:
        process.kill()
        process.communicate()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_the_ports_of_a_stack_are_free_and_its_own() -> None:
    first, second = free_ports(), free_ports()
    for ports in (first, second):
        assert len({*astuple(ports)}) == len(astuple(ports)) == 10
        assert all(port_is_free("127.0.0.1", port) for port in astuple(ports))
        gateways = range(ports.gateways, ports.gateways + GATEWAY_PORTS)
        assert [port for port in astuple(ports) if port in gateways] == [ports.gateways]


def test_the_end_takes_exactly_the_stacks_processes(start: Start) -> None:
    parent = start(WITH_NAMELESS_CHILD, SLEEP, stack="mine")
    others = [start(SLEEP, stack="another"), start(SLEEP, stack=None)]
    child = psutil.Process(int(said(parent)))
    assert [said(other) for other in others] == ["up", "up"]
    assert {process.pid for process in stack_processes("mine")} == {parent.pid, child.pid}
    assert end_node("mine", grace_s=5) == 2
    assert parent.poll() is not None
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    assert [other.poll() for other in others] == [None, None]
    assert stack_processes("mine") == []


def test_who_ignores_the_question_is_killed_when_the_grace_is_over(start: Start) -> None:
    stubborn = start(STUBBORN, stack="mine")
    assert said(stubborn) == "up"
    began = time.monotonic()
    assert end_node("mine", grace_s=0.3) == 1
    assert time.monotonic() - began >= 0.3
    assert stubborn.poll() is not None


def test_the_end_of_a_stack_that_is_not_there_is_nothing() -> None:
    assert end_node("nobody", grace_s=0.1) == 0


def test_a_process_lives_until_it_has_ended_collected_or_not(start: Start) -> None:
    process = start(SLEEP, stack=None)
    assert said(process) == "up"
    assert is_living(process.pid, since=time.time())
    assert not is_living(process.pid, since=time.time() - 600), "a later process with the number of a dead one"
    os.kill(process.pid, signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert psutil.pid_exists(process.pid), "nobody has collected it yet"
    assert not is_living(process.pid, since=time.time())
    process.wait()
    assert not is_living(process.pid, since=time.time())


def test_a_cluster_answers_where_somebody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        assert answers(address)
    assert not answers(address, limit_s=1)
    assert answers("auto")
    assert answers("ray://head:10001"), "Ray's own client knows how to reach it"
