"""Holds the files of an adapter against its base, without torch and before an engine sees them, and prepares a version.

Owns which files and tensors an adapter has. Does not own how a file is read (`header`, `config`) or where it is kept.
Embeddings and output heads are refused: vLLM 0.29 adapts them for some architectures only, leaves out the copy of the
base's matrix that PEFT saves beside them, and a base that ties the two has one matrix where PEFT adapts two.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

from models.adapters.config import CONFIG_FILE, LONGEST_CONFIG, AdapterConfig, read_config, rebuilt
from models.adapters.documents import opened, read_whole
from models.adapters.foundation import BaseModel
from models.adapters.header import Tensor, read_header, require_finite
from models.adapters.refusal import AdapterInvalid, shown
from models.catalog.memory import ATTENTION_MODULES, MLP_MODULES, module_shapes

WEIGHTS_FILE = "adapter_model.safetensors"
NEEDED = (CONFIG_FILE, WEIGHTS_FILE)
IGNORED = frozenset({"README.md", "LICENSE", "LICENSE.txt", "LICENSE.md", ".gitattributes"})
"""What PEFT and a model hub leave beside an adapter. Neither read nor published."""

COPY_BYTES = 2**20

REASONS = {
    ".bin": "can hold code; save the weights as safetensors",
    ".pt": "can hold code; save the weights as safetensors",
    ".pth": "can hold code; save the weights as safetensors",
    ".ckpt": "can hold code; save the weights as safetensors",
    ".pkl": "can hold code; save the weights as safetensors",
    ".pickle": "can hold code; save the weights as safetensors",
    ".py": "is code",
    ".gguf": "is not the format of an adapter; save the weights as safetensors",
    ".jinja": "would change the prompts of the base; an adapter holds weights only",
}
OF_TOKENIZER = re.compile(
    r"(tokenizer.*|special_tokens_map|added_tokens|vocab|merges|chat_template)\.(json|txt|model)", re.A
)
TENSOR = re.compile(
    rf"base_model\.model\.model\.layers\.(?P<layer>0|[1-9][0-9]{{0,3}})"
    rf"\.(?P<module>self_attn\.(?:{'|'.join(ATTENTION_MODULES)})|mlp\.(?:{'|'.join(MLP_MODULES)}))"
    r"\.lora_(?P<side>[AB])\.weight"
)
STRANGERS = {
    "lora_magnitude_vector": "belongs to DoRA, which vLLM does not serve",
    "embed_tokens": "adapts the embeddings, which is not served; adapt the projections of the layers",
    "lm_head": "adapts the output head, which is not served; adapt the projections of the layers",
    ".experts.": "adapts the experts of a mixture, which is not served; adapt the attention",
    "modules_to_save": "replaces a module of the base, which vLLM does not serve",
}


@dataclass(frozen=True, slots=True)
class CheckedAdapter:
    """What an adapter is: `layers` and `target_modules` are those it touches, `bytes` the size of its weights file."""

    rank: int
    alpha: int | float
    rslora: bool
    target_modules: tuple[str, ...]
    layers: tuple[int, ...]
    parameters: int
    bytes: int


def check(folder: Path, base: BaseModel) -> CheckedAdapter:
    """The adapter in a folder, if engines that serve this base can serve it as it is meant.

    `AdapterInvalid` names the first file, field or tensor that cannot be. Opens nothing outside the folder, reads the
    weights once, and holds a few megabytes of them at a time. `OSError` when the folder cannot be listed.
    """
    _, tensors, checked = _described(folder, base)
    require_finite(folder / WEIGHTS_FILE, tensors)
    return checked


def prepare(folder: Path, base: BaseModel, *, into: Path) -> CheckedAdapter:
    """Check an adapter and write what is published into an empty folder: its weights, its configuration written anew.

    The numbers that are checked are those of the copy, so that what was checked is what is published, whatever becomes
    of the folder meanwhile. Equal weights and settings give equal files. `AdapterInvalid` as `check`; then the folder
    is empty again. `OSError` when it cannot be written, or is not empty.
    """
    if any(into.iterdir()):
        raise FileExistsError(f"{str(into)!r} is not empty.")
    config, _, seen = _described(folder, base)
    weights = into / WEIGHTS_FILE
    try:
        _copy(folder / WEIGHTS_FILE, weights, size=seen.bytes)
        tensors = read_header(weights)
        checked = _checked(config, tensors, base=base)
        require_finite(weights, tensors)
        with (into / CONFIG_FILE).open("x", encoding="utf-8") as out:
            settings = rebuilt(replace(config, target_modules=checked.target_modules), base)
            out.write(json.dumps(settings, indent=1, sort_keys=True, ensure_ascii=True) + "\n")
    except BaseException:
        for name in NEEDED:
            (into / name).unlink(missing_ok=True)
        raise
    return checked


def files_of(folder: Path) -> list[str]:
    """The names in a folder that holds an adapter and nothing that could not go with one, sorted."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            _require_known(entry)
            found.append(entry.name)
    for name in NEEDED:
        if name not in found:
            raise AdapterInvalid(f"{shown(name)} is missing. Put it into the folder.", param=name)
    return sorted(found)


