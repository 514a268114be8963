"""Stands with one gateway and one replica for the tests of this folder: an empty one, and one with a training file."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog

from tests.serving.adapters.stand import Stand, opened_stand
from tests.serving.tuning.rows import put_file


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    async with opened_stand(tmp_path, gateways=1, replicas=1) as made:
        yield made
    structlog.reset_defaults()


@pytest.fixture
async def desk(stand: Stand) -> Stand:
    await put_file(stand.store)
    return stand
