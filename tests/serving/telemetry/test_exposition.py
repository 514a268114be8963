"""The answer to a scrape: one valid text of this gateway, the others, and the engines."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from models.types import Endpoint
from serving.store.store import Store
from serving.telemetry.exposition import STALE_S, Engines, Exposition
from serving.telemetry.families import Families
from serving.telemetry.metrics import Metrics

ENGINE = r"""# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="demo \"x\" \\ {y}"} 3.0
# HELP vllm:ttft Histogram of time to first token.
# TYPE vllm:ttft histogram
vllm:ttft_bucket{le="0.1",model_name="m"} 1.0
vllm:ttft_bucket{le="+Inf",model_name="m"} 2.0
vllm:ttft_sum{model_name="m"} 0.5
vllm:ttft_count{model_name="m"} 2.0
# TYPE process_open_fds gauge
process_open_fds 12.0 1700000000000
odd_one{card="own",replica=""} NaN
"""
SMALL = [Endpoint("demo-small", "r#1", "http://a"), Endpoint("demo-small", "r#2", "http://b")]


def parsed(text: str) -> dict[str, list[Any]]:
    """Every sample by name; fails where a family is described twice or comes in two pieces."""
    described = [line.split(" ")[2] for line in text.split("\n") if line.startswith("# TYPE")]
    families = list(text_string_to_metric_families(text))
    assert families
    for names in (described, [family.name for family in families]):
        assert len(names) == len(set(names))
    found: dict[str, list[Any]] = {}
    for sample in (sample for family in families for sample in family.samples):
        found.setdefault(sample.name, []).append(sample)
    return found


def exposition(store: Store, clock: Any, gateway: str = "g1", *, fetch: Any = None) -> Exposition:
    async def text(_: Endpoint) -> str:
        return ENGINE

    engines = Engines(lambda: SMALL, fetch or text)
    return Exposition(Metrics(()), store.gateways, gateway=gateway, engines=engines, clock=clock)


def test_two_texts_become_one_with_each_family_once() -> None:
    families = Families()
    assert families.add(ENGINE, {"replica": "r#1"}) == families.add(ENGINE, {"replica": "r#2"}) == 7
    found = parsed(families.text())
    assert [sample.labels["replica"] for sample in found["vllm:num_requests_running"]] == ["r#1", "r#2"]
    assert found["vllm:num_requests_running"][0].labels["model_name"] == 'demo "x" \\ {y}'
    assert len(found["vllm:ttft_bucket"]) == 4
    assert found["process_open_fds"][0].timestamp is not None


def test_a_label_that_is_there_already_is_kept_under_another_name() -> None:
    families = Families()
    families.add(ENGINE, {"card": "demo-small"})
    [odd] = parsed(families.text())["odd_one"]
    assert odd.labels == {"card": "demo-small", "exported_card": "own", "replica": ""}


@pytest.mark.parametrize(
    "rubbish", ["<html>503</html>", 'x{a="b} 1', "x{} {} 1", "x 1 2 3", "\0", "# TYPE x", "x", 'a{b="c" d="e"} 1']
)
def test_what_is_no_sample_is_left_out(rubbish: str) -> None:
    families = Families()
    families.add(f"good 1\n{rubbish}\n")
    assert parsed(families.text()).keys() == {"good"}


@given(value=st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=20), number=st.floats())
def test_any_label_value_and_number_comes_through(value: str, number: float) -> None:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    written = str(number).replace("inf", "Inf").replace("nan", "NaN")
    families = Families()
    assert families.add(f'x{{a="{escaped}"}} {written}', {"b": value}) == 1
    [sample] = parsed(families.text())["x"]
    assert (sample.labels, str(sample.value)) == ({"a": value, "b": value}, str(number))


async def test_a_scrape_tells_of_this_gateway_and_of_every_engine(store: Store, clock: Any) -> None:
    found = parsed((await exposition(store, clock).exposition()).decode())
    assert found["penstock_inflight_requests"][0].labels == {"gateway": "g1"}
    assert [sample.labels["replica"] for sample in found["vllm:ttft_sum"]] == ["r#1", "r#2"]
    assert [sample.value for sample in found["penstock_engine_up"]] == [1.0, 1.0]


async def test_an_engine_that_fails_is_down_and_the_others_are_told(store: Store, clock: Any) -> None:
    async def fetch(endpoint: Endpoint) -> str:
        if endpoint.replica == "r#1":
            raise RuntimeError("broken")
        return ENGINE

    found = parsed((await exposition(store, clock, fetch=fetch).exposition()).decode())
    assert {sample.labels["replica"]: sample.value for sample in found["penstock_engine_up"]} == {"r#1": 0, "r#2": 1}
    assert len(found["vllm:ttft_sum"]) == 1


async def test_one_gateway_answers_for_all_that_live(store: Store, clock: Any) -> None:
    one, other, dead = (exposition(store, clock, name) for name in ("g1", "g2", "g0"))
    await dead.publish()
    clock.at += STALE_S + 1
    await other.publish()
    found = parsed((await one.exposition()).decode())
    assert [sample.labels["gateway"] for sample in found["penstock_inflight_requests"]] == ["g1", "g2"]


async def test_a_gateway_that_stops_takes_its_figures_along(store: Store, clock: Any) -> None:
    async with exposition(store, clock, "g2").open(every_s=0.02):
        for _ in range(200):
            if others := await store.gateways.others("g1", since=0.0):
                break
            await asyncio.sleep(0.02)
        assert len(others) == 1
    assert await store.gateways.others("g1", since=0.0) == []


async def test_figures_are_answered_while_the_database_is_away(store: Store, clock: Any, outage: Any) -> None:
    with outage():
        found = parsed((await exposition(store, clock).exposition()).decode())
    assert {"penstock_inflight_requests", "vllm:ttft_sum"} <= found.keys()
