"""`python -m tests.e2e.lora_engine FOLDER [mp]`: one real vLLM engine with adapters behind a replica's door, no Ray.

Two slots, three adapters in host memory, the small demo tier in float32. FOLDER holds the artifact store and the cache.
Prints the door's address when it answers. `POST /bare/add` and `POST /bare/generate` reach vLLM past the shelf, with
any name, id and folder: what a stack would do that names adapters carelessly.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch  # noqa: F401 - its OpenMP reads the variables now, before they are set
from vllm import SamplingParams
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.launchers.cli_args import FrontendArgs
from vllm.entrypoints.openai.api_server import build_app, init_app_state
from vllm.lora.request import LoRARequest
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.executor.uniproc_executor import UniProcExecutor

from models.artifacts.folder import FolderSettings
from models.catalog import Catalog, ModelStore, engine_arguments
from serving.engines.adapter_door import AdapterDoor
from serving.engines.adapter_start import AdapterPlan, filled_shelf
from serving.engines.adapter_status import AdapterFigures
from serving.engines.asgi import Receive, Scope, Send, answer
from serving.engines.door import DoorSettings, EngineDoor
from serving.engines.lora import VllmLora
from serving.engines.lora_slots import EXTENSION
from serving.engines.one_process import BOUND_CORES, one_thread_per_core
from serving.own_server import OwnServer

CARD, TOKEN = "demo-small", "door-token"
SLOTS, HOST = 2, 3
BLOCK = 32  # tokens that share a block of the prefix cache
TUNED = {
    **{"dtype": "float32", "max_model_len": 2048, "kv_cache_memory_bytes": 2**28, "block_size": BLOCK},
    **{"max_loras": SLOTS, "max_cpu_loras": HOST, "worker_extension_cls": EXTENSION},
}


class Bare:
    """The way past the shelf, beside the door."""

    def __init__(self, door: EngineDoor, client: Any) -> None:
        self._door = door
        self._client = client

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if not scope.get("path", "").startswith("/bare/"):
            await self._door(scope, receive, send)
            return
        asked = json.loads((await receive())["body"])
        request = LoRARequest(asked["name"], asked["number"], asked["folder"])
        work = self._add if scope["path"] == "/bare/add" else self._generate
        await answer(send, 200, payload=await work(request, asked))

    async def _add(self, request: LoRARequest, _asked: Any) -> dict[str, Any]:
        try:
            return {"error": None, "added": await self._client.add_lora(request)}
        except Exception as error:  # noqa: BLE001 - which ones there are is the question
            return {"error": str(error), "dead": self._client.errored}

    async def _generate(self, request: LoRARequest, asked: Any) -> dict[str, Any]:
        greedy = SamplingParams(temperature=0.0, max_tokens=asked["max_tokens"], ignore_eos=True)
        prompt = {"prompt_token_ids": asked["prompt"]}
        async for output in self._client.generate(prompt, greedy, request_id=asked["id"], lora_request=request):
            last = output
        return {"token_ids": list(last.outputs[0].token_ids), "cached": last.num_cached_tokens}


async def serve(folder: Path, *, one_process: bool) -> None:
    """Until standard input ends."""
    card = Catalog.load(None).card(CARD)
    model = str(ModelStore(None).resolve(card))
    arguments = engine_arguments(card, TUNED)
    frontend = {name: arguments.pop(name) for name in ("enable_auto_tool_choice", "tool_call_parser")}
    arguments = AsyncEngineArgs(model=model, served_model_name=[CARD], **arguments)
    config = arguments.create_engine_config()
    if one_process:
        config.parallel_config.distributed_executor_backend = UniProcExecutor
    os.environ.update(one_thread_per_core(os.environ[BOUND_CORES]))
    client = AsyncLLM.from_vllm_config(config)
    named = argparse.Namespace(**(vars(FrontendArgs(**frontend)) | vars(arguments)))
    app = build_app(named, supported_tasks=("generate",), model_config=client.model_config)
    await init_app_state(client, app.state, named, supported_tasks=("generate",))
    plan = AdapterPlan(FolderSettings(kind="folder"), home=str(folder / "store"), cache=str(folder / "cache"))
    shelf = await filled_shelf(plan, VllmLora(client, app.state.openai_serving_models), card=CARD)
    door = EngineDoor(
        AdapterFigures(app, shelf), token=TOKEN, settings=DoorSettings(64, 64, 30.0), adapters=AdapterDoor(shelf)
    )
    server = OwnServer(Bare(door, client))
    sys.stdout.write(json.dumps({"url": "http://{}:{}".format(*server.address)}) + "\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    await server.stop()
    client.shutdown()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), one_process="mp" not in sys.argv[2:]))
