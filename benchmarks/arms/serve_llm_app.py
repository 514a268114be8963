"""`python -m benchmarks.arms.serve_llm_app FILE`: Ray Serve LLM's OpenAI application in its own Ray, until SIGTERM.

Edge file: imports Ray.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import ray
from ray import serve
from ray.serve.config import HTTPOptions
from ray.serve.llm import LLMConfig, build_openai_app

LOGICAL_CPUS = 32  # Ray's bookkeeping: Serve LLM reserves more than a small machine has
OBJECT_STORE_BYTES = 128 * 2**20


def run(order: dict[str, Any]) -> None:
    """Start everything and return; the processes go on."""
    ray.init(
        address="local",
        num_cpus=LOGICAL_CPUS,
        object_store_memory=OBJECT_STORE_BYTES,
        include_dashboard=False,
        _node_ip_address="127.0.0.1",
        _temp_dir=order["temp"],
    )
    serve.start(http_options=HTTPOptions(host="127.0.0.1", port=order["port"]))
    config = LLMConfig(
        model_loading_config={"model_id": order["card"], "model_source": order["model"]},
        engine_kwargs=order["engine"],
        accelerator_config={"kind": "cpu"},
        deployment_config={"num_replicas": 1},
        experimental_configs=order["experimental"],
        runtime_env={"env_vars": order["variables"]},
    )
    serve.run(build_openai_app({"llm_configs": [config]}), blocking=False)


def main(file: str) -> int:
    """Serve until somebody ends it."""
    order = json.loads(Path(file).read_text())
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        run(order)
        signal.pause()
    except KeyboardInterrupt:
        pass
    finally:
        ray.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
