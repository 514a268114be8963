"""No orphans: an engine process dies with the replica that started it, even when the replica is killed without notice.

Registered as a vLLM general plug-in (see pyproject.toml), which vLLM calls in every process it starts. Acts only in a
direct child of a replica of ours: elsewhere (somebody's own `vllm serve`) it does nothing.
"""

from __future__ import annotations

import ctypes
import os
import signal

PARENT_VARIABLE = "PENSTOCK_ENGINE_PARENT"
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def claim_children() -> None:
    """Called in the replica before the engine starts: children inherit the variable and know whom to follow."""
    os.environ[PARENT_VARIABLE] = str(os.getpid())


def die_with_parent() -> None:
    """The plug-in: ask the kernel for SIGKILL at the parent's death, which also ends a stopped (SIGSTOP) process."""
    parent = os.environ.get(PARENT_VARIABLE)
    if parent is None or parent != str(os.getppid()):
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent != str(os.getppid()):  # it died between the two lines
        os._exit(1)
