"""Files in both databases: pages, what an org holds, what a job uses, and whose an id is."""

from dataclasses import replace
from pathlib import Path

from serving.store.files import FileRow
from serving.store.jobs import JobRow
from serving.store.store import Store

FILE = FileRow("file-1", "acme", "a.jsonl", "fine-tune", 10, "a" * 64, "key", 1.0, {"examples": 12}, expires_at=9.0)
JOB = JobRow(
    id="ftjob-1",
    org="acme",
    user="u",
    created_by="key",
    created_at=1.0,
    status="queued",
    phase="waiting",
    state_at=1.0,
    base="demo-small",
    asked={"penstock": {"golden_file": "file-3"}},
    training_file="file-1",
    validation_file="file-2",
    adapter="bot",
)


async def filled(store: Store, *rows: FileRow) -> None:
    for row in rows:
        await store.files.put(row)


async def test_a_file_comes_back_as_it_went_in_and_to_its_own_org_alone(store: Store) -> None:
    await filled(store, FILE)
    assert await store.files.find("file-1") == FILE
    assert await store.files.find("file-1", org="acme") == FILE
    assert await store.files.find("file-1", org="rival") is None
    assert await store.files.drop("file-1")
    assert not await store.files.drop("file-1")
    assert await store.files.find("file-1") is None


async def test_pages_go_on_where_the_last_one_ended_also_among_files_of_one_moment(store: Store) -> None:
    await filled(store, *(replace(FILE, id=f"file-{n}", created_at=float(n // 2)) for n in range(5)))
    first = await store.files.page("acme", limit=3)
    assert first is not None
    assert ([row.id for row in first.rows], first.more) == (["file-4", "file-3", "file-2"], True)
    rest = await store.files.page("acme", after="file-2", limit=3)
    assert rest is not None
    assert ([row.id for row in rest.rows], rest.more) == (["file-1", "file-0"], False)
    oldest = await store.files.page("acme", after="file-0", limit=2, order="asc")
    assert oldest is not None
    assert ([row.id for row in oldest.rows], oldest.more) == (["file-1", "file-2"], True)


async def test_a_page_knows_purposes_and_no_file_of_another_org(store: Store) -> None:
    await filled(store, FILE, replace(FILE, id="file-2", purpose="evals"), replace(FILE, id="file-3", org="rival"))
    found = await store.files.page("acme", limit=9, purpose="evals")
    assert found is not None
    assert [row.id for row in found.rows] == ["file-2"]
    assert await store.files.page("acme", after="file-3", limit=9) is None


async def test_an_org_holds_the_bytes_of_its_own_files(store: Store) -> None:
    await filled(store, FILE, replace(FILE, id="file-2", bytes=2**40), replace(FILE, id="file-3", org="rival"))
    assert await store.files.held_bytes("acme") == 10 + 2**40
    assert await store.files.held_bytes("nobody") == 0
    assert await store.files.digests() == {f"file-{n}": "a" * 64 for n in (1, 2, 3)}


async def test_a_file_expires_at_its_moment_and_one_without_a_moment_never(store: Store) -> None:
    await filled(store, FILE, replace(FILE, id="file-2", expires_at=None))
    assert await store.files.expired(8.9) == []
    assert [row.id for row in await store.files.expired(9.0)] == ["file-1"]
    before, after = [await store.files.page("acme", limit=9, alive_at=at) for at in (8.9, 9.0)]
    assert before is not None
    assert after is not None
    assert ([row.id for row in before.rows], [row.id for row in after.rows]) == (["file-2", "file-1"], ["file-2"])


async def test_a_job_uses_its_files_and_those_of_its_gate_until_it_ends(store: Store) -> None:
    async with store.jobs.changing() as change:
        await change.files.put(FILE)
        await change.put(JOB)
        assert [await change.uses(f"file-{n}") for n in (1, 2, 3, 4)] == [["ftjob-1"]] * 3 + [[]]
    assert await store.jobs.uses("file-3") == ["ftjob-1"]
    async with store.jobs.changing() as change:
        await change.put(replace(JOB, status="cancelled", finished_at=2.0))
    assert await store.jobs.uses("file-1") == []


async def test_every_gateway_reads_the_same_stamp_and_another_store_has_another(store: Store, tmp_path: Path) -> None:
    stamp = await store.files.stamp()
    assert len(stamp) == 10
    assert await store.files.stamp() == stamp
    async with Store.open(f"sqlite+aiosqlite:///{tmp_path}/other.db") as other:
        assert await other.files.stamp() != stamp
