import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from benchmarks.arms import Bench
from benchmarks.arms.remote import Remote
from benchmarks.processes import EngineProcesses
from benchmarks.usage import Watched, cards_of

BUSY = "import time; end = time.process_time() + 60\nwhile time.process_time() < end: pass"
IDLE = "import time; time.sleep(60)"


class TwoProcesses(Remote):
    """An arm whose front computes and whose engine sleeps."""

    def __init__(self, bench: Bench, front: psutil.Process, engine: psutil.Process) -> None:
        super().__init__(bench, name="two", url="http://127.0.0.1:9")
        self._pair = (front, engine)

    def front(self) -> list[psutil.Process]:
        return [self._pair[0]]

    def engine(self) -> EngineProcesses:
        return EngineProcesses(self._pair[1], (self._pair[1],))

    def processes(self) -> list[psutil.Process]:
        return list(self._pair)


@pytest.fixture
def pair() -> Iterator[tuple[psutil.Process, psutil.Process]]:
    running = [subprocess.Popen([sys.executable, "-c", code]) for code in (BUSY, IDLE)]
    yield psutil.Process(running[0].pid), psutil.Process(running[1].pid)
    for one in running:
        one.kill()
        one.wait()


def test_processor_time_is_counted_where_it_is_used(bench: Bench, pair: tuple[psutil.Process, psutil.Process]) -> None:
    watched = Watched(TwoProcesses(bench, *pair))
    before = watched.usage()
    enough_s = pair[0].cpu_times().user + 0.5
    deadline = time.monotonic() + 30
    while pair[0].cpu_times().user < enough_s and time.monotonic() < deadline:
        time.sleep(0.05)
    after = watched.usage()
    assert before is not None
    assert after is not None
    used = after.since(before)
    assert used.front_s > 0.2
    assert used.engine_s < 0.2
    assert used.all_s == pytest.approx(used.front_s + used.engine_s)
    memory = watched.memory_bytes()
    assert memory is not None
    assert memory > 2**20
    assert watched.cores()["engine"] == watched.cores()["front"] != ""


def test_of_a_server_of_somebody_else_nothing_is_known(bench: Bench) -> None:
    watched = Watched(Remote(bench, name="mine", url="http://127.0.0.1:9"))
    assert (watched.known, watched.usage(), watched.memory_bytes()) == (False, None, None)


def test_a_process_that_has_ended_is_no_error(bench: Bench, pair: tuple[psutil.Process, psutil.Process]) -> None:
    watched = Watched(TwoProcesses(bench, *pair))
    pair[0].kill()
    pair[0].wait()
    assert watched.usage() is not None


def test_cards_are_those_that_our_processes_compute_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cards_of({1}) is None or isinstance(cards_of({1}), int)
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\nprintf '11, GPU-a\\n12, GPU-a\\n13, GPU-b\\n14, GPU-c\\n'\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert (cards_of({11, 12, 13}), cards_of({99})) == (2, 0)
