"""From a plan to an answer: attempts on engine replicas before the first byte, and the error to tell when all fail.

Owns the retry rule and the timers up to the first event. Does not choose the order of cards (the plan) or the replica
(`endpoints`), and never touches a stream once its first event is there (`relay`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from types import TracebackType

from models.clock import Clock, SystemClock
from models.errors import PenstockError
from models.types import Attempt, GenerationRequest, Plan, Principal, Route
from serving.engines import failures
from serving.engines.answer import Answer
from serving.engines.endpoints import ReplicaPicker, Slot
from serving.engines.events import EventReader, read_body
from serving.engines.failures import Failure
from serving.engines.relay import CLIENT_GONE, Call, Relay
from serving.engines.upstream import Upstream, read_all
from serving.engines.wire import Reply
from serving.settings import TimerSettings
from serving.telemetry.prompt import kept_messages
from serving.telemetry.record import CallRecord

REPLICAS_PER_CARD = 2
LONGEST_BODY_BYTES = 64 * 2**20
LONGEST_ERROR_BYTES = 2**16
LONGEST_ROUTE_HEADER = 120


class EngineClient:
    """Calls engines. One per gateway process; `async with` or `aclose()` closes its connections."""

    def __init__(
        self,
        upstream: Upstream,
        picker: ReplicaPicker,
        *,
        timers: TimerSettings,
        most_attempts: int = 3,
        clock: Clock | None = None,
    ) -> None:
        self._upstream = upstream
        self.picker = picker
        self._timers = timers
        self._most_attempts = most_attempts
        self._clock = clock or SystemClock()

    async def __aenter__(self) -> EngineClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every pooled connection."""
        await self._upstream.aclose()

    async def start(self, plan: Plan, request: GenerationRequest, *, caller: Principal, record: CallRecord) -> Answer:
        """A whole body, or a stream that already holds its first event.

        A failed attempt is followed by another replica of the card, then by the plan's next card. Raises at once what
        the request has brought on itself, and the error of the first failure when nothing is left to try.
        """
        if caller.keep_text:
            record.prompt_text, record.prompt_messages = request.text, kept_messages(request)
        first: Failure | None = None
        body, card = b"", ""
        for attempt, slot in self._slots(plan, request, record=record):
            if attempt.card != card:
                card, body = attempt.card, self._upstream.body(request, attempt, org=caller.org)
            call = Call(request, attempt, slot, record, self._clock, self._clock.monotonic())
            try:
                answer = await self._attempt(call, body, keep_text=caller.keep_text)
            except Failure as error:
                if error.fault == "request":
                    raise
                first = first or error
                continue
            record.served_model, record.tier = attempt.card, attempt.tier
            answer.headers = _headers(plan, attempt, attempts=len(record.attempts) + request.stream)
            return answer
        raise _told(first)

    def _slots(self, plan: Plan, request: GenerationRequest, *, record: CallRecord) -> Iterator[tuple[Attempt, Slot]]:
        """Where to try next, chosen when it is asked for; ends when attempts, replicas or time have run out."""
        tried: set[str] = set()
        for attempt in plan.attempts:
            for _ in range(REPLICAS_PER_CARD):
                if len(record.attempts) >= self._most_attempts or self._left_s(request) <= 0:
                    return
                slot = self.picker.take(attempt.card, streamed=request.stream, tried=tried, adapter=_named(attempt))
                if slot is None:
                    break
                tried.add(slot.endpoint.replica)
                yield attempt, slot

    async def _attempt(self, call: Call, body: bytes, *, keep_text: bool) -> Answer:
        """One try. Whatever ends it early closes the connection, gives the slot back and leaves a row."""
        timers, left_s = self._timers, self._left_s(call.request)
        # A whole body has no first token to wait for: it may take all the time there is.
        limit_s = min(timers.first_token_s, left_s) if call.request.stream else left_s
        try:
            with ExitStack() as held:
                held.enter_context(call.slot)
                async with asyncio.timeout(limit_s):
                    return await self._exchange(call, body, held=held, keep_text=keep_text)
        except OSError as error:
            failure = _broken(error, limit_s=limit_s, left_s=left_s)
            call.failed(failure)
            raise failure from error
        except Failure as error:
            call.failed(error)
            raise
        except asyncio.CancelledError:
            call.ended(CLIENT_GONE)
            raise

    async def _exchange(self, call: Call, body: bytes, *, held: ExitStack, keep_text: bool) -> Answer:
        response = await self._upstream.post(call.slot.endpoint, call.request, body=body, adapter=call.attempt.adapter)
        held.callback(response.close)
        call.record.stages_ms["engine_accepted"] = call.since() * 1000
        if response.status != 200:
            text = await read_all(response, LONGEST_ERROR_BYTES)
            raise failures.from_status(response.status, text, headers=response.headers, kind=call.request.kind)
        expected = "text/event-stream" if call.request.stream else "application/json"
        if response.content_type != expected:
            raise failures.bad_response(f"content type {response.content_type!r}, not {expected!r}")
        if call.request.stream:
            return await self._stream(call, response, held=held, keep_text=keep_text)
        return await self._whole(call, response, keep_text=keep_text)

    async def _stream(self, call: Call, content: Reply, *, held: ExitStack, keep_text: bool) -> Answer:
        reader = EventReader(call.request.kind, drop_usage=not call.request.include_usage, keep_text=keep_text)
        owned = ExitStack()
        relay = Relay(call, content, reader=reader, held=owned)
        await relay.begin()
        latency_s = call.since()
        call.record.stages_ms["first_token"] = latency_s * 1000
        call.slot.alive(latency_s)
        relay.commit(silence_s=self._timers.between_tokens_s, total_s=self._left_s(call.request))
        owned.push(held.pop_all())
        return Answer(stream=relay)

    async def _whole(self, call: Call, content: Reply, *, keep_text: bool) -> Answer:
        body = await read_all(content, LONGEST_BODY_BYTES)
        if len(body) > LONGEST_BODY_BYTES:
            raise failures.unanswerable(f"body longer than {LONGEST_BODY_BYTES} bytes")
        whole = read_body(body)
        call.slot.alive(call.since())
        call.slot.succeeded()
        call.count(whole.usage.value(), 0)
        call.record.finish_reason = whole.choices[0].finish_reason
        if keep_text:
            call.record.answer_text = whole.text
        call.ended("ok")
        return Answer(body=body)

    def _left_s(self, request: GenerationRequest) -> float:
        return request.received + self._timers.total_s - self._clock.monotonic()


