"""What the HTTP layer knows of one request from its first byte to its last: id, times, status, and the record."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from starlette.types import Message

from models.errors import PenstockError
from serving.api.errors import CODES, known
from serving.telemetry.record import CallRecord

_KEY = "penstock.call"


@dataclass(slots=True)
class Call:
    """Mutable while the request lives. `received` and `answered` (when the last part of the answer went out) are in
    monotonic seconds; `record` only where a row is written.
    """

    id: str
    received: float
    record: CallRecord | None = None
    status: int = 0
    responded: bool = False
    answered: float | None = None

    @property
    def complete(self) -> bool:
        """Whether the last part of the answer is on the way."""
        return self.answered is not None

    def saw(self, message: Message, *, now: Callable[[], float]) -> None:
        """Follow the answer: its status, and that its last part is on the way."""
        if message["type"] == "http.response.start":
            self.responded, self.status = True, message["status"]
        elif message["type"] == "http.response.body" and not message.get("more_body", False):
            self.answered = now()

    def failed(self, error: PenstockError) -> None:
        """Keep why this call was refused or broke off."""
        if self.record is not None:
            self.record.error_code = known(error)

    def client_left(self) -> None:
        """The client went away before its answer was complete."""
        if self.record is not None and not self.complete:
            self.record.client_gone = True

    def finish(self, now: float) -> None:
        """Complete the record: 499 is the status of a client that left, as in nginx. What is done behind the answer is
        no part of its latency.
        """
        if self.record is None:
            return
        gone = self.record.client_gone
        self.record.status = 499 if gone else self.status or CODES["internal_error"][0]
        self.record.latency_ms = ((now if self.answered is None else self.answered) - self.received) * 1000


def attach(scope: MutableMapping[str, Any], call: Call) -> None:
    """Give the request its call."""
    scope[_KEY] = call


def call_of(scope: MutableMapping[str, Any]) -> Call:
    """The call of this request; the edge attached it."""
    call: Call = scope[_KEY]
    return call
