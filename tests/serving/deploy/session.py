"""A folder as Ray's session leaves it, with texts of the shape that vLLM, Serve and the gateway write."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

SESSION = "session_2026-11-24_10-00-00_123456_42"
WORKER = "worker-0a1b2c3d4e5f60718293a4b5c6d7e8f901234567890abcdef0123456"
GATEWAY_LOG = "serve/replica_penstock_gateway_ab12cd34.log"
CALL = '{"id":"req-1","status":200,"event":"call","level":"info","time":"2026-11-24T10:00:05Z"}'


def worker(pid: int, stream: str) -> str:
    """The name of a worker's file."""
    return f"{WORKER}{pid:x}-01000000-{pid}.{stream}"


def notes(actor: str) -> str:
    """What Ray writes first into both files of a worker that became an actor."""
    return f":job_id:01000000\n:actor_name:{actor}\n"


def replica(deployment: str, text: str) -> str:
    """The output of a replica."""
    return notes(f"ServeReplica:penstock:{deployment}") + text


def served(deployment: str, process: str, message: str) -> str:
    """A message as Serve's logger writes it."""
    return f"INFO 2026-11-24 10:00:05,123 penstock_{deployment} {process} -- {message}\n"


def write_session(scratch: Path, files: Mapping[str, str]) -> Path:
    """The session's folder of logs under a scratch folder."""
    folder = scratch / "ray" / SESSION / "logs"
    (folder / "serve").mkdir(parents=True, exist_ok=True)
    scratch.chmod(0o700)
    for name, text in files.items():
        (folder / name).write_text(text)
    latest = scratch / "ray" / "session_latest"
    if not latest.exists():
        latest.symlink_to(SESSION)
    return folder


FILES = {
    worker(41, "out"): replica("demo-small", "INFO 11-24 10:00:01 [core.py:120] ready\n"),
    worker(41, "err"): replica("demo-small", ""),
    worker(42, "err"): replica("gateway", ""),
    worker(43, "err"): ":job_id:01000000\n",
    GATEWAY_LOG: served("gateway", "ab12cd34", f"{CALL}\n"),
    "serve/replica_penstock_demo-small_ef56ab78.log": served("demo-small", "ef56ab78", "Starting engine"),
    "serve/controller_40.log": "INFO 2026-11-24 10:00:00,000 controller 40 -- Adding 1 replica\n",
    "raylet.out": "not an actor's\n",
}

BROKEN = "demo-broken"
PID = 4711
MEMORY = (
    "ValueError: To serve at least one request with the model's max seq len (131072), (4.50 GiB KV cache is needed, "
    "which is larger than the available KV cache memory (1.00 GiB). Try increasing `gpu_memory_utilization` or "
    "decreasing `max_model_len` when initializing the engine."
)
POINTER = (
    "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': 1}"
)
FRAME = (
    '  File "/site-packages/vllm/v1/engine/core.py", line 1340, in run_engine_core\n    engine_core = EngineCoreProc('
)
SERVES_HEAD = f"""\
The deployment failed to start 3 times in a row. This may be due to a problem with its constructor or initial health \
check failing. See controller logs for details. Error:
ray::ServeReplica:penstock:{BROKEN}.initialize_and_get_metadata() (pid={PID}, ip=127.0.0.1, actor_id=4d, repr=<x>)
  File "/concurrent/futures/_base.py", line 449, in result
    return self.__get_result()
           ^^^^^^^^^^^^^^^^^^^
  File "/site-packages/ray/serve/_private/replica.py", line 1290, in initialize_and_get_metadata
    raise RuntimeError(traceback.format_exc()) from None
RuntimeError: Traceback (most recent call last):
  File "/site-packages/vllm/v1/engine/utils.py", line 1320, in wait_for_engine_startup
    raise RuntimeError(
"""
SERVES_TEXT = SERVES_HEAD + POINTER

REFUSED = """\
pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig
  Value error, User-specified max_model_len (999999) is greater than the derived one (2048). [type=value_error]
    For further information visit https://errors.pydantic.dev/2.13/v/value_error
"""


def engine_output(error: str = MEMORY) -> dict[str, str]:
    """Both files of a replica whose EngineCore raised while it started."""
    core, record = "(EngineCore pid=4799) ", "11-24 10:00:09 [core.py:1374] "
    said = [
        "INFO 11-24 10:00:03 [core.py:120] Initializing a V1 LLM engine",
        "INFO 11-24 10:00:08 [worker.py:9] Loaded",
    ]
    traced = ["EngineCore failed to start.", "Traceback (most recent call last):", *FRAME.split("\n"), error]
    logged = [*said, *(f"ERROR {record}{line}" for line in traced)]
    printed = ["Process EngineCore:", *traced[1:]]
    shutdown = "INFO 11-24 10:00:02 [loader.py:5] Using the model folder\n"
    return {
        worker(PID, "out"): replica(BROKEN, shutdown + "".join(f"{core}{line}\n" for line in logged)),
        worker(PID, "err"): replica(BROKEN, "".join(f"{core}{line}\n" for line in printed)),
    }
