"""What Serve is told to run: which change needs new processes, and how replicas end. Built, never deployed."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest

from models.adapters.names import AdapterRef
from models.catalog import Catalog, ModelStore
from serving.settings import Settings, load_settings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # those of Ray and of vLLM, at import
    from ray.serve._private.config import DeploymentConfig

    from serving.deploy.applications import GATEWAY, engine_deployment, stack_application
    from serving.deploy.gateway import GatewayPlan
    from serving.engines.adapter_start import AdapterPlan
    from serving.engines.adapters import LiveAdapters
    from serving.engines.lora_slots import EXTENSION
    from serving.engines.replica import PROBE_TIMEOUT_S

pytestmark = pytest.mark.usefixtures("ray_node")  # Ray's builder of engines asks the node that it has joined

SMALL, LARGE = "demo-small", "demo-large"
Change = Callable[[dict[str, Any]], object]


def settings(change: Change | None = None) -> Settings:
    """The demo profile, changed."""
    values = load_settings("cpu-demo").model_dump()
    if change is not None:
        change(values)
    return Settings(**values)


def deployments(
    change: Change | None = None,
    *,
    store_url: str = "sqlite://",
    context: int | None = None,
    live: LiveAdapters | None = None,
) -> Any:
    """Name → what Serve would deploy. `context` is another one for the small card."""
    wanted = settings(change)
    catalog = Catalog.load(None)
    cards = {engine.card: catalog.card(engine.card) for engine in wanted.engines}
    if context is not None:
        cards[SMALL] = cards[SMALL].model_copy(update={"context": context})
    plan = GatewayPlan(
        settings=wanted,
        cards=cards,
        deployments={card: engine_deployment(card) for card in cards},
        engine_token="token",
        salt_key="salt",
        store_url=store_url,
        spool="/state/spool",
        adapters=None,
        listeners="/scratch/g",
    )
    adapters = AdapterPlan(wanted.artifacts, home="/state/artifacts", cache="/state/fetched", live=live)
    application = stack_application(plan, models=ModelStore(None), claims="/claims", adapters=adapters)
    gateway = application._bound_deployment
    engines = [bound._bound_deployment for bound in gateway.init_args[1:]]
    return {deployment.name: deployment for deployment in (gateway, *engines)}


def changed(**options: Any) -> set[str]:
    """The deployments whose processes this replaces."""
    before, after = deployments(), deployments(**options)
    assert before.keys() == after.keys() == {GATEWAY, SMALL, LARGE}
    return {name for name in before if before[name].version != after[name].version}


def with_engine(**fields: Any) -> Change:
    """The small engine with these fields."""
    return lambda values: values["engines"][0].update(fields)


def with_section(name: str, **fields: Any) -> Change:
    return lambda values: values[name].update(fields)


@pytest.mark.parametrize(
    ("change", "replaced"),
    [
        (None, set()),
        (with_engine(replicas=3), set()),
        (with_engine(max_replicas=4), set()),
        (with_section("gateway", replicas=2), set()),
        (with_engine(max_running=7), {SMALL}),
        (with_engine(max_queued=7), {SMALL}),
        (with_engine(engine_args={"max_num_seqs": 7}), {SMALL}),
        (with_engine(engine_args={"enable_lora": False}), {SMALL}),
        (with_section("artifacts", max_bytes=7), {SMALL, LARGE}),
        (with_section("gateway", breaker_failures=9), {GATEWAY}),
        (with_section("timers", first_token_s=9.0), {GATEWAY}),
        (with_section("tiers", default="small"), {GATEWAY}),
    ],
)
def test_a_change_replaces_the_processes_that_it_concerns(change: Change | None, replaced: set[str]) -> None:
    assert changed(change=change) == replaced


def test_another_store_replaces_the_gateway_and_another_card_its_engine_too() -> None:
    assert changed(store_url="sqlite:///other") == {GATEWAY}
    assert changed(context=128) == {GATEWAY, SMALL}


def test_a_replica_that_goes_has_time_for_the_longest_call() -> None:
    made = deployments(with_section("timers", total_s=100.0))
    assert [one._deployment_config.graceful_shutdown_timeout_s for one in made.values()] == [130.0] * 3
    assert deployments()[SMALL].version == made[SMALL].version, "Serve changes this without a new process"


def test_a_successor_is_there_first_except_where_no_room_is_for_it() -> None:
    made = deployments(with_engine(surge=False))
    surges = {name: one._deployment_config.max_surge_percent for name, one in made.items()}
    assert surges == {GATEWAY: 100, SMALL: 0, LARGE: 100}


def test_a_hung_replica_is_noticed_within_half_a_minute() -> None:
    for one in deployments().values():
        config = one._deployment_config
        assert config.health_check_period_s + config.health_check_timeout_s < 30
        assert config.health_check_timeout_s > PROBE_TIMEOUT_S, "the replica's own verdict would come too late"


def test_every_worker_of_an_engine_has_one_core_of_bookkeeping_and_the_replica_none() -> None:
    made = deployments()
    for card in (SMALL, LARGE):
        assert made[card]._replica_config.placement_group_bundles == [{"CPU": 1.0, "GPU": 0}]
        assert made[card]._replica_config.ray_actor_options["num_cpus"] == 0
    assert made[GATEWAY]._replica_config.ray_actor_options["num_cpus"] == 1


def test_the_gateway_writes_its_own_line_per_call_and_serve_none() -> None:
    sent = deployments()[GATEWAY]._deployment_config.to_proto_bytes()
    logging = DeploymentConfig.from_proto_bytes(sent).logging_config
    assert (logging["enable_access_log"], logging["logs_dir"]) == (False, "")


def test_an_autoscaled_engine_has_bounds_and_a_fixed_one_a_number() -> None:
    made = deployments(with_engine(replicas=2, max_replicas=4))
    scaling = made[SMALL]._deployment_config.autoscaling_config
    assert (scaling.min_replicas, scaling.max_replicas) == (2, 4)
    assert made[LARGE]._deployment_config.autoscaling_config is None
    assert made[LARGE].num_replicas == 1


class Live:
    """Somewhere to read from, a new object each time, as `up` makes it."""

    async def read(self, card: str) -> list[AdapterRef]:
        return []


def test_where_the_live_adapters_are_read_is_no_reason_for_new_processes() -> None:
    assert deployments(live=Live())[SMALL].version == deployments(live=Live())[SMALL].version


def test_an_engine_with_adapters_is_told_how_to_count_them_and_one_without_knows_none() -> None:
    made = deployments(with_engine(engine_args={"enable_lora": False}))
    plans = {card: made[card].init_kwargs["replica"].adapters for card in (SMALL, LARGE)}
    arguments = {card: made[card].init_kwargs["llm_config"].engine_kwargs for card in (SMALL, LARGE)}
    assert plans[SMALL] is None
    assert "worker_extension_cls" not in arguments[SMALL]
    assert plans[LARGE].cache == "/state/fetched"
    assert arguments[LARGE]["worker_extension_cls"] == EXTENSION
