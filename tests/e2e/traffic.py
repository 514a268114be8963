"""Traffic with a tally: what a client without retries saw of each request, so that nothing is left out."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field

import openai
from openai import AsyncOpenAI

MESSAGES = [{"role": "user", "content": "Hello, what can you do for me?"}]


@dataclass
class Outcome:
    """One request as its client saw it. `begun`: something of its answer came; `chunks` counts content chunks;
    `ended_s` is monotonic.
    """

    model: str
    code: str = "unset"
    status: int = 200
    begun: bool = False
    chunks: int = 0
    finish_reason: str | None = None
    request_id: str | None = None
    started_s: float = field(default_factory=time.monotonic)
    ended_s: float = 0.0

    @property
    def took_s(self) -> float:
        """From the call to its end."""
        return self.ended_s - self.started_s

    @property
    def complete(self) -> bool:
        """Answered to the end: a clean stop without a finish reason is not."""
        return self.code == "ok" and self.finish_reason is not None

    @property
    def silently_cut(self) -> bool:
        """The one thing that must never happen: a clean end without a finish reason."""
        return self.code == "ok" and self.finish_reason is None


class Talk:
    """A stream that runs beside the test: what came so far, and a way to leave it."""

    def __init__(self, client: AsyncOpenAI, model: str, *, tokens: int) -> None:
        self.outcome = Outcome(model)
        self.leaving = asyncio.Event()
        self.task = asyncio.create_task(stream(client, model, tokens=tokens, endless=True, talk=self))

    async def started(self) -> None:
        """Return when the first content is there."""
        while not self.outcome.chunks:
            assert not self.task.done(), self.outcome
            await asyncio.sleep(0.05)

    async def goes_on(self) -> None:
        """Return when more content has come."""
        before = self.outcome.chunks
        while self.outcome.chunks == before:
            assert not self.task.done(), self.outcome
            await asyncio.sleep(0.05)


async def stream(
    client: AsyncOpenAI, model: str, *, tokens: int, endless: bool = False, talk: Talk | None = None
) -> Outcome:
    """One streamed chat; `endless` keeps the model from stopping before `tokens`, `talk` lets others look on."""
    outcome = talk.outcome if talk is not None else Outcome(model)
    options = {"logit_bias": {"1": -100}} if endless else {}
    try:
        answer = await client.chat.completions.create(
            model=model, messages=MESSAGES, max_tokens=tokens, stream=True, temperature=0, **options
        )
        outcome.request_id = answer.response.headers["x-request-id"]
        async for chunk in answer:
            await asyncio.sleep(0)  # a stream whose next chunk is always there already would never let others send
            outcome.begun = True
            if chunk.choices:
                outcome.chunks += bool(chunk.choices[0].delta.content)
                outcome.finish_reason = chunk.choices[0].finish_reason or outcome.finish_reason
            if talk is not None and talk.leaving.is_set():
                outcome.code = "left"
                await answer.close()
                break
        else:
            outcome.code = "ok"
    except openai.APIStatusError as error:
        outcome.code, outcome.status = str(error.code), error.status_code
        outcome.request_id = error.response.headers.get("x-request-id")
    except openai.APIError as error:
        outcome.code = str(error.code or type(error).__name__)
    outcome.ended_s = time.monotonic()
    return outcome


async def at_rate(client: AsyncOpenAI, model: str, *, rate: float, count: int, tokens: int) -> list[Outcome]:
    """`count` streams, one every 1/`rate` seconds, whatever the earlier ones do (open loop)."""
    async with asyncio.TaskGroup() as group:
        tasks = []
        for _ in range(count):
            tasks.append(group.create_task(stream(client, model, tokens=tokens, endless=True)))
            await asyncio.sleep(1 / rate)
    return [task.result() for task in tasks]


def tally(outcomes: list[Outcome]) -> Counter[str]:
    """How often each code was seen."""
    return Counter(outcome.code for outcome in outcomes)
