import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from serving.engines.cores import available_cores, claim_cores, moved

CLAIMER = """
import sys
from pathlib import Path
from serving.engines.cores import claim_cores
claim = claim_cores(Path(sys.argv[1]), int(sys.argv[2]), cores=(0, 1, 2, 3))
print(*claim.cores, flush=True)
sys.stdin.read()
"""

Claimer = tuple[subprocess.Popen[str], tuple[int, ...]]


@pytest.fixture
def claimer(tmp_path: Path) -> Iterator[Callable[[int], Claimer]]:
    """Start a process that claims some of four cores and holds them until it dies."""
    with_them: list[subprocess.Popen[str]] = []

    def start(count: int) -> Claimer:
        command = [sys.executable, "-c", CLAIMER, str(tmp_path / "claims"), str(count)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        with_them.append(process)
        assert process.stdout is not None
        return process, tuple(int(core) for core in process.stdout.readline().split())

    yield start
    for process in with_them:
        process.kill()
        process.communicate()


def test_two_processes_get_different_cores(claimer: Callable[[int], Claimer]) -> None:
    (_, first), (_, second) = claimer(2), claimer(2)
    assert (first, second) == ((2, 3), (0, 1))


def test_a_killed_process_gives_its_cores_back(claimer: Callable[[int], Claimer]) -> None:
    (process, first), (_, second) = claimer(3), claimer(1)
    process.kill()
    assert process.wait() == -9
    assert (first, second) == ((1, 2, 3), (0,))
    assert claimer(3)[1] == (1, 2, 3)


def test_more_claims_than_cores_share_them_evenly(tmp_path: Path) -> None:
    claims = [claim_cores(tmp_path / "claims", 1, cores=(0, 1)) for _ in range(5)]
    assert [claim.cores for claim in claims] == [(1,), (0,), (1,), (0,), (1,)]
    claims[1].release()
    claims.append(claim_cores(tmp_path / "claims", 1, cores=(0, 1)))
    assert claims[-1].cores == (0,)
    for claim in claims:
        claim.release()


def test_a_claim_for_more_than_there_are_gets_all(tmp_path: Path) -> None:
    claim = claim_cores(tmp_path / "claims", 9, cores=(4, 5))
    assert claim.cores == (4, 5)
    claim.release()


def test_the_cores_are_those_that_this_process_may_use(tmp_path: Path) -> None:
    claim = claim_cores(tmp_path / "claims", 1)
    assert claim.cores == (max(os.sched_getaffinity(0)),)
    assert set(available_cores()) == os.sched_getaffinity(0)
    claim.release()


def test_a_claim_behind_another_one_moves_to_a_core_that_came_free(tmp_path: Path) -> None:
    folder, both = tmp_path / "claims", (0, 1)
    first, second, third = (claim_cores(folder, 1, cores=both) for _ in range(3))
    assert [claim.behind for claim in (first, second, third)] == [0, 0, 1]
    assert moved(third, folder, cores=both) is third, "every core is taken"
    assert moved(second, folder, cores=both) is second
    second.release()
    assert moved(first, folder, cores=both) is first, "it was there before the other one"
    third = moved(third, folder, cores=both)
    assert (third.cores, third.behind) == ((0,), 0)
    again = claim_cores(folder, 2, cores=both)
    assert again.behind == 2, "one on each core, and nothing left of what was tried"
    for claim in (first, third, again):
        claim.release()


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_moving_takes_the_bound_threads_of_the_engine_along(tmp_path: Path) -> None:
    low, high = sorted(os.sched_getaffinity(0))[:2]
    folder = tmp_path / "claims"
    other, ahead, behind = (claim_cores(folder, 1, cores=(low, high)) for _ in range(3))
    assert behind.cores == (high,)
    with subprocess.Popen(["sleep", "60"]) as bound, subprocess.Popen(["sleep", "60"]) as free:
        os.sched_setaffinity(bound.pid, {high})
        ahead.release()
        behind = moved(behind, folder, cores=(low, high))
        assert os.sched_getaffinity(bound.pid) == {low}
        assert os.sched_getaffinity(free.pid) == os.sched_getaffinity(0)
        bound.kill()
        free.kill()
    for claim in (other, behind):
        claim.release()
