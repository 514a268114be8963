import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from serving.deploy.environment import QUIET, StackPaths, StackPorts, stack_environment
from serving.settings import HttpSettings, RaySettings, Settings, TimerSettings, load_settings

PORTS = StackPorts(*range(21_001, 21_011))
PATHS = StackPaths(Path("/tmp/p"), Path("/state/haproxy"), Path("/state/secrets/ray-token"))


def environment(inherited: dict[str, str] | None = None, **sections: Any) -> dict[str, str]:
    settings = load_settings("cpu-demo").model_copy(update=sections)
    assert isinstance(settings, Settings)
    return stack_environment(settings, PORTS, paths=PATHS, inherited=inherited or {})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RAY_AUTH_MODE", "token"),
        ("RAY_AUTH_TOKEN_PATH", "/state/secrets/ray-token"),
        ("RAY_SERVE_ENABLE_HA_PROXY", "1"),
        ("RAY_SERVE_THROUGHPUT_OPTIMIZED", "1"),
        ("RAY_SERVE_FORCE_STOP_UNHEALTHY_REPLICAS", "1"),
        ("RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE", "1"),
        ("RAY_SERVE_HAPROXY_BINARY_PATH", "/state/haproxy"),
        ("RAY_SERVE_HAPROXY_CONFIG_FILE_LOC", "/tmp/p/h/haproxy.cfg"),
        ("RAY_SERVE_HAPROXY_SOCKET_PATH", "/tmp/p/h/s"),
        ("RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH", "/tmp/p/h/m"),
        ("RAY_SERVE_HAPROXY_SERVER_STATE_BASE", "/tmp/p/h"),
        ("RAY_SERVE_HAPROXY_SERVER_STATE_FILE", "/tmp/p/h/server-state"),
        ("RAY_SERVE_HAPROXY_METRICS_PORT", str(PORTS.metrics)),
        ("RAY_SERVE_HAPROXY_STATS_PORT", str(PORTS.stats)),
        ("RAY_SERVE_HAPROXY_TUNE_BUFSIZE", "65536"),
        ("RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT", str(PORTS.gateways)),
        ("RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT", str(PORTS.gateways + 99)),
        ("RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT", str(PORTS.gateways + 100)),
        ("RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT", str(PORTS.gateways + 199)),
        ("RAYLLM_ENABLE_REQUEST_PROMPT_LOGS", "0"),
    ],
)
def test_a_variable_has_its_value(name: str, value: str) -> None:
    assert environment()[name] == value


def test_the_switches_win_over_what_is_inherited_and_the_rest_stays() -> None:
    inherited = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "1", "HOME": "/home/ada"}
    made = environment(inherited)
    assert (made["RAY_AUTH_MODE"], made["RAY_USAGE_STATS_ENABLED"], made["HOME"]) == ("token", "0", "/home/ada")
    assert QUIET.items() <= made.items()
    assert inherited["RAY_AUTH_MODE"] == "disabled"


@pytest.mark.parametrize("total_s", [1, 149.5, 900, 7200])
def test_a_reload_never_cuts_the_longest_stream(total_s: float) -> None:
    made = environment(timers=TimerSettings(total_s=total_s))
    assert int(made["RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S"]) >= total_s + 10


def test_haproxy_takes_the_longest_headers_that_the_gateway_takes() -> None:
    made = environment(http=HttpSettings(max_header_bytes=100_000))
    assert int(made["RAY_SERVE_HAPROXY_TUNE_BUFSIZE"]) >= 200_000


def test_only_a_node_of_our_own_listens_on_loopback_alone() -> None:
    name = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
    assert environment()[name] == "0"
    assert name not in environment(ray=RaySettings(address="10.0.0.1:6379"))


TOKENS = {"RAY_AUTH_TOKEN": "theirs", "RAY_AUTH_TOKEN_PATH": "/theirs"}


@pytest.mark.parametrize("given", [{}, TOKENS, {"RAY_AUTH_TOKEN": "theirs"}, {"RAY_AUTH_TOKEN_PATH": "/theirs"}])
def test_a_joined_cluster_is_entered_with_the_callers_token(given: dict[str, str]) -> None:
    made = environment(given, ray=RaySettings(address="10.0.0.1:6379"))
    assert {name: made[name] for name in TOKENS if name in made} == given
    assert made["RAY_AUTH_MODE"] == "token"


def test_a_node_of_our_own_is_entered_with_its_own_token_alone() -> None:
    made = environment(TOKENS)
    assert (made["RAY_AUTH_TOKEN_PATH"], "RAY_AUTH_TOKEN" in made) == ("/state/secrets/ray-token", False)


def test_every_switch_is_one_that_the_installed_ray_reads() -> None:
    ray = find_spec("ray")
    assert ray is not None
    assert ray.submodule_search_locations
    root = Path(ray.submodule_search_locations[0])
    text = (root / "serve/_private/constants.py").read_text() + (root / "_private/ray_constants.py").read_text()
    ours = [name for name in environment() if name.startswith("RAY_SERVE_")]
    assert len(ours) >= 15
    assert [name for name in ours if not re.search(rf'"{name}"', text)] == []
