"""What looking at an adapter costs and touches: in a process of its own, by the audit events of Python."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from models.adapters.archive import pack
from models.adapters.foundation import BaseModel
from models.catalog.memory import module_shapes
from models.catalog.schema import Architecture
from tests.models.adapters.made import BASE, WEIGHTS_FILE, adapter, config, framed, header_of, tensor_name

WATCHED = """
import json, resource, sys, time
from pathlib import Path
from models.adapters.archive import unpack
from models.adapters.check import check, prepare
from models.adapters.foundation import BaseModel
from models.adapters.refusal import AdapterInvalid
from models.catalog.schema import Architecture

folder, into, facts = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
base = BaseModel(**{**facts, "names": frozenset(facts["names"]), "modules": tuple(facts["modules"]),
                    "architecture": Architecture(**facts["architecture"])})
seen, on = [], False
"".encode("cp437")  # a codec is imported when it is first used

def hook(event, arguments):
    watched = ("open", "os.listdir", "os.scandir", "import", "subprocess.Popen", "socket.connect", "exec")
    if on and event in watched and not isinstance(arguments[0], int):
        seen.append([event, str(arguments[0])])

sys.addaudithook(hook)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before, started, on, problem = peak(), time.perf_counter(), True, None
try:
    unpack(folder, into, max_bytes=2**31) if folder.suffix == ".zip" else check(folder, base)
    check_s = time.perf_counter() - started
    prepare(folder, base, into=into) if folder.suffix != ".zip" else None
except AdapterInvalid as error:
    problem = error.param
on = False
print(json.dumps({"seen": seen, "problem": problem, "rss_mb": (peak() - before) / 1024,
                  "check_s": None if problem else check_s, "torch": "torch" in sys.modules}))
"""


def watched(folder: Path, into: Path, base: BaseModel = BASE) -> dict[str, Any]:
    """What a fresh process opened, and how much more memory it took at its peak, in MiB."""
    into.mkdir()
    facts = {
        **asdict(base),
        "names": sorted(base.names),
        "modules": list(base.modules),
        "architecture": base.architecture.model_dump(),
    }
    command = [sys.executable, "-c", WATCHED, str(folder), str(into), json.dumps(facts)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def large(folder: Path, *, megabytes: int) -> tuple[Path, BaseModel]:
    """A valid adapter of about this size, of zeros that take no room on the disk."""
    architecture = Architecture(
        num_layers=32,
        hidden_size=4096,
        num_heads=32,
        num_kv_heads=32,
        head_dim=128,
        intermediate_size=11008,
        vocab_size=32000,
        max_position=4096,
    )
    widths = sum(map(sum, module_shapes(architecture).values()))
    rank = round(megabytes * 2**20 / (4 * 32 * widths))
    base = BaseModel("tiny", "a" * 40, frozenset({"tiny"}), architecture, 512, BASE.modules, True)
    content: dict[str, Any] = {}
    for layer in range(32):
        for module, (width_in, width_out) in module_shapes(architecture).items():
            for side, shape in (("A", (rank, width_in)), ("B", (width_out, rank))):
                content[tensor_name(module, layer=layer, side=side)] = (shape, 4 * shape[0] * shape[1])
    header: dict[str, Any] = header_of({})
    place = 0
    for name, (shape, size) in content.items():
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [place, place + size]}
        place += size
    raw = framed(json.dumps(header).encode())
    settings = config(r=rank, base_model_name_or_path="tiny", target_modules=list(BASE.modules))
    adapter(folder, settings=settings, weights=raw)
    os.truncate(folder / WEIGHTS_FILE, len(raw) + place)
    return folder, base


def test_nothing_is_opened_but_the_adapter_and_what_is_written(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "mine", files={"README.md": b"x"})
    found = watched(folder, tmp_path / "into")
    opened = [path for event, path in found["seen"] if event == "open"]
    assert len(opened) >= 8
    assert {Path(path).parent for path in opened} == {folder, tmp_path / "into"}
    assert {event for event, _ in found["seen"]} <= {"open", "os.scandir", "os.listdir"}
    assert not any(path.endswith("README.md") for path in opened)
    assert (found["problem"], found["torch"]) == (None, False)


def test_a_link_in_an_adapter_is_not_opened(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "mine")
    (folder / WEIGHTS_FILE).unlink()
    (folder / WEIGHTS_FILE).symlink_to("/etc/passwd")
    found = watched(folder, tmp_path / "into")
    assert found["problem"] == WEIGHTS_FILE
    assert [path for event, path in found["seen"] if event == "open" and "mine" not in path] == []


def test_unpacking_opens_the_archive_and_files_of_the_folder_only(tmp_path: Path) -> None:
    pack(adapter(tmp_path / "mine"), tmp_path / "sent.zip")
    found = watched(tmp_path / "sent.zip", tmp_path / "into")
    opened = [Path(path) for event, path in found["seen"] if event == "open"]
    assert {path.parent if path.suffix != ".zip" else path for path in opened} == {
        tmp_path / "into",
        tmp_path / "sent.zip",
    }


def test_memory_does_not_grow_with_the_adapter(tmp_path: Path) -> None:
    folder, base = large(tmp_path / "large", megabytes=200)
    found = watched(folder, tmp_path / "into", base)
    assert found["problem"] is None
    assert (folder / WEIGHTS_FILE).stat().st_size > 150 * 2**20
    assert found["rss_mb"] < 64
    assert found["check_s"] < 10


@pytest.mark.parametrize("evil", [b'{"":0,' + b'"a":0,' * 300_000 + b'"b":0}', b'{"a":' + b"[0," * 400_000 + b"0]}"])
def test_memory_does_not_grow_with_an_evil_header(tmp_path: Path, evil: bytes) -> None:
    folder = adapter(tmp_path / "evil", weights=framed(evil))
    found = watched(folder, tmp_path / "into")
    assert (found["problem"], found["rss_mb"] < 100) == (WEIGHTS_FILE, True)
