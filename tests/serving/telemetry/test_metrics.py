"""Metrics: what is counted, under labels that a caller cannot invent."""

from prometheus_client.parser import text_string_to_metric_families

from serving.telemetry.metrics import Metrics, Words
from serving.telemetry.record import AttemptTrace, CallRecord

CALL = CallRecord(
    id="req-1",
    started_at=5.0,
    kind="chat",
    served_model="demo-small",
    tier="small",
    attempts=[AttemptTrace("demo-small", "r#1", "upstream_lost", 2.0), AttemptTrace("demo-small", "r#2", "ok", 9.0)],
    prompt_tokens=7,
    completion_tokens=20,
    ttft_ms=30.0,
    latency_ms=1500.0,
    status=200,
)


def samples(metrics: Metrics) -> dict[str, float]:
    found = {}
    for family in text_string_to_metric_families(metrics.text()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return {name: value for name, value in found.items() if "_created" not in name}


def test_a_call_is_counted_in_every_figure_it_touches() -> None:
    metrics = Metrics({"demo-small"})
    metrics.finished(CALL)
    seen = samples(metrics)
    assert seen["penstock_requests_total{code=none,kind=chat,model=demo-small,status=200,tier=small}"] == 1
    assert seen["penstock_request_duration_seconds_sum{kind=chat,model=demo-small}"] == 1.5
    assert seen["penstock_ttft_seconds_bucket{kind=chat,le=0.03,model=demo-small}"] == 1
    assert seen["penstock_tokens_total{direction=in,model=demo-small}"] == 7
    assert seen["penstock_tokens_total{direction=out,model=demo-small}"] == 20
    assert seen["penstock_attempts_total{card=demo-small,outcome=upstream_lost}"] == 1
    assert seen["penstock_attempts_total{card=demo-small,outcome=ok}"] == 1


def test_ten_thousand_invented_names_add_no_series() -> None:
    metrics = Metrics({"demo-small"})

    def call(number: int) -> None:
        names = {"requested_model": f"m{number}", "served_model": f"m{number}", "error_code": "model_not_found"}
        attempts = [AttemptTrace(f"card{number}", "r", "ok", 1.0)]
        metrics.finished(CallRecord(id="r", started_at=5.0, kind="chat", attempts=attempts, status=404, **names))  # type: ignore[arg-type]

    call(0)
    before = samples(metrics).keys()
    for number in range(1, 10_000):
        call(number)
    after = samples(metrics)
    assert after.keys() == before
    assert after["penstock_requests_total{code=model_not_found,kind=chat,model=other,status=404,tier=none}"] == 10_000


def test_a_free_label_stops_growing() -> None:
    words = Words(limit=3)
    assert [words.word(f"w{n}") for n in range(5)] == ["w0", "w1", "w2", "other", "other"]
    assert [words.word("w1"), words.word(None)] == ["w1", "none"]


def test_running_calls_are_counted_while_they_run() -> None:
    metrics = Metrics(())
    one, other = (CallRecord(id="same", started_at=5.0, kind="chat") for _ in range(2))
    steps = [(metrics.started, one, 1), (metrics.started, other, 2), (metrics.finished, one, 1)]
    for step, call, running in [*steps, (metrics.finished, other, 0)]:
        step(call)
        assert samples(metrics)["penstock_inflight_requests{}"] == running


def test_two_gateways_in_one_process_do_not_share_figures() -> None:
    one, other = Metrics({"demo-small"}), Metrics({"demo-small"})
    one.finished(CALL)
    assert "penstock_client_gone" in other.text()
    assert not any("demo-small" in name for name in samples(other))
