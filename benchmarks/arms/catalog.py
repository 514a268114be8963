"""The arms by name, in the order in which they start: whoever chooses the cores first, who stands before another last.

A new peer is one file beside this one and one row here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import MappingProxyType

from benchmarks.arms import Arm, Bench
from benchmarks.arms.bare import BareVllm
from benchmarks.arms.litellm import LiteLlm
from benchmarks.arms.mock import MockServer
from benchmarks.arms.penstock import Penstock
from benchmarks.arms.remote import Remote
from benchmarks.arms.revision import Revision
from benchmarks.arms.serve_llm import RayServeLlm
from models.errors import ConfigurationError

BARE = "bare-vllm"
BARE_MOCK = MockServer.name
PENSTOCK = "penstock"
LITELLM = LiteLlm.name
NULL = "null"
AT_REVISION = f"{PENSTOCK}@"

ARMS: Mapping[str, Callable[[Bench], Arm]] = MappingProxyType(
    {
        PENSTOCK: Penstock,
        BARE: BareVllm,
        BARE_MOCK: MockServer,
        "ray-serve-llm": RayServeLlm,
        "ray-serve-llm-interval-0": partial(RayServeLlm, name="ray-serve-llm-interval-0", interval_ms=0),
        "bare-vllm-as-shipped": partial(BareVllm, name="bare-vllm-as-shipped", as_shipped=True),
        "ray-serve-llm-as-shipped": partial(RayServeLlm, name="ray-serve-llm-as-shipped", as_shipped=True),
        LITELLM: LiteLlm,
    }
)
AS_SHIPPED = frozenset(name for name in ARMS if name.endswith("-as-shipped"))
"""Their engines are not the others': vLLM's own choice of processes."""
ONLY_VLLM = AS_SHIPPED | {BARE}


def in_order(names: Iterable[str], *, mock: bool) -> list[str]:
    """The arms that were asked for, each once, in the order in which they start; raises for an unknown name."""
    wanted = [BARE_MOCK if mock and name == BARE else name for name in dict.fromkeys(names)]
    for name in wanted:
        _require_known(name, mock=mock)
    places = {name: place for place, name in enumerate(ARMS)}
    return sorted(wanted, key=lambda name: places.get(name, places[PENSTOCK] if AT_REVISION in name else len(places)))


def build(name: str, bench: Bench) -> Arm:
    """The arm with this name: a row of `ARMS`, `penstock@REVISION`, or `NAME=URL`."""
    if name in ARMS:
        return ARMS[name](bench)
    if name.startswith(AT_REVISION):
        return Revision(bench, revision=name.removeprefix(AT_REVISION))
    label, _, url = name.partition("=")
    return Remote(bench, name=label, url=url)


def label(name: str) -> str:
    """What the arm is called in the result."""
    return name.partition("=")[0]


def _require_known(name: str, *, mock: bool) -> None:
    if name not in ARMS and not name.startswith(AT_REVISION) and "=" not in name:
        raise ConfigurationError(f"Unknown arm {name!r}. There are: {', '.join(ARMS)}, penstock@REVISION, NAME=URL.")
    if label(name) == NULL:
        raise ConfigurationError(f"{NULL!r} is the reference measured twice; choose another name.")
    if mock and name in ONLY_VLLM:
        raise ConfigurationError(f"Arm {name!r} is vLLM itself: it has no place on the mock engine.")
    if not mock and name == BARE_MOCK:
        raise ConfigurationError(f"Arm {name!r} needs --engine mock.")
