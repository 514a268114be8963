import warnings
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from serving.engines.autoscaling import LOAD, autoscaling_options, by_load
from serving.settings import EngineSettings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Ray's own, at import
    from ray.serve._private.common import DeploymentID
    from ray.serve.config import AutoscalingConfig, AutoscalingContext


def context(reported: dict[str, float] | None, *, lowest: int = 1, highest: int = 4, target: int = 2) -> Any:
    """Ray's own object, filled as its controller fills it: metric → replica → value, evaluated when read."""
    values: dict[str, Any] = dict.fromkeys(
        ("app_name", "total_queued_requests", "raw_metrics", "last_scale_up_time", "last_scale_down_time")
    )
    return AutoscalingContext(
        **values,
        deployment_id=DeploymentID(name="demo"),
        deployment_name="demo",
        current_num_replicas=2,
        target_num_replicas=target,
        running_replicas=[],
        total_num_requests=0,
        aggregated_metrics=lambda: {LOAD: reported} if reported is not None else {},
        capacity_adjusted_min_replicas=lowest,
        capacity_adjusted_max_replicas=highest,
        policy_state={},
        current_time=0.0,
        config=SimpleNamespace(target_ongoing_requests=16),
    )


@pytest.mark.parametrize(
    ("reported", "replicas"),
    [({"a": 0.0}, 1), ({"a": 16.0}, 1), ({"a": 16.0, "b": 1.0}, 2), ({"a": 40.0, "b": 8.0}, 3), ({"a": 999.0}, 4)],
)
def test_replicas_follow_the_load_within_their_bounds(reported: dict[str, float], replicas: int) -> None:
    assert by_load(context(reported)) == (replicas, {})


def test_no_report_at_all_keeps_the_number_of_replicas() -> None:
    assert by_load(context(None, target=3)) == (3, {})
    assert by_load(context({"a": 0.0}, target=3)) == (1, {})


def test_an_idle_engine_keeps_one_replica_that_can_be_reached() -> None:
    assert by_load(context({"a": 0.0}, lowest=0)) == (1, {})
    assert by_load(context(None, lowest=0, target=0)) == (1, {})


def test_ray_accepts_the_options_and_finds_the_policy() -> None:
    config = AutoscalingConfig(**autoscaling_options(1, 4, target_ongoing=16))
    module, name = config.policy.policy_function.split(":")
    assert getattr(import_module(module), name) is by_load
    assert (config.min_replicas, config.max_replicas, config.get_target_ongoing_requests()) == (1, 4, 16)
    assert config.policy.get_policy()(context({"a": 17.0})) == (2, {})


def test_fewer_replicas_at_most_than_at_least_are_refused_at_load() -> None:
    with pytest.raises(ValidationError, match="max_replicas: 1 is less than replicas, 2"):
        EngineSettings(card="demo", replicas=2, max_replicas=1)
