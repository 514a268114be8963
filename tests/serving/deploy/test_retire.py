import os
import signal
import warnings
from collections.abc import Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Ray's own, at import
    from serving.deploy.retire import REMOVING, as_found, end


class FakeServe:
    """The part of `ray.serve` that ends things; our application drains for as many looks as it is told."""

    def __init__(self, looks: int) -> None:
        self.left = looks
        self.running = {"penstock", "somebody-elses"}
        self.done: list[str] = []

    def delete(self, name: str, *, _blocking: bool) -> None:
        assert not _blocking, "Serve's own wait ends after 60 s, whatever still runs"
        self.done.append(f"delete {name}")

    def status(self) -> Any:
        self.left -= 1
        if self.left <= 0:
            self.running.discard("penstock")
        return SimpleNamespace(applications=dict.fromkeys(self.running))

    def shutdown(self) -> None:
        assert "penstock" not in self.running, "it still drains"
        self.running.clear()
        self.done.append("shutdown")


def test_on_a_joined_cluster_only_our_application_goes() -> None:
    serve = FakeServe(looks=1)
    end(serve, joined=True)
    assert (serve.done, serve.running) == (["delete penstock"], {"somebody-elses"})


def test_on_a_node_of_our_own_serve_goes_too() -> None:
    serve = FakeServe(looks=1)
    end(serve, joined=False)
    assert (serve.done, serve.running) == (["delete penstock", "shutdown"], set())


@pytest.mark.parametrize("joined", [True, False])
def test_the_end_waits_until_the_application_has_drained(joined: bool) -> None:
    serve = FakeServe(looks=3)
    end(serve, joined=joined)
    assert serve.left == 0
    assert "penstock" not in serve.running


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_first_start_that_fails_leaves_a_joined_cluster_as_it_was(error: type[BaseException]) -> None:
    serve = FakeServe(looks=2)
    serve.running.discard("penstock")
    said: list[str] = []
    with pytest.raises(error), as_found(serve, report=said.append):  # noqa: PT012 - what happens before is the point
        serve.running.add("penstock")
        raise error
    assert said == [REMOVING]
    assert (serve.done, serve.running) == (["delete penstock"], {"somebody-elses"})


def test_a_change_that_fails_leaves_the_application_that_was_there() -> None:
    serve = FakeServe(looks=5)
    with pytest.raises(ValueError, match="no"), as_found(serve, report=print):
        raise ValueError("no")
    assert (serve.done, serve.running) == ([], {"penstock", "somebody-elses"})


@pytest.fixture
def sigterm() -> Iterator[None]:
    """As the launch process has it."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("sigterm")
def test_a_second_signal_does_not_keep_the_cluster_from_being_cleared() -> None:
    serve = FakeServe(looks=3)
    serve.running.discard("penstock")
    again = partial(os.kill, os.getpid(), signal.SIGTERM)
    with pytest.raises(ZeroDivisionError), as_found(serve, report=lambda _: again()):  # noqa: PT012 - as above
        serve.running.add("penstock")
        raise ZeroDivisionError
    assert serve.done == ["delete penstock"]
    assert serve.left <= 0, "it waited until the application was gone"
    assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler


def test_an_end_that_fails_as_well_does_not_hide_the_first_failure() -> None:
    serve = FakeServe(looks=3)
    serve.running.discard("penstock")

    def fails(_: str) -> None:
        raise RuntimeError("the controller died")

    with pytest.raises(ZeroDivisionError), as_found(serve, report=fails):
        raise ZeroDivisionError
    assert serve.done == ["delete penstock"]
