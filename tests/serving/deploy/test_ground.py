from typing import Any

import pytest

from models.errors import ConfigurationError
from serving.deploy.ground import fixed_at_start, ground_of, refuse_new_ground
from serving.settings import HttpSettings, RaySettings, TimerSettings, load_settings
from serving.state import StackInfo


def started(*, pid: int | None = 7, **fixed: Any) -> StackInfo:
    values = {"url": "http://127.0.0.1:9", "profile": "cpu-demo", "address": "127.0.0.1:1", "version": "0"}
    return StackInfo(**values, started=1.0, pid=pid, fixed=fixed)


def test_the_ground_of_a_stack_is_what_was_remembered() -> None:
    fixed = {"timers.total_s": 50, "http.max_header_bytes": 9, "ray.address": "auto", "ray.field_of_tomorrow": 1}
    ground = ground_of(started(pid=None, **fixed))
    assert (ground.timers.total_s, ground.http.max_header_bytes, ground.ray.address) == (50, 9, "127.0.0.1:1")


def test_a_stack_file_that_remembers_nothing_stands_on_the_defaults() -> None:
    ground = ground_of(started())
    assert (ground.timers, ground.http, ground.ray) == (TimerSettings(), HttpSettings(), RaySettings())


def test_a_running_stack_stays_on_its_ground_and_an_older_file_forbids_nothing() -> None:
    settings = load_settings("cpu-demo")
    for current in (None, started(), started(**fixed_at_start(settings))):
        refuse_new_ground(current, settings)
    with pytest.raises(ConfigurationError, match="total_s is 50 since this stack started: `penstock down`"):
        refuse_new_ground(started(**{"timers.total_s": 50}), settings)
