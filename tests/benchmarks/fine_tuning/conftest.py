from collections.abc import Iterator

import pytest

from tests.benchmarks.fine_tuning.tuning_stack import TuningStack
from tests.serving.thread import in_thread


@pytest.fixture
def tuning_stack() -> Iterator[TuningStack]:
    """A stack that fine-tunes, in a thread."""
    made = TuningStack()
    with in_thread(made) as made.url:
        yield made
