"""What the tests of the recorder share."""

import io
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from serving.telemetry.log import configure_log


@pytest.fixture
def log_lines() -> Iterator[io.StringIO]:
    """The log of this test, as it would be written."""
    stream = io.StringIO()
    configure_log(stream=stream)
    yield stream
    structlog.reset_defaults()


def figure(text: str, name: str) -> float:
    """The value of a sample without labels."""
    values = [float(line.split()[-1]) for line in text.splitlines() if line.split(" ")[0] == name]
    assert len(values) == 1, name
    return values[0]


@pytest.fixture
def read_figure() -> Any:
    return figure
