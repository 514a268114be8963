import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from serving.engines.parentage import PARENT_VARIABLE, claim_children

# A replica: claims its children, starts an engine that runs the plug-in, tells its pid.
PARENT = """
import os, subprocess, sys
from serving.engines import parentage
if sys.argv[1] == "claims":
    parentage.claim_children()
else:
    os.environ[parentage.PARENT_VARIABLE] = sys.argv[1]
child = subprocess.Popen([sys.executable, "-c", sys.argv[2]], stdout=subprocess.PIPE, text=True)
print(child.stdout.readline().strip(), flush=True)
sys.stdin.read()
"""
ENGINE = """
import os, time
from serving.engines.parentage import die_with_parent
die_with_parent()
print(os.getpid(), flush=True)
time.sleep(60)
"""

Family = tuple[subprocess.Popen[str], psutil.Process]


def start(parent: str) -> Family:
    command = [sys.executable, "-c", PARENT, parent, ENGINE]
    replica = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert replica.stdout is not None
    return replica, psutil.Process(int(replica.stdout.readline()))


def ended(process: psutil.Process, timeout_s: float) -> bool:
    """Whether it has ended; an orphan's last sign may be a zombie that nobody has collected."""
    psutil.wait_procs([process], timeout=0 if not process.is_running() else timeout_s)
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@pytest.fixture
def family(request: pytest.FixtureRequest) -> Iterator[Family]:
    replica, engine = start(request.param)
    yield replica, engine
    replica.kill()
    replica.communicate()
    if not ended(engine, 0):
        engine.kill()


@pytest.mark.parametrize("family", ["claims"], indirect=True)
@pytest.mark.parametrize("stopped", [False, True])
def test_an_engine_dies_with_its_killed_replica(family: Family, stopped: bool) -> None:
    replica, engine = family
    assert engine.ppid() == replica.pid
    if stopped:
        engine.suspend()
    replica.kill()
    assert replica.wait() == -signal.SIGKILL
    assert ended(engine, 2)


@pytest.mark.parametrize("family", ["1", "not-a-pid"], indirect=True)
def test_a_process_that_is_no_replicas_child_lives_on(family: Family) -> None:
    replica, engine = family
    replica.kill()
    replica.wait()
    assert not ended(engine, 0.3)


def test_without_a_replica_the_plug_in_does_nothing() -> None:
    environment = {name: value for name, value in os.environ.items() if name != PARENT_VARIABLE}
    script = ENGINE.replace("time.sleep(60)", "print('alive')")
    ran = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "alive"


def test_a_replica_names_itself_to_its_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PARENT_VARIABLE, "somebody else")
    claim_children()
    assert os.environ[PARENT_VARIABLE] == str(os.getpid())
