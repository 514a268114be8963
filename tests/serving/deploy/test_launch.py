import json
import warnings
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from models.errors import ConfigurationError, PenstockError
from serving.settings import load_settings
from tests.serving.deploy.session import BROKEN, MEMORY, SERVES_TEXT, engine_output, write_session

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Ray's own, at import
    from ray.serve._private.common import DeploymentStatusTrigger, ReplicaState
    from ray.serve.schema import (
        ApplicationStatus,
        ApplicationStatusOverview,
        DeploymentStatus,
        DeploymentStatusOverview,
    )

    from serving.deploy.launch import (
        LaunchFailed,
        LaunchOrder,
        _raise_if_failed,
        main,
        only_draining,
        require_ground,
        version_after,
    )

RETRYING = "A replica failed to start with exception. Retrying 2 more time(s). Error:\n"


def order(scratch: Path | None) -> LaunchOrder:
    facts: dict[str, Any] = dict.fromkeys(LaunchOrder.__dataclass_fields__, "")
    return LaunchOrder(
        **{**facts, "overrides": {}, "cards": None, "fresh": True, "scratch": str(scratch) if scratch else None}
    )


def ended(folder: Path, error: Exception | None, *, scratch: Path | None = None) -> int:
    """`main` with a launch that ends like this."""

    def launch(_order: LaunchOrder) -> None:
        if error is not None:
            raise error

    file = folder / "launch.json"
    file.write_text(json.dumps(asdict(order(scratch))))
    return main(str(file), start=launch)


def overview(status: str, message: str = "", *, application: str = "DEPLOYING") -> ApplicationStatusOverview:
    """Ray's own object, for an application with one healthy engine and one like this."""
    told = {"demo-small": ("HEALTHY", ""), BROKEN: (status, message)}
    deployments = {
        name: DeploymentStatusOverview(DeploymentStatus(state), DeploymentStatusTrigger.UNSPECIFIED, {}, text)
        for name, (state, text) in told.items()
    }
    return ApplicationStatusOverview(
        status=ApplicationStatus(application), message="no build", last_deployed_time_s=0.0, deployments=deployments
    )


def test_a_start_that_worked_says_nothing_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(tmp_path, None) == 0
    assert capsys.readouterr().out == ""


def test_a_failed_engine_is_a_sentence_with_the_engines_own_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_session(tmp_path / "scratch", engine_output())
    assert ended(tmp_path, LaunchFailed(BROKEN, SERVES_TEXT), scratch=tmp_path / "scratch") == 1
    told = json.loads(capsys.readouterr().out)
    assert told["event"] == "failed"
    assert told["text"] == (
        "The engine of card 'demo-broken' did not come up. Its log: `penstock logs --only demo-broken`."
    )
    assert told["log"][0] == MEMORY


@pytest.mark.parametrize(
    ("name", "subject"),
    [("gateway", "The gateway"), ("penstock", "The stack"), (BROKEN, "The engine of card 'demo-broken'")],
)
def test_on_somebody_elses_cluster_serves_own_text_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, subject: str
) -> None:
    assert ended(tmp_path, LaunchFailed(name, "Traceback (most recent call last):\n  File\nKeyError: 'x'")) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["text"], told["log"]) == (f"{subject} did not come up.", ["KeyError: 'x'"])


def test_an_error_of_ours_is_told_with_its_detail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(tmp_path, ConfigurationError("No such card.", detail="looked in x")) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["text"], told["log"]) == ("No such card.", ["looked in x"])


@pytest.mark.parametrize(
    "failed",
    [
        overview("UPDATING", RETRYING + SERVES_TEXT),
        overview("DEPLOY_FAILED", SERVES_TEXT),
        overview("DEPLOY_FAILED", SERVES_TEXT, application="DEPLOY_FAILED"),
    ],
)
def test_a_replica_that_fails_once_ends_the_start_under_its_name(failed: ApplicationStatusOverview) -> None:
    with pytest.raises(LaunchFailed) as raised:
        _raise_if_failed(failed)
    assert raised.value.name == BROKEN
    assert raised.value.reason.endswith(SERVES_TEXT)


