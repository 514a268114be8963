"""`python -m benchmarks.arms.bare_server FLAGS`: vLLM's OpenAI server on the one core that Penstock's engine has.

With the model in the engine core's process, as Penstock runs it, the core's threads are bound by OpenMP's variables.
They are set here after this process has read its own: it stays free to run on every core, as Penstock's replica does.
"""

from __future__ import annotations

import os
import runpy

import torch  # noqa: F401 - its OpenMP reads the variables now, before they are set

SERVER = "vllm.entrypoints.openai.api_server"


def serve() -> None:
    """Run the server with this process's arguments."""
    os.environ["GOMP_CPU_AFFINITY"] = os.environ["VLLM_CPU_OMP_THREADS_BIND"].replace(",", " ")
    runpy.run_module(SERVER, run_name="__main__")


if __name__ == "__main__":
    serve()
