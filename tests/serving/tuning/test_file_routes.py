"""/v1/files over HTTP: the unpatched OpenAI SDK, roles, other orgs, lists, and what bad uploads leave: nothing."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from openai import AsyncOpenAI

from tests.serving.adapters.stand import Stand, until
from tests.serving.tuning.samples import chats, golden


@asynccontextmanager
async def sdk(stand: Stand, key: str = "engineer") -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{stand.urls[0]}/v1", api_key=stand.keys[key], max_retries=0) as client:
        yield client


async def upload(stand: Stand, data: bytes | None = None, *, key: str = "engineer", **fields: str) -> httpx2.Response:
    form: dict[str, Any] = {"purpose": "fine-tune", **fields}
    file = {"file": ("a.jsonl", chats() if data is None else data)}
    return await stand.ask("POST", "/v1/files", key=key, data=form, files=file)


def lying(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def nothing_stays(stand: Stand, folder: Path) -> None:
    assert lying(folder / "drafts") == []
    assert not list((folder / "artifacts").glob("file/*/*"))
    assert (await stand.ask("GET", "/v1/files")).json()["data"] == []


async def test_the_sdk_uploads_shows_lists_reads_and_deletes_files(stand: Stand, tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(chats())
    async with sdk(stand) as client:
        with path.open("rb") as file:
            made = await client.files.create(file=file, purpose="fine-tune")
        assert made.id.startswith("file-")
        assert (made.filename, made.bytes, made.purpose, made.status) == (
            "train.jsonl",
            len(chats()),
            "fine-tune",
            "processed",
        )
        assert await client.files.retrieve(made.id) == made
        judged = await client.files.create(
            file=("g.jsonl", golden()),
            purpose="evals",
            expires_after={"anchor": "created_at", "seconds": 3600},
        )
        assert judged.expires_at == judged.created_at + 3600
        assert [file.id async for file in client.files.list(limit=1)] == [judged.id, made.id]
        assert [file.id async for file in client.files.list(purpose="fine-tune")] == [made.id]
        assert (await client.files.content(made.id)).content == chats()
        assert (await client.files.delete(made.id)).deleted
        with pytest.raises(openai.NotFoundError):
            await client.files.retrieve(made.id)
    assert list((tmp_path / "drafts").iterdir()) == []
    assert len(list((tmp_path / "artifacts").rglob("data.jsonl"))) == 1


async def test_what_the_check_found_is_told(stand: Stand) -> None:
    facts = (await upload(stand)).json()["penstock"]["facts"]
    assert (facts["format"], facts["examples"]) == ("chat", 12)
    found = (await upload(stand, golden(), purpose="evals")).json()["penstock"]["facts"]
    assert found == {"examples": 3, "tasks": {"default": 3}, "metrics": {"exact": 3}}


async def test_another_orgs_file_is_the_same_answer_as_none(stand: Stand) -> None:
    file = (await upload(stand)).json()["id"]
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/content")):
        theirs = await stand.ask(method, f"/v1/files/{file}{path}", key="rival")
        none = await stand.ask(method, f"/v1/files/file-{'0' * 30}{path}", key="rival")
        bad = await stand.ask(method, f"/v1/files/..{path}x", key="rival")
        assert (theirs.status_code, theirs.content) == (404, none.content)
        assert bad.status_code == 404
    assert (await stand.ask("GET", f"/v1/files/{file}")).status_code == 200
    assert (await stand.ask("GET", "/v1/files", key="rival")).json()["data"] == []
    assert (await stand.ask("GET", f"/v1/files?after={file}", key="rival")).status_code == 400


async def test_files_are_for_engineers_and_admins(stand: Stand) -> None:
    for method, path in (("GET", "/v1/files"), ("POST", "/v1/files"), ("GET", "/v1/files/file-1")):
        assert (await stand.ask(method, path, key="user")).status_code == 403
    assert (await upload(stand, key="admin")).status_code == 200


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=1000000000", "limit"),
        ("limit=0", "limit"),
        ("limit=1.0", "limit"),
        ("limit=", "limit"),
        ("limit=1&limit=2", "limit"),
        ("after=../x", "after"),
        ("after=file-none", "after"),
        ("order=up", "order"),
        ("purpose=" + "x" * 65, "purpose"),
        ("x=1", "x"),
    ],
)
async def test_a_list_takes_no_nonsense(stand: Stand, query: str, param: str) -> None:
    answer = await stand.ask("GET", f"/v1/files?{query}")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


BAD = [
    (b"".join(chats().splitlines(keepends=True)[:6]) + b"{secret\n" + chats(6), "line 7"),
    (chats() + b'{"messages": "' + b"secret" * 2**18 + b'"}\n', "line 13"),
    (chats(9), "10"),
    (chats().decode().encode("utf-16"), "UTF-16"),
    (chats() + b'{"messages": [{"role": "user", "content": "secret"}]}\n', "line 13"),
    (chats() + b'{"messages": [{"role": "system", "content": "secret"}]}\n', "line 13"),
    (gzip.compress(chats() * 1000), "gzip"),
    (b"PK\x03\x04" + bytes(1000), "zip"),
]


@pytest.mark.parametrize(
    "row", range(len(BAD)), ids=[f"U{n}" for n in ("8", "9", "10", "11", "12", "12b", "13", "13b")]
)
async def test_a_bad_training_file_is_refused_with_its_line_and_not_with_its_text(
    stand: Stand, tmp_path: Path, row: int
) -> None:
    data, words = BAD[row]
    answer = await upload(stand, data)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "invalid_value", "file")
    assert words in error["message"]
    assert "secret" not in error["message"]
    await nothing_stays(stand, tmp_path)


@pytest.mark.parametrize("data", [chats().replace(b"\n", b"\r\n"), b"\xef\xbb\xbf" + chats(), chats().rstrip()])
async def test_line_ends_of_others_a_mark_and_no_last_line_end_are_taken(stand: Stand, data: bytes) -> None:
    made = (await upload(stand, data)).json()
    assert made["bytes"] == len(data)
    assert (await stand.ask("GET", f"/v1/files/{made['id']}/content")).content == data


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"purpose": "x"}, "invalid_value", "purpose"),
        ({"purpose": "fine-tune-results"}, "invalid_value", "purpose"),
        ({"expires_after[seconds]": "3600"}, "missing_required_parameter", "expires_after[anchor]"),
        ({"expires_after[anchor]": "created_at"}, "missing_required_parameter", "expires_after[seconds]"),
        (
            {"expires_after[anchor]": "now", "expires_after[seconds]": "3600"},
            "invalid_value",
            "expires_after[anchor]",
        ),
        (
            {"expires_after[anchor]": "created_at", "expires_after[seconds]": "1e9"},
            "invalid_value",
            "expires_after[seconds]",
        ),
        ({"x": "1"}, "unknown_parameter", "x"),
    ],
)
async def test_bad_fields_are_named(
    stand: Stand, tmp_path: Path, fields: dict[str, str], code: str, param: str
) -> None:
    answer = await upload(stand, **fields)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, code, param)
    await nothing_stays(stand, tmp_path)


async def test_a_purpose_is_needed(stand: Stand) -> None:
    answer = await stand.ask("POST", "/v1/files", files={"file": ("a.jsonl", chats())})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "purpose")


async def test_an_odd_name_comes_back_as_text_in_a_header_of_its_own(stand: Stand) -> None:
    name = 'a"; x="../../é'
    made = await stand.ask("POST", "/v1/files", data={"purpose": "fine-tune"}, files={"file": (name, chats())})
    assert made.status_code == 200, made.text
    content = await stand.ask("GET", f"/v1/files/{made.json()['id']}/content")
    assert content.headers["content-disposition"].startswith("attachment; filename")
    assert content.headers["content-type"] == "application/octet-stream"
    assert "x-" not in content.headers["content-disposition"]


async def test_an_upload_that_is_cut_leaves_nothing(stand: Stand, tmp_path: Path) -> None:
    """The client ends its side at 60 %."""
    body = httpx2.Request(
        "POST", stand.urls[0], data={"purpose": "fine-tune"}, files={"file": ("a.jsonl", chats(20_000))}
    )
    whole = body.read()
    host, _, port = stand.urls[0].removeprefix("http://").partition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    head = (
        f"POST /v1/files HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {stand.keys['engineer']}\r\n"
        f"content-type: {body.headers['content-type']}\r\ncontent-length: {len(whole)}\r\n\r\n"
    )
    writer.write(head.encode() + whole[: len(whole) * 6 // 10])
    await writer.drain()
    writer.close()
    await writer.wait_closed()

    async def gone() -> bool:
        return not lying(tmp_path / "drafts")

    await until(gone)
    await nothing_stays(stand, tmp_path)


async def test_a_chunked_body_that_ends_early_is_incomplete(stand: Stand, tmp_path: Path) -> None:
    body = httpx2.Request("POST", stand.urls[0], data={"purpose": "fine-tune"}, files={"file": ("a.jsonl", chats())})
    whole = body.read()

    async def part() -> AsyncIterator[bytes]:
        yield whole[: len(whole) * 6 // 10]

    answer = await stand.ask(
        "POST", "/v1/files", content=part(), headers={"content-type": body.headers["content-type"]}
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "upload_incomplete")
    await nothing_stays(stand, tmp_path)
