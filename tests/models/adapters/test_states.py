"""Which step may follow which."""

from __future__ import annotations

from itertools import pairwise, product
from typing import cast

import pytest

from models.adapters.states import LOADED, STATES, STEPS, VersionState, require_step
from models.errors import InvalidRequest


@pytest.mark.parametrize(
    "life",
    [
        "uploaded validated loading ready draining retired loading ready",
        "uploaded validated loading ready draining ready draining retired",
        "uploaded validated loading validated retired loading failed",
        "uploaded failed",
    ],
)
def test_a_version_can_live_like_this(life: str) -> None:
    steps = list(pairwise(cast("list[VersionState]", life.split())))
    assert steps
    for old, new in steps:
        require_step(old, new)


def test_every_other_step_is_refused_with_what_could_follow() -> None:
    refused = [(old, new) for old, new in product(STATES, repeat=2) if new not in STEPS[old]]
    assert len(refused) == len(STATES) ** 2 - sum(map(len, STEPS.values())) == 38
    for old, new in refused:
        with pytest.raises(InvalidRequest, match=f"'{old}' cannot become '{new}'; .* can follow") as caught:
            require_step(old, new)
        assert (caught.value.param, caught.value.code) == ("state", "invalid_value")


def test_a_refusal_names_the_steps_that_there_are() -> None:
    with pytest.raises(InvalidRequest, match="'draining' can follow"):
        require_step("ready", "uploaded")
    with pytest.raises(InvalidRequest, match="nothing can follow"):
        require_step("failed", "uploaded")


def test_replicas_hold_what_is_ready_and_what_drains() -> None:
    assert {"ready", "draining"} == LOADED
    for state in ("loading", "ready", "draining"):
        assert LOADED & STEPS[cast(VersionState, state)]
