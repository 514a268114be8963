"""Workers as actors of Ray's, each in a process of its own, on whichever node has room. Edge file: imports Ray.

An actor is detached: it goes on when the gateway that started it ends, and every gateway finds it by its name. It is
never started again by Ray: a lost worker is another attempt, and the coordinator's to decide. `penstock down` ends what
is left (`serving/deploy/retire.py`), which counts as no loss (`serving/deploy/put_back.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import GetTimeoutError, RayActorError

from serving.periodic import ticks
from serving.tuning.plan import WorkerPlan
from serving.tuning.trainers import Life, Resources

NAMESPACE = "serve"
PREFIX = "penstock-tuning-"
LOOK_S = 1.0
KILL_POLL_S = 0.1
QUIET = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1", "TOKENIZERS_PARALLELISM": "false"}


class WorkerActor:
    """The body of one actor. It answers `ping` while it works."""

    def ping(self) -> int:
        """Its process."""
        return os.getpid()

    def work(self, plan: str) -> None:
        """The attempt of this plan, in JSON; then the process ends, whatever came of it: what is to be known is in the
        job's row.
        """
        from serving.tuning.worker import work

        try:
            asyncio.run(work(WorkerPlan.model_validate_json(plan)))
        finally:
            os.kill(os.getpid(), signal.SIGTERM)  # not `exit_actor`, which leaves a thread that still loads libraries


class RayTrainers:
    """Workers of the cluster that this process is connected to. Travels by value: it holds nothing."""

    async def start(self, plan: WorkerPlan, resources: Resources) -> None:
        """A named actor, which Ray holds until the cluster has room."""
        await asyncio.to_thread(_start, plan, resources)

    async def alive(self, job: str, attempt: int) -> Life:
        """Whether the actor is there, and answers."""
        return await asyncio.to_thread(_alive, job, attempt)

    async def kill(self, job: str, attempt: int) -> None:
        """End its process, and wait until Ray says that it has."""
        async for _ in ticks(KILL_POLL_S):
            if not await asyncio.to_thread(_killed, job, attempt):
                return


def end_all() -> int:
    """Kill every worker of the cluster to which this process is connected, if it is to any; how many there were."""
    if not ray.is_initialized():
        return 0
    names = [name for name in ray.util.list_named_actors() if name.startswith(PREFIX)]
    for name in names:
        with contextlib.suppress(ValueError):
            ray.kill(ray.get_actor(name))
    return len(names)


def _name(job: str, attempt: int) -> str:
    return f"{PREFIX}{job}-{attempt}"


def _start(plan: WorkerPlan, resources: Resources) -> None:
    if _found(plan.job, plan.attempt) is not None:
        return
    threads = {} if plan.threads is None else {"OMP_NUM_THREADS": str(plan.threads)}
    options: dict[str, Any] = {
        "name": _name(plan.job, plan.attempt),
        "namespace": NAMESPACE,
        "lifetime": "detached",
        "num_cpus": resources.cpus,
        "num_gpus": resources.gpus,
        "max_restarts": 0,
        "max_concurrency": 2,
        "runtime_env": {"env_vars": {**QUIET, **threads}},
    }
    with contextlib.suppress(ValueError):  # another gateway was faster
        actor = ray.remote(WorkerActor).options(**options).remote()
        actor.work.remote(plan.model_dump_json())


def _found(job: str, attempt: int) -> ActorHandle | None:
    try:
        return ray.get_actor(_name(job, attempt), namespace=NAMESPACE)
    except ValueError:
        return None


def _alive(job: str, attempt: int) -> Life:
    actor = _found(job, attempt)
    if actor is None:
        return "gone"
    try:
        ray.get(actor.ping.remote(), timeout=LOOK_S)
    except GetTimeoutError:
        return "pending"
    except RayActorError:
        return "gone"
    return "running"


def _killed(job: str, attempt: int) -> bool:
    """Whether there was something to kill."""
    actor = _found(job, attempt)
    if actor is None:
        return False
    ray.kill(actor)
    return True
