"""The process that asks Ray Serve to end everything, streams first: `python -m serving.deploy.retire ADDRESS`.

Edge file: imports Ray. Ends no process itself (`node.py`).
"""

from __future__ import annotations

import sys

import ray
from ray import serve

from serving.deploy.applications import APPLICATION


def retire(address: str) -> None:
    """Delete the application, which drains every replica, then Serve itself."""
    ray.init(address=address, namespace="serve", log_to_driver=False, configure_logging=False)
    serve.delete(APPLICATION)
    serve.shutdown()


if __name__ == "__main__":
    retire(sys.argv[1])
