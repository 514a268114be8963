"""For the tests of this folder: stands with one gateway and one replica, empty and with a training file; and a
coordinator alone.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog

from models.artifacts.folder import FolderSettings
from models.artifacts.store import open_artifacts
from serving.store.store import Store
from serving.tuning.trainers import FakeTrainers
from tests.serving.adapters.stand import Stand, opened_stand
from tests.serving.conftest import ManualClock
from tests.serving.tuning.ground import Ground, NoFinish, coordinator_of
from tests.serving.tuning.rows import put_file
from tests.serving.tuning.yard import publish_lines


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    async with opened_stand(tmp_path, gateways=1, replicas=1) as made:
        yield made
    structlog.reset_defaults()


@pytest.fixture
async def desk(stand: Stand) -> Stand:
    await put_file(stand.store)
    return stand


@pytest.fixture
async def ground(store: Store, clock: ManualClock, tmp_path: Path) -> Ground:
    artifacts = open_artifacts(FolderSettings(path=tmp_path / "artifacts"), home=tmp_path, clock=clock)
    publish_lines(artifacts, tmp_path, "file-1", [{}])
    trainers, finish = FakeTrainers(), NoFinish()
    made = coordinator_of(store, artifacts, clock, trainers=trainers, finish=finish, gpus=1)
    return Ground(store, clock, trainers, artifacts, tmp_path, finish, made)
