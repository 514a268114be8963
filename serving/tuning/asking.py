"""Asking models of the stack as its callers do, through the gateway's own pipeline: greedy, few at a time.

Inside of the process and not over HTTP: no address to know, no key to make and keep, and the plan, the engines' queues
and the records are the same. Owns the retries. Does not grade (`judge.py`).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from finetune.gate.golden import text_of
from models.clock import Clock
from models.errors import InvalidRequest, NotFound, PenstockError, RateLimited, Unavailable, UpstreamError
from models.types import GenerationRequest, Principal
from serving.engines.answer import Answer
from serving.telemetry.record import CallRecord

FEATURE = "gate"
CONCURRENCY = 4
TRIES = 6
FIRST_WAIT_S = 0.25
LONGEST_WAIT_S = 8.0


@dataclass(frozen=True, slots=True)
class Question:
    """What a model is asked: messages, or, without any, the prompt of a completion."""

    messages: tuple[Mapping[str, Any], ...]
    max_tokens: int
    prompt: str | None = None
    tools: tuple[Mapping[str, Any], ...] | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model said. `cut`: it was not done when its tokens were."""

    text: str
    cut: bool = False


class NoAnswer(Unavailable):
    """A model gave no answer after every try: nothing can be said of it, least of all that it was wrong."""

    default_code = "not_judged"


class Unaskable(InvalidRequest):
    """No try can help: the question itself is refused, such as one that is too long."""


class Ask(Protocol):
    """Whoever answers."""

    async def ask(self, model: str, question: Question, *, org: str) -> Reply:
        """The answer. Raises `NoAnswer` and `Unaskable`."""
        ...


class Answers(Protocol):
    """The pipeline."""

    async def answer(self, request: GenerationRequest, caller: Principal, *, record: CallRecord) -> Answer: ...


class CallRecords(Protocol):
    """Where finished calls go."""

    def begin(self, record: CallRecord) -> None: ...
    def finish(self, record: CallRecord) -> None: ...


class GatewayAsk:
    """Asks through the pipeline, for an org, in the stack's own name."""

    def __init__(
        self,
        pipeline: Answers,
        records: CallRecords,
        *,
        clock: Clock,
        concurrency: int = CONCURRENCY,
        first_wait_s: float = FIRST_WAIT_S,
    ) -> None:
        """`concurrency`: calls at once, so few that those of clients go first; `first_wait_s`: before a second try."""
        self._pipeline = pipeline
        self._records = records
        self._clock = clock
        self._slots = asyncio.Semaphore(concurrency)
        self._first_wait_s = first_wait_s

    async def ask(self, model: str, question: Question, *, org: str) -> Reply:
        """The text of the answer, or its tool calls as JSON."""
        caller = Principal("penstock", org, "penstock", "inference")
        wait_s = self._first_wait_s
        for left in range(TRIES - 1, -1, -1):
            try:
                async with self._slots:
                    return await self._tried(model, question, caller=caller)
            except (InvalidRequest, NotFound) as error:
                if isinstance(error, NotFound):
                    raise NoAnswer(f"Model {model[:64]!r} is not served.", detail=str(error)) from error
                raise Unaskable(error.public, detail=error.detail) from error
            except (Unavailable, UpstreamError, RateLimited) as error:
                if not left:
                    raise NoAnswer(f"Model {model[:64]!r} gave no answer: {error.public}") from error
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)
        raise NoAnswer(f"Model {model[:64]!r} gave no answer.")

    async def _tried(self, model: str, question: Question, *, caller: Principal) -> Reply:
        """One call, with its row."""
        request = self._request(model, question)
        record = CallRecord(id=request.id, started_at=self._clock.now(), kind=request.kind)
        record.org, record.user, record.key_id = caller.org, caller.user, caller.key_id
        record.feature, record.requested_model = FEATURE, model
        self._records.begin(record)
        try:
            answer = await self._pipeline.answer(request, caller, record=record)
            record.status = 200
            return _said(answer)
        except PenstockError as error:
            record.status, record.error_code = 503, error.code
            raise
        except asyncio.CancelledError:
            record.status, record.client_gone = 499, True
            raise
        finally:
            record.status = record.status or 500
            record.latency_ms = (self._clock.monotonic() - request.received) * 1000
            self._records.finish(record)

    def _request(self, model: str, question: Question) -> GenerationRequest:
        body: dict[str, Any] = {"model": model, "temperature": 0, "max_tokens": question.max_tokens}
        if question.tools:
            body["tools"] = list(question.tools)
        if question.prompt is None:
            body["messages"] = list(question.messages)
            text = "\n".join(str(message.get("content") or "") for message in question.messages)
        else:
            body["prompt"] = text = question.prompt
        return GenerationRequest(
            id=f"gate-{secrets.token_hex(8)}",
            kind="chat" if question.prompt is None else "completion",
            model=model,
            body=body,
            stream=False,
            include_usage=False,
            text=text,
            received=self._clock.monotonic(),
            feature=FEATURE,
        )


def _said(answer: Answer) -> Reply:
    """The text in a whole body."""
    try:
        choice = orjson.loads(answer.body or b"")["choices"][0]
        text = str(choice["text"]) if "text" in choice else text_of(choice["message"])
        return Reply(text, choice.get("finish_reason") == "length")
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise UpstreamError("The engine's answer is no completion.", detail=type(error).__name__) from error
