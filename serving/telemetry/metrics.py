"""The gateway's own figures, on a registry of their own, with labels that a caller cannot invent.

Owns names and labels. Does not own the text that a scrape gets: `exposition.py` joins it with other processes' figures.
"""

from __future__ import annotations

from collections.abc import Container

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from serving.telemetry.record import CallRecord

OTHER = "other"
MAX_WORDS = 64
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900)
TTFT_SECONDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Words:
    """A label whose values come from our own code (kinds, codes): free words, but never more than a fixed number."""

    def __init__(self, limit: int = MAX_WORDS) -> None:
        self._seen: set[str] = set()
        self._limit = limit

    def word(self, value: str | None) -> str:
        """The value itself; `other` once there are too many."""
        if not value:
            return "none"
        if value not in self._seen:
            if len(self._seen) >= self._limit:
                return OTHER
            self._seen.add(value)
        return value


class Metrics:
    """Every metric of one gateway process. `models` are the names that may be a label; it may be a live view."""

    def __init__(self, models: Container[str]) -> None:
        self.registry = CollectorRegistry()
        self._models = models
        self._running: set[str] = set()
        self._kinds, self._codes, self._outcomes, self._tiers = Words(), Words(), Words(), Words()
        self._policies, self._causes = Words(), Words()
        self._calls()
        self._record_keeping()

    def _calls(self) -> None:
        at = self.registry
        labels = ("kind", "model", "tier", "status", "code")
        self._requests = Counter("penstock_requests", "Calls that ended.", labels, registry=at)
        self._duration = Histogram(
            "penstock_request_duration_seconds", "Whole calls.", ("kind", "model"), buckets=SECONDS, registry=at
        )
        self._ttft = Histogram(
            "penstock_ttft_seconds", "Call to first token.", ("kind", "model"), buckets=TTFT_SECONDS, registry=at
        )
        self._tokens = Counter("penstock_tokens", "Tokens in and out.", ("direction", "model"), registry=at)
        self._attempts = Counter("penstock_attempts", "Tries of engines.", ("card", "outcome"), registry=at)
        self._routes = Counter(
            "penstock_routes",
            "Calls by the policy that chose their tier; with a cause where the default tier served instead.",
            ("policy", "tier", "cause"),
            registry=at,
        )
        self._gone = Counter("penstock_client_gone", "Clients that left early.", ("kind",), registry=at)
        self._inflight = Gauge("penstock_inflight_requests", "Calls being served now.", registry=at)

    def _record_keeping(self) -> None:
        at = self.registry
        self.records_queued = Gauge("penstock_records_queued", "Records that wait for their batch.", registry=at)
        self.records_written = Counter("penstock_records_written", "Records in the database.", registry=at)
        self.records_spooled = Counter("penstock_records_spooled", "Records put on local disk.", registry=at)
        self.records_dropped = Counter("penstock_records_dropped", "Records that are lost.", registry=at)

    def started(self, record: CallRecord) -> None:
        """Count a call as running until it is `finished`."""
        self._running.add(record.uid)
        self._inflight.set(len(self._running))

    def finished(self, record: CallRecord) -> None:
        """Count a call that has ended."""
        self._running.discard(record.uid)
        self._inflight.set(len(self._running))
        kind, model = self._kinds.word(record.kind), self.model(record.served_model)
        tier, code = self._tiers.word(record.tier), self._codes.word(record.error_code)
        self._requests.labels(kind, model, tier, str(record.status), code).inc()
        if record.latency_ms is not None:
            self._duration.labels(kind, model).observe(record.latency_ms / 1000)
        if record.ttft_ms is not None:
            self._ttft.labels(kind, model).observe(record.ttft_ms / 1000)
        if record.route_policy is not None:
            policy, cause = self._policies.word(record.route_policy), self._causes.word(record.route_cause)
            self._routes.labels(policy, self._tiers.word(record.routed_tier), cause).inc()
        for direction, tokens in (("in", record.prompt_tokens), ("out", record.completion_tokens)):
            if tokens:
                self._tokens.labels(direction, model).inc(tokens)
        for attempt in record.attempts:
            self._attempts.labels(self.model(attempt.card), self._outcomes.word(attempt.outcome)).inc()
        if record.client_gone:
            self._gone.labels(kind).inc()

    def model(self, name: str | None) -> str:
        """A model's label: its name if the registry knows it."""
        if name is None:
            return "none"
        return name if name in self._models else OTHER

    def text(self) -> str:
        """These figures in the Prometheus text format."""
        return generate_latest(self.registry).decode()
