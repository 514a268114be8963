"""A stand with one gateway for the tests of this folder."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog

from tests.serving.adapters.stand import Stand, opened_stand


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    async with opened_stand(tmp_path, gateways=1, replicas=1) as made:
        yield made
    structlog.reset_defaults()
