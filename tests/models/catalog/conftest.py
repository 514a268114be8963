"""A small real model folder, a card over it, and a loopback hub that speaks what `snapshot_download` asks for."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from models.catalog.schema import ModelCard
from models.catalog.sources import Advance

REVISION = "0123456789abcdef0123456789abcdef01234567"
REPO = "maker/tiny"
TOKEN = "hf_secret"

CARD: dict[str, Any] = {
    "id": "tiny",
    "description": "A card for tests.",
    "source": {"kind": "hub", "repo": REPO, "revision": REVISION},
    "tier": "small",
    "licence": "Apache-2.0",
    "parameters": 1_000_000_000,
    "weight_bytes": 2_000_000_000,
    "architecture": {
        "num_layers": 24,
        "hidden_size": 2048,
        "num_heads": 16,
        "num_kv_heads": 8,
        "head_dim": 128,
        "intermediate_size": 8192,
        "vocab_size": 32000,
        "max_position": 32768,
    },
    "context": 8192,
    "price": {"input_micro_usd": 10_000, "output_micro_usd": 20_000},
}

MakeCard = Callable[..., ModelCard]


@pytest.fixture
def make_card() -> MakeCard:
    """A valid card; keywords replace fields, and a dict is merged into the field that it replaces."""

    def make(**changes: Any) -> ModelCard:
        values = {**CARD}
        for name, value in changes.items():
            merged = isinstance(value, dict) and name in CARD and name != "source"
            values[name] = {**CARD[name], **value} if merged else value
        return ModelCard.model_validate(values)

    return make


def unseen(_total: int) -> Advance:
    """A progress that nobody watches."""
    return lambda _count: None


def safetensors(payload: bytes) -> bytes:
    """A whole safetensors file that holds one tensor of bytes."""
    header = json.dumps({"w": {"dtype": "U8", "shape": [len(payload)], "data_offsets": [0, len(payload)]}}).encode()
    return len(header).to_bytes(8, "little") + header + payload


MODEL_FILES = {
    "config.json": b'{"model_type": "llama"}',
    "tokenizer.json": b"{}",
    "model-00001-of-00002.safetensors": safetensors(bytes(range(256)) * 2048),
    "model-00002-of-00002.safetensors": safetensors(b"x" * 1000),
    "pytorch_model.bin": b"never fetched",
    "modeling_tiny.py": b"raise SystemExit",
}
WANTED_FILES = {name: body for name, body in MODEL_FILES.items() if not name.endswith((".bin", ".py"))}


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """A folder with the wanted files of a model."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name, body in WANTED_FILES.items():
        (folder / name).write_bytes(body)
    return folder


@dataclass
class LoopbackHub:
    """What the server serves and saw. With `stall_after` a longer answer stops there until `released`."""

    url: str = ""
    gated: bool = False
    stall_after: int | None = None
    stalled: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)

    def downloads(self, name: str) -> list[str | None]:
        """The `Range` of every GET of a file, in order."""
        return [range_ for method, path, range_ in self.requests if method == "GET" and path.endswith(f"/{name}")]


class _Handler(BaseHTTPRequestHandler):
    hub: LoopbackHub

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = self.path.partition("?")[0]
        self.hub.requests.append((self.command, path, self.headers.get("Range")))
        if self.hub.gated and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._refuse(401, "GatedRepo")
        elif not path.startswith((f"/api/models/{REPO}/", f"/{REPO}/")):
            self._refuse(404, "RepoNotFound")
        elif REVISION not in path:
            self._refuse(404, "RevisionNotFound")
        elif path.startswith("/api/"):
            self._send(200, json.dumps(_tree()).encode(), {"Content-Type": "application/json"})
        else:
            self._send_file(path.rsplit("/", 1)[-1])

    def _send_file(self, name: str) -> None:
        body = MODEL_FILES[name]
        headers = {"ETag": f'"{_oid(body)}"', "X-Repo-Commit": REVISION, "Accept-Ranges": "bytes"}
        if (wanted := self.headers.get("Range")) is None:
            self._send(200, body, headers)
        else:
            start = int(wanted.removeprefix("bytes=").partition("-")[0])
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
            self._send(206, body[start:], headers)

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[: self.hub.stall_after])
            if self.hub.stall_after is not None and len(body) > self.hub.stall_after:
                self.hub.stalled.set()
                self.hub.released.wait(30)
                self.close_connection = True

    def _refuse(self, status: int, code: str) -> None:
        self._send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": code})

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the test output clean."""


def _oid(body: bytes) -> str:
    return hashlib.sha1(body).hexdigest()


def _tree() -> list[dict[str, Any]]:
    return [{"type": "file", "path": name, "size": len(body), "oid": _oid(body)} for name, body in MODEL_FILES.items()]


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    """A running hub on loopback."""
    state = LoopbackHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": state}))
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield state
    state.released.set()
    server.shutdown()
    server.server_close()
    thread.join()
