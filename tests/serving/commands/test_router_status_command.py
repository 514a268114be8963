"""What `penstock router status` shows of what a stack tells."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest
from typer.testing import Result

from router.drift import FEWEST, Shift
from serving.classifier.status import status
from serving.store.releases import ReleaseRow
from serving.telemetry.record import Decision
from serving.testing import Receive, Scope, Send
from tests.serving.thread import in_thread

Run = Callable[..., Result]
LIVE = ReleaseRow("default", "learned", "promote", "3f2a00000000", 0.356075, 1_800_000_000.0, basis="calibrated", id=1)
ABOUT = {
    "prompts": "3000",
    "data_digest": "e94a5b0123456789",
    "small": "demo-small",
    "large": "demo-large",
    "embedder": "minilm-l6@843a1ab7",
}
FEW = {"distance": Shift(None, 3, "too few"), "gain knn": Shift(None, 0, "too few")}


@pytest.fixture
def shown(penstock: Run) -> Callable[..., str]:
    """The page for a stack with these facts."""

    def show(live: ReleaseRow | None = LIVE, *, decisions: Any = (), shifts: Any = FEW, about: Any = ABOUT) -> str:
        found = status(
            [live] if live else [], decisions, causes={None: 1}, shifts=shifts, policy="learned", about=about
        )

        async def tell(_scope: Scope, _receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": orjson.dumps(found)})

        with in_thread(tell) as url:
            said = penstock("router", "status", PENSTOCK_URL=url, PENSTOCK_API_KEY="k")
        assert said.exit_code == 0, said.stderr
        return said.stdout

    return show


def test_right_after_a_start_it_says_what_is_live_and_what_that_is(shown: Callable[..., str]) -> None:
    assert shown().splitlines() == [
        "policy learned",
        "live: router 'default', version 3f2a00000000, since 2027-01-15 08:00 UTC (promote)",
        "threshold: gains from 0.3561 on go to the large tier (calibrated)",
        "model: 3000 labelled prompts (data e94a5b01), demo-small → demo-large, embedder minilm-l6@843a1ab7",
        "no decisions at this threshold yet",
        f"drift: of 3 prompts nothing can be told yet; {FEWEST} are enough",
    ]


def test_what_was_decided_and_how_far_the_prompts_have_moved_is_told_once_it_is_known(
    shown: Callable[..., str],
) -> None:
    meant = replace(LIVE, share=0.25, basis="the last 1,000 prompts")
    decided = [Decision(1.0, LIVE.version, 0.356075, 0.5, "large", None)] * 4
    said = shown(meant, decisions=decided, shifts={"distance": Shift(0.01, 500, "stable"), **FEW})
    assert "meant for 25% large calls by the last 1,000 prompts" in said
    assert "last 4 decisions at this threshold: 100.0% large" in said
    assert "stable" in shown(shifts={"distance": Shift(0.01, 500, "stable")})


def test_a_version_that_no_classifier_has_and_none_at_all_are_told(shown: Callable[..., str]) -> None:
    assert "model: no classifier has it in memory" in shown(about={})
    assert "No router version is live" in shown(None)
