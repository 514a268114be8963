"""Where tests pull a small real model from: a hub that speaks what `snapshot_download` asks for, and an S3 server."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import obstore
from obstore.store import S3Store

REVISION = "0123456789abcdef0123456789abcdef01234567"
REPO = "maker/tiny"
TOKEN = "hf_secret"
S3_FOLDER = "s3://weights/team/tiny"
S3_KEYS = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "us-east-1"}


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


@dataclass
class LoopbackHub:
    """What the server serves and saw. With `stall_after` a longer answer stops there until `released`."""

    url: str = ""
    files: Mapping[str, bytes] = field(default_factory=lambda: MODEL_FILES)
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
            self._send(200, json.dumps(_tree(self.hub.files)).encode(), {"Content-Type": "application/json"})
        else:
            self._send_file(path.rsplit("/", 1)[-1])

    def _send_file(self, name: str) -> None:
        body = self.hub.files[name]
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


def _tree(files: Mapping[str, bytes]) -> list[dict[str, Any]]:
    return [{"type": "file", "path": name, "size": len(body), "oid": _oid(body)} for name, body in files.items()]


@contextmanager
def loopback_hub(files: Mapping[str, bytes] = MODEL_FILES) -> Iterator[LoopbackHub]:
    """A running hub on loopback with one model."""
    state = LoopbackHub(files=files)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": state}))
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def s3_server(log: Path) -> Iterator[str]:
    """A running S3 server in a process of its own, with the model in a bucket; gives its address."""
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    with log.open("w") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            url = _address(log)
            urllib.request.urlopen(urllib.request.Request(f"{url}/weights", method="PUT"), timeout=10).close()
            store = S3Store.from_url(
                S3_FOLDER,
                config={"endpoint": url, **{name.lower(): value for name, value in S3_KEYS.items()}},
                client_options={"allow_http": True},
            )
            for name, body in MODEL_FILES.items():
                obstore.put(store, name, body)
            yield url
        finally:
            process.terminate()


def _address(log: Path) -> str:
    """What the server prints once it listens."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if found := re.search(r"Running on (http://\S+)", log.read_text()):
            return found[1]
        time.sleep(0.05)
    raise AssertionError(log.read_text())