def _broken(error: Exception, *, limit_s: float, left_s: float) -> Failure:
    """A timer of ours, or the wire."""
    if not isinstance(error, TimeoutError):
        return failures.lost(f"{type(error).__name__}: {error}")
    if limit_s < left_s:
        return failures.timed_out(f"no first token within {limit_s:g} s")
    return failures.out_of_time(left_s)


def _told(first: Failure | None) -> PenstockError:
    """What the caller hears when nothing is left to try. Before the first byte a lost replica is missing capacity."""
    if first is None:
        return failures.no_capacity("no replica is there, or none admits a request")
    if first.code == "upstream_lost":
        return failures.no_capacity(str(first))
    return first


def _route(route: Route) -> str:
    """The policy and its reason; the bare word `default` where no policy decided: the record says why."""
    if route.cause is not None:
        return route.policy
    told = f"{route.policy}:{route.reason}".encode("ascii", "replace").decode()
    return " ".join(told.split())[:LONGEST_ROUTE_HEADER]


def _named(attempt: Attempt) -> str | None:
    return None if attempt.adapter is None else attempt.adapter.ref.engine_name


def _headers(plan: Plan, attempt: Attempt, *, attempts: int) -> dict[str, str]:
    headers = {
        "x-penstock-model": attempt.card,
        "x-penstock-tier": attempt.tier,
        "x-penstock-route": _route(plan.route),
        "x-penstock-attempts": str(attempts),
    }
    if attempt.adapter is not None:
        headers["x-penstock-adapter-version"] = str(attempt.adapter.number)
    if attempt is not plan.attempts[0]:
        headers["x-penstock-fallback"] = "1"
    return headers
