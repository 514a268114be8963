from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from aiohttp import web
from rich.console import Console

from models.demo.evaluate import evaluate
from models.demo.families import FAMILIES, Split, draw

KEY = {one.prompt: one.answer for name in FAMILIES for one in draw(name, Split.HELD_OUT, count=5, seed=1)}


@asynccontextmanager
async def engine(reply: Callable[[dict[str, Any]], web.Response]) -> AsyncIterator[str]:
    async def chat(request: web.Request) -> web.Response:
        return reply(await request.json())

    app = web.Application()
    app.router.add_post("/v1/chat/completions", chat)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


def oracle(body: dict[str, Any]) -> web.Response:
    """Knows every answer as `large`, none as `small`; refuses to be asked with sampling."""
    assert body["temperature"] == 0
    text = KEY[body["messages"][-1]["content"]] if body["model"] == "large" else "Something else."
    return web.json_response({"choices": [{"message": {"content": text}, "finish_reason": "stop"}]})


async def test_the_report_counts_exact_answers_per_model_and_family() -> None:
    async with engine(oracle) as base_url:
        report = await evaluate(base_url, "key", models=["small", "large"], per_family=5, seed=1)
    assert {(row.model, row.exact, row.asked, row.stopped) for row in report.rows} == {
        ("small", 0, 5, 5),
        ("large", 5, 5, 5),
    }
    assert len(report.rows) == 2 * len(FAMILIES)


async def test_the_table_and_the_json_carry_count_and_seed() -> None:
    async with engine(oracle) as base_url:
        report = await evaluate(base_url, "key", models=["large"], per_family=5, seed=1)
    console = Console(width=100)
    with console.capture() as captured:
        console.print(report.table())
    assert "5 per family, seed 1" in " ".join(captured.get().split())
    assert '"exact_percent": 100.0' in report.to_json()


async def test_a_failed_request_fails_the_evaluation() -> None:
    async with engine(lambda _: web.json_response({"error": {}}, status=503)) as base_url:
        with pytest.raises(httpx2.HTTPStatusError):
            await evaluate(base_url, "key", models=["large"], per_family=5, seed=1)
