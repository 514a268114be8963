"""vLLM's own load generator, kept loaded: one JSON list of its arguments per line on stdin, one answer per line on
stdout.

The generator is used as it is, but for one thing: it asks the environment for a proxy before every request, after its
clock has started, which costs it 1 ms of every time to first token; here it does not. It goes ahead of the servers
where the kernel permits it, as our own client does (benchmarks/priority.py), so that what is compared is the measuring.
Owns nothing but the loop around it. Edge file: imports vLLM.
"""

from __future__ import annotations

import json
import sys
import traceback
from contextlib import redirect_stdout
from types import SimpleNamespace
from typing import Any

import aiohttp
import vllm.benchmarks.serve
from vllm.benchmarks.serve import add_cli_args, main
from vllm.utils.argparse_utils import FlexibleArgumentParser

from benchmarks.priority import ahead


class Direct(aiohttp.ClientSession):
    """A session that reads no proxy from the environment."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "trust_env": False})


def serve() -> None:
    """Run every block that is asked for until stdin ends; the generator's own prints go to stderr."""
    answers = sys.stdout
    vllm.benchmarks.serve.aiohttp = SimpleNamespace(**{**vars(aiohttp), "ClientSession": Direct})
    with redirect_stdout(sys.stderr):
        for line in sys.stdin:
            error = _run(json.loads(line))
            answers.write(json.dumps({"error": error}) + "\n")
            answers.flush()


def _run(arguments: list[str]) -> str | None:
    parser = FlexibleArgumentParser()
    add_cli_args(parser)
    try:
        with ahead():
            main(parser.parse_args(arguments))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever the generator does, the caller is told
        traceback.print_exc()
        return f"{type(error).__name__}: {error}"
    return None


if __name__ == "__main__":
    serve()
