"""A stand for the tests of this folder: one gateway, one replica, and an org with a training file."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog

from tests.serving.adapters.stand import Stand, opened_stand
from tests.serving.tuning.rows import put_file


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    async with opened_stand(tmp_path, gateways=1, replicas=1) as made:
        await put_file(made.store)
        yield made
    structlog.reset_defaults()
