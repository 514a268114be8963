import asyncio
from pathlib import Path

import pytest

from models.clock import SystemClock
from serving.commands.target import OWN_KEY, target_of
from serving.state import NoStack, StackInfo, StateDir
from serving.store.store import Store
from serving.tenancy.keys import KeyAdmin, KeySpec, digest


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    made = StateDir(tmp_path)
    made.create()
    made.write_stack(StackInfo(url="http://127.0.0.1:1", profile="cpu-demo", address="a", version="0", started=0))
    return made


def test_a_remote_stack_is_taken_from_the_environment_with_or_without_its_path(tmp_path: Path) -> None:
    for url in ("http://there:8000", "http://there:8000/", "http://there:8000/v1", "http://there:8000/v1/"):
        target = target_of(StateDir(tmp_path), {"PENSTOCK_URL": url, "PENSTOCK_API_KEY": "k"})
        assert (target.url, target.key) == ("http://there:8000", "k")


def test_without_a_running_stack_there_is_nothing_to_talk_to(tmp_path: Path) -> None:
    with pytest.raises(NoStack):
        target_of(StateDir(tmp_path), {})


def test_a_key_of_the_environment_is_used_for_the_local_stack(state: StateDir) -> None:
    assert target_of(state, {"PENSTOCK_API_KEY": "mine"}).key == "mine"
    assert not state.database.exists()


def test_the_own_key_is_made_once_works_for_inference_and_is_kept_private(state: StateDir) -> None:
    first = target_of(state, {}).key
    assert target_of(state, {}).key == first
    assert state.secret_path(OWN_KEY).stat().st_mode & 0o777 == 0o600

    async def stored() -> list[tuple[str, str]]:
        async with Store.open(f"sqlite+aiosqlite:///{state.database}") as store:
            return [(row.role, row.sha256) for row in await store.keys.all()]

    assert asyncio.run(stored()) == [("engineer", digest(first))]


def test_a_revoked_own_key_is_replaced(state: StateDir) -> None:
    first = target_of(state, {}).key

    async def revoke() -> None:
        async with Store.open(f"sqlite+aiosqlite:///{state.database}") as store:
            row = await store.keys.by_digest(digest(first))
            assert row is not None
            assert await KeyAdmin(store.keys, clock=SystemClock()).revoke(row.id)

    asyncio.run(revoke())
    assert target_of(state, {}).key != first


def test_the_first_admin_key_is_not_taken_by_the_own_key(state: StateDir) -> None:
    target_of(state, {})
    spec = KeySpec(org="default", user="admin", role="admin")

    async def make() -> str:
        async with Store.open(f"sqlite+aiosqlite:///{state.database}") as store:
            row, _ = await KeyAdmin(store.keys, clock=SystemClock()).create(spec)
            return row.role

    assert asyncio.run(make()) == "admin"