def _described(folder: Path, base: BaseModel) -> tuple[AdapterConfig, dict[str, Tensor], CheckedAdapter]:
    """All but the numbers."""
    if not base.enabled:
        raise AdapterInvalid(f"The base {base.id!r} is served without adapters.", param="base_model_name_or_path")
    files_of(folder)
    config = read_config(read_whole(folder / CONFIG_FILE, at_most=LONGEST_CONFIG), base)
    tensors = read_header(folder / WEIGHTS_FILE)
    return config, tensors, _checked(config, tensors, base=base)


def _require_known(entry: os.DirEntry[str]) -> None:
    name = entry.name
    if not entry.is_file(follow_symlinks=False):
        raise AdapterInvalid(
            f"{shown(name)} is a link, a folder or a device. An adapter is a flat folder of plain files.", param=name
        )
    if name in NEEDED or name in IGNORED:
        return
    reason = REASONS.get(Path(name).suffix.lower(), f"does not belong to an adapter, which is {' and '.join(NEEDED)}")
    if OF_TOKENIZER.fullmatch(name):
        reason = "would change the tokens of the base; an adapter holds weights only"
    raise AdapterInvalid(f"{shown(name)} {reason}. Remove it.", param=name)


def _checked(config: AdapterConfig, tensors: Mapping[str, Tensor], *, base: BaseModel) -> CheckedAdapter:
    """What these tensors are, if each belongs to the base, has its partner, and the configuration says the same."""
    shapes = module_shapes(base.architecture)
    sides: dict[tuple[int, str], set[str]] = {}
    for name, tensor in tensors.items():
        layer, module, side = _place(name, base)
        width_in, width_out = shapes[module]
        expected = (config.rank, width_in) if side == "A" else (width_out, config.rank)
        if tensor.shape != expected:
            raise AdapterInvalid(
                f"Tensor {shown(name)} has the shape {list(tensor.shape)}; rank {config.rank} on {base.id!r} needs"
                f" {list(expected)}.",
                param=name,
            )
        sides.setdefault((layer, module), set()).add(side)
    _require_partners(sides)
    _require_agreement(config, sides)
    layers, modules = {layer for layer, _ in sides}, {module for _, module in sides}
    return CheckedAdapter(
        rank=config.rank,
        alpha=config.alpha,
        rslora=config.rslora,
        target_modules=tuple(sorted(modules)),
        layers=tuple(sorted(layers)),
        parameters=sum(prod(tensor.shape) for tensor in tensors.values()),
        bytes=max(tensor.end for tensor in tensors.values()),
    )


def _place(name: str, base: BaseModel) -> tuple[int, str, str]:
    """The layer, module and side that a tensor's name means; `AdapterInvalid` unless the engine adapts that place."""
    found = TENSOR.fullmatch(name)
    if found is None:
        reason = next((reason for mark, reason in STRANGERS.items() if mark in name), None)
        reason = reason or "is not lora_A or lora_B of a projection, as PEFT names them, so vLLM does not serve it"
        raise AdapterInvalid(f"Tensor {shown(name)} {reason}.", param=name)
    layer, module = int(found["layer"]), found["module"].rpartition(".")[2]
    if layer >= base.architecture.num_layers:
        raise AdapterInvalid(
            f"Tensor {shown(name)} is of layer {layer}; {base.id!r} has {base.architecture.num_layers}.", param=name
        )
    if module not in base.modules:
        experts = " is a mixture of experts and" if base.architecture.num_experts > 1 else ""
        raise AdapterInvalid(
            f"Tensor {shown(name)} adapts {module!r}; {base.id!r}{experts} is served with adapters of"
            f" {', '.join(base.modules)} only.",
            param=name,
        )
    return layer, module, found["side"]


def _require_partners(sides: Mapping[tuple[int, str], set[str]]) -> None:
    for (layer, module), found in sides.items():
        if len(found) == 1:
            there, missing = found.copy().pop(), "A" if "B" in found else "B"
            raise AdapterInvalid(
                f"{module!r} of layer {layer} has lora_{there} without lora_{missing}.",
                param=f"layers.{layer}.{module}",
            )


def _require_agreement(config: AdapterConfig, places: Collection[tuple[int, str]]) -> None:
    """The configuration names what the weights hold. As in PEFT, a name is a module's path or any end of it."""
    targets, met = set(config.target_modules), set[str]()
    for layer, module in places:
        path = f"model.layers.{layer}.{'self_attn' if module in ATTENTION_MODULES else 'mlp'}.{module}"
        parts = path.split(".")
        found = targets.intersection(".".join(parts[start:]) for start in range(len(parts)))
        if not found:
            raise AdapterInvalid(
                f"{CONFIG_FILE}: 'target_modules' does not name {path!r}, which the weights have.",
                param="target_modules",
            )
        met |= found
    for name in sorted(targets - met):
        raise AdapterInvalid(
            f"{CONFIG_FILE}: 'target_modules' names {shown(name)}, for which the weights have nothing.",
            param="target_modules",
        )
    if config.layers is not None and config.layers != {layer for layer, _ in places}:
        raise AdapterInvalid(
            f"{CONFIG_FILE}: 'layers_to_transform' is not the list of the layers in the weights.",
            param="layers_to_transform",
        )


def _copy(source: Path, target: Path, *, size: int) -> None:
    """`AdapterInvalid` when the source grew: nobody fills the disk with a file that was small when it was checked."""
    with opened(source) as file, target.open("xb") as out:
        while block := file.read(COPY_BYTES):
            size -= len(block)
            if size < 0:
                raise AdapterInvalid(
                    f"{shown(source.name)} changed while it was read. Send it again.", param=source.name
                )
            out.write(block)
