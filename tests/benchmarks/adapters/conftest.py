from collections.abc import Iterator

import pytest

from tests.benchmarks.adapters.fleet_stack import FleetStack
from tests.serving.thread import in_thread


@pytest.fixture
def fleet_stack() -> Iterator[FleetStack]:
    """A stack with adapters in a thread."""
    made = FleetStack()
    with in_thread(made) as made.url:
        yield made
