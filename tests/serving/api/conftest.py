"""The HTTP layer with fakes around it, fresh for every test."""

from collections.abc import Iterator, MutableMapping
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.serving.api.fakes import Stack


@pytest.fixture
def stack() -> Stack:
    return Stack()


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[MutableMapping[str, Any]]]:
    """What the code under test logged; nothing reaches the terminal."""
    with capture_logs() as lines:
        yield lines
