"""A circuit breaker for one replica: opens after failures in a row, lets one probe through when its pause is over."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Breaker:
    """Times are monotonic seconds given by the caller. `pause_s` after opening, one request probes the replica."""

    limit: int
    pause_s: float
    failures: int = 0
    opened: int = 0
    _until: float = 0.0
    _probing: bool = False

    def admits(self, now: float) -> bool:
        """Whether a request may be sent now."""
        return self.failures < self.limit or (now >= self._until and not self._probing)

    def enter(self) -> bool:
        """A request is sent; True when it is the probe of a breaker that is not closed."""
        if self.failures < self.limit:
            return False
        self._probing = True
        return True

    def alive(self) -> None:
        """The probe got its first event: closed again, but the next failure opens it at once."""
        self._probing = False
        self.failures = min(self.failures, self.limit - 1)

    def abandoned(self) -> None:
        """The probe ended without a verdict: the next request may be the probe."""
        self._probing = False

    def succeeded(self) -> None:
        """An answer was complete."""
        self.failures = 0

    def failed(self, now: float) -> bool:
        """The replica failed; True when this opened the breaker."""
        self.failures += 1
        opens = self.failures >= self.limit and now >= self._until
        if opens:
            self._probing = False
            self._until = now + self.pause_s
            self.opened += 1
        return opens
