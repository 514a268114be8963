"""Several processes that share one training, each on a GPU of its own (edge: torch).

Each holds the base and the adapter, takes its part of every step, and adds its gradients to the others': the sum is
the whole step's, so the update is the one that a single process makes, and a checkpoint of any number of processes goes
on with any other. Only sums travel. The leader is the process that the order came to: it alone tells and writes.
Members are processes of the same machine and live no longer than it, since their standard input is its pipe; one that
is lost ends the training of all.

Owns starting, adding and ending. Does not know what a step is (`trainers.py`) or which part is whose (`plan.py`).
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import wraps
from pathlib import Path
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from finetune.order import Reporter, Stop, Trained, TrainingFailed, TrainingOrder
from finetune.training.plan import ALONE, Part

POLL_S = 0.0005
PATIENCE = timedelta(hours=1)
"""How long members wait for one another: the leader may be keeping a checkpoint in a slow store."""
END_S = 10.0
STOPS: tuple[Stop | None, ...] = (None, "cancel", "pause", "cap", "lost")


class MemberLost(ConnectionError):
    """A process of the group is gone without a reason of the training's own: another attempt may fare better."""


@dataclass(frozen=True, slots=True)
class Group:
    """The processes of a training, as one of them sees them: alone, it is a group of one."""

    part: Part = ALONE
    members: Sequence[Member] = ()

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Put the sum over all processes into each of these, which have the same shapes everywhere; in float32 or more.

        Raises `TrainingFailed` with a member's own reason, and `MemberLost`.
        """
        if self.part.size == 1:
            return
        flat = torch.cat([one.detach().reshape(-1) for one in tensors])
        try:
            work = dist.all_reduce(flat, async_op=True)
            while not work.is_completed():
                self.require_members()
                time.sleep(POLL_S)
            work.wait()
        except RuntimeError as error:  # torch's word for a connection whose other end is gone
            self.require_members(wait_s=END_S)
            raise MemberLost("A process of the training does not answer any more.") from error
        for one, part in zip(tensors, flat.split([one.numel() for one in tensors]), strict=True):
            one.detach().copy_(part.view_as(one))

    def agreed(self, stop: Stop | None, *, device: str) -> Stop | None:
        """The leader's word."""
        told = torch.tensor([float(STOPS.index(stop)) if self.part.leads else 0.0], device=device)
        self.add([told])
        return STOPS[int(told.item())]

    def require_members(self, *, wait_s: float = 0.0) -> None:
        """Raises what a member ended with. `wait_s`: how long one that is ending may take."""
        last = time.monotonic() + wait_s
        while True:
            for one in self.members:
                one.require()
            if not self.members or time.monotonic() >= last:
                return
            time.sleep(POLL_S)


class Member:
    """One process, as its leader sees it."""

    def __init__(self, order: TrainingOrder, *, rank: int) -> None:
        own = order.model_copy(update={"rank": rank})
        told = place_of(order) / f"member-{rank}.json"
        told.write_text(own.model_dump_json())
        self._failure = failure_of(own)
        command = [*_on_its_gpu(order, rank), sys.executable, "-P", "-m", "finetune.recipes.member", str(told)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            process_group=0,  # Ctrl-C is the leader's
        )

    def require(self) -> None:
        """Raises what it ended with, if it ended."""
        if self._process.poll() in (None, 0):
            return
        if self._failure.exists():
            raise TrainingFailed(**json.loads(self._failure.read_text()))
        raise MemberLost(f"A process of the training ended with {self._process.returncode}.")

    def end(self) -> None:
        """Kill it. It holds nothing that the leader does not."""
        self._process.kill()
        self._process.communicate()


class GroupedTrain(Protocol):
    """A recipe, as it is written: one process's part."""

    def __call__(self, order: TrainingOrder, reporter: Reporter, *, group: Group) -> Trained: ...


def grouped(train: GroupedTrain) -> Callable[[TrainingOrder, Reporter], Trained]:
    """The recipe as it is called: in as many processes as the order says."""

    @wraps(train)
    def trained(order: TrainingOrder, reporter: Reporter) -> Trained:
        if order.processes == 1:
            return train(order, reporter, group=Group())
        with _led(order) if order.rank == 0 else _joined(order) as group:
            return train(order, reporter, group=group)

    return trained


def failure_of(order: TrainingOrder) -> Path:
    """Where a member writes the reason for which it ended, as the arguments of `TrainingFailed`."""
    return place_of(order) / f"member-{order.rank}-failed.json"


def place_of(order: TrainingOrder) -> Path:
    """The folder by which the processes find one another; it goes with them."""
    return order.folder / "group"


@contextmanager
def _led(order: TrainingOrder) -> Iterator[Group]:
    """The members are started, and end with the block."""
    place = place_of(order)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    members: list[Member] = []
    try:
        for rank in range(1, order.processes):
            members.append(Member(order, rank=rank))
        with _joined(order, members) as group:
            yield group
    finally:
        for one in members:
            one.end()
        shutil.rmtree(place, ignore_errors=True)


@contextmanager
def _joined(order: TrainingOrder, members: Sequence[Member] = ()) -> Iterator[Group]:
    """All have met, at a file in the order's folder."""
    group = Group(Part(order.rank, order.processes), members)
    torch.set_num_threads(order.threads or max(1, torch.get_num_threads() // order.processes))
    store = dist.FileStore(str(place_of(order) / "meeting"), order.processes)
    store.set(f"here-{order.rank}", "")
    while not store.check([f"here-{rank}" for rank in range(order.processes)]):
        group.require_members()
        time.sleep(POLL_S)
    gpu = torch.device("cuda", 0) if order.device == "cuda" else None
    dist.init_process_group(
        "gloo" if gpu is None else "nccl",
        store=store,
        rank=order.rank,
        world_size=order.processes,
        timeout=PATIENCE,
        device_id=gpu,  # NCCL connects now, while all are here, and not inside the first sum
    )
    try:
        yield group
    except BaseException:
        for one in members:
            one.end()
        if gpu is None:  # NCCL's end waits for sums that others do not make any more: it goes with this process
            dist.destroy_process_group()
        raise
    dist.destroy_process_group()


def _on_its_gpu(order: TrainingOrder, rank: int) -> list[str]:
    """The member sees one GPU, which is its first: transformers takes no other."""
    if order.device == "cpu":
        return []
    if rank >= (seen := torch.cuda.device_count()):
        raise TrainingFailed("internal_error", f"The training is to have {order.processes} GPUs, and {seen} are here.")
    return ["env", f"CUDA_VISIBLE_DEVICES=GPU-{torch.cuda.get_device_properties(rank).uuid}"]
