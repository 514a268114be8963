"""Fifty and more ways in which an adapter that was good is sent broken: name → the zip."""

from __future__ import annotations

import io
import json
import pickle
import stat
import zipfile
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from tests.models.adapters.made import CONFIG_FILE, WEIGHTS_FILE, framed

CONFIGS: Mapping[str, dict[str, Any]] = {
    "dora": {"use_dora": True},
    "modules to save": {"modules_to_save": ["lm_head"]},
    "rank pattern": {"rank_pattern": {"q_proj": 4}},
    "alpha pattern": {"alpha_pattern": {"q_proj": 4}},
    "bias": {"bias": "all"},
    "bias of LoRA": {"lora_bias": True},
    "foreign base": {"base_model_name_or_path": "somebody/else"},
    "base as a URL": {"base_model_name_or_path": "https://example.org/model"},
    "no base": {"base_model_name_or_path": None},
    "foreign revision": {"revision": "main"},
    "code by mapping": {"auto_mapping": {"base_model_class": "X", "parent_library": "os"}},
    "rank 4,096": {"r": 4096},
    "rank 0": {"r": 0},
    "rank as text": {"r": "8"},
    "rank beside the weights": {"r": 3},
    "alpha 0": {"lora_alpha": 0},
    "modules as a pattern": {"target_modules": ".*_proj"},
    "another module": {"target_modules": ["q_proj"]},
    "unknown module": {"target_modules": ["x_proj"]},
    "another task": {"task_type": "SEQ_CLS"},
    "another method": {"peft_type": "IA3"},
    "fan in": {"fan_in_fan_out": True},
    "PiSSA": {"init_lora_weights": "pissa"},
    "OLoRA": {"init_lora_weights": "olora"},
    "layers replicated": {"layer_replication": [[0, 1]]},
    "tokens": {"trainable_token_indices": [1]},
    "a field that nobody knows": {"exploit": "yes"},
}
FILES: Mapping[str, bytes] = {
    "evil.py": b"import os",
    "adapter_model.bin": pickle.dumps({"x": 1}),
    "weights.pt": pickle.dumps({"x": 1}),
    "chat_template.jinja": b"{{ 1 }}",
    "tokenizer_config.json": b'{"auto_map": {"AutoTokenizer": "x.Y"}}',
    "model.gguf": b"GGUF",
    "run.sh": b"#!/bin/sh",
}


def broken_adapters(good: Path, *, count: int) -> Iterator[tuple[str, bytes]]:
    """So many broken forms of a good adapter's folder, each another one."""
    return islice(_all((good / CONFIG_FILE).read_bytes(), (good / WEIGHTS_FILE).read_bytes()), count)


def _all(config: bytes, weights: bytes) -> Iterator[tuple[str, bytes]]:
    for name, content in _weights(weights):
        yield name, zipped({CONFIG_FILE: config, WEIGHTS_FILE: content})
    yield from _archives(config, weights)
    settings = json.loads(config)
    for name, changes in CONFIGS.items():
        yield name, zipped({CONFIG_FILE: json.dumps({**settings, **changes}).encode(), WEIGHTS_FILE: weights})
    for name, content in FILES.items():
        yield name, zipped({CONFIG_FILE: config, WEIGHTS_FILE: weights, name: content})


def _weights(weights: bytes) -> Iterator[tuple[str, bytes]]:
    length = int.from_bytes(weights[:8], "little")
    header, data = json.loads(weights[8 : 8 + length]), weights[8 + length :]
    names = sorted(name for name in header if name != "__metadata__")

    def with_header(change: Mapping[str, Any]) -> bytes:
        return framed(json.dumps({**header, **change}).encode(), data)

    first, second = header[names[0]], header[names[1]]
    begin, end = first["data_offsets"]
    yield "no weights at all", b""
    yield "a header of 2^63 bytes", framed(b"{}", data, length=2**63)
    yield "a header longer than the file", framed(b"{}", b"", length=10**6)
    yield "no JSON", framed(b"{", data)
    yield "a pickle", pickle.dumps({name: [1.0] for name in names})
    yield "cut", weights[:-7]
    yield "more than the tensors", weights + b"more"
    yield "overlapping", with_header({names[1]: {**second, "data_offsets": [begin, end]}})
    yield "past the end", with_header({names[0]: {**first, "data_offsets": [10**9, 10**9 + end - begin]}})
    yield "another shape", with_header({names[0]: {**first, "shape": first["shape"][::-1]}})
    yield "a shape of nothing", with_header({names[0]: {**first, "shape": [0, 8], "data_offsets": [begin, begin]}})
    yield "an unknown type", with_header({names[0]: {**first, "dtype": "F1"}})
    spot = 8 + length + begin
    for name, value in (("not a number", b"\x00\x00\xc0\x7f"), ("infinite", b"\x00\x00\x80\x7f")):
        yield name, weights[:spot] + value + weights[spot + 4 :]


def _archives(config: bytes, weights: bytes) -> Iterator[tuple[str, bytes]]:
    whole = zipped({CONFIG_FILE: config, WEIGHTS_FILE: weights})
    yield "not a zip", b"not a zip"
    yield "an empty body", b""
    yield "half a zip", whole[: len(whole) // 2]
    yield "no configuration", zipped({WEIGHTS_FILE: weights})
    yield "no weights", zipped({CONFIG_FILE: config})
    yield "a way out", zipped({"../x": b"x", CONFIG_FILE: config, WEIGHTS_FILE: weights})
    yield "an absolute name", zipped({"/tmp/x": b"x", CONFIG_FILE: config, WEIGHTS_FILE: weights})
    yield "folders", zipped({f"a/{CONFIG_FILE}": config, f"b/{WEIGHTS_FILE}": weights})
    yield "a hundred files", zipped({**{f"f{at}.md": b"" for at in range(100)}, WEIGHTS_FILE: weights})
    link = zipfile.ZipInfo("adapter_config.json")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    yield "a link", zipped({WEIGHTS_FILE: weights}, link)
    yield "no JSON in the configuration", zipped({CONFIG_FILE: b"{", WEIGHTS_FILE: weights})
    yield "a long configuration", zipped({CONFIG_FILE: config + b" " * 2**20, WEIGHTS_FILE: weights})


def zipped(files: Mapping[str, bytes], *links: zipfile.ZipInfo) -> bytes:
    """These files as a zip."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        for link in links:
            archive.writestr(link, "/etc/passwd")
    return out.getvalue()