def test_an_application_that_fails_without_a_deployment_is_named_itself() -> None:
    with pytest.raises(LaunchFailed) as raised:
        _raise_if_failed(overview("UPDATING", application="DEPLOY_FAILED"))
    assert (raised.value.name, raised.value.reason) == ("penstock", "no build")


@pytest.mark.parametrize("status", ["UPDATING", "HEALTHY", "UNHEALTHY"])
def test_a_start_under_way_is_no_failure(status: str) -> None:
    _raise_if_failed(overview(status, "Waiting for resources"))


def changing(**states: dict[str, int]) -> ApplicationStatusOverview:
    """The demo stack while it is changed: how many replicas of each deployment are in which state."""
    serving = {
        "gateway": {"RUNNING": 1},
        "classifier": {"RUNNING": 1},
        "demo-small": {"RUNNING": 1},
        "demo-large": {"RUNNING": 1},
        **states,
    }
    deployments = {
        name: DeploymentStatusOverview(
            DeploymentStatus.UPDATING if counts != {"RUNNING": 1} else DeploymentStatus.HEALTHY,
            DeploymentStatusTrigger.CONFIG_UPDATE_STARTED,
            {ReplicaState(state): count for state, count in counts.items()},
            "",
        )
        for name, counts in serving.items()
    }
    return ApplicationStatusOverview(ApplicationStatus.DEPLOYING, "", 0.0, deployments)


@pytest.mark.parametrize("old", [1, 2])
def test_a_change_is_served_while_replaced_replicas_finish_their_calls(old: int) -> None:
    wanted = load_settings("cpu-demo")
    assert only_draining(changing(**{"demo-large": {"RUNNING": 1, "STOPPING": old}}), wanted)
    assert only_draining(
        changing(gateway={"RUNNING": 1, "STOPPING": old}, **{"demo-large": {"RUNNING": 1, "STOPPING": 1}}), wanted
    )


@pytest.mark.parametrize(
    "states",
    [
        {},  # ordered, and nothing has happened yet
        {"RUNNING": 2},  # the successor serves, the old one is not told yet
        {"RUNNING": 2, "STOPPING": 1},
        {"RUNNING": 1, "STARTING": 1},
        {"RUNNING": 1, "STARTING": 1, "STOPPING": 1},
        {"RUNNING": 1, "UPDATING": 1, "STOPPING": 1},
        {"RUNNING": 1, "RECOVERING": 1, "STOPPING": 1},
        {"STOPPING": 1},
    ],
)
def test_a_change_is_under_way_until_only_old_replicas_are_left(states: dict[str, int]) -> None:
    large = {"demo-large": states} if states else {}
    assert not only_draining(changing(**large), load_settings("cpu-demo"))


def test_a_deployment_that_is_missing_or_ill_is_not_served() -> None:
    wanted = load_settings("cpu-demo")
    draining = changing(**{"demo-large": {"RUNNING": 1, "STOPPING": 1}})
    draining.deployments["demo-small"].status = DeploymentStatus.UNHEALTHY
    assert not only_draining(draining, wanted)
    del draining.deployments["demo-small"]
    assert not only_draining(draining, wanted)


def test_a_version_that_failed_is_tried_again_and_one_that_serves_is_left_alone() -> None:
    assert version_after(None, "abc", failed=False) == "abc"
    assert version_after("abc", "abc", failed=False) == "abc"
    again = version_after("abc", "abc", failed=True)
    assert again.startswith("abc+")
    assert version_after(again, "abc", failed=False) == again
    assert version_after(again, "new", failed=True) == "new"


def ground(*applications: str, fresh: bool, listens: int = 8000) -> None:
    settings = load_settings("cpu-demo", {"http": {"port": 8000}})
    require_ground(applications, settings, order=replace(order(None), fresh=fresh, address="a:1"), listens=listens)


def test_a_stack_of_another_state_folder_is_never_replaced() -> None:
    with pytest.raises(PenstockError, match="runs a stack already, started from another state folder"):
        ground("penstock", "somebody-elses", fresh=True)
    ground("penstock", fresh=False)
    ground("somebody-elses", fresh=True)


def test_a_cluster_whose_serve_listens_elsewhere_is_joined_at_that_port_only() -> None:
    with pytest.raises(PenstockError, match="`--port 8800` joins it"):
        ground(fresh=True, listens=8800)
