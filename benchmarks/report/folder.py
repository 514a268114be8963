"""A result folder as it lies on the disk: its origin, its summary, its calls, or the sentence why it is no result.

Reads and checks; knows neither what the figures mean nor how they are drawn.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from benchmarks.calls import Call
from models.errors import ConfigurationError

Shape = TypeVar("Shape")
ORIGIN, SUMMARY, CALLS = "origin.json", "summary.json", "calls.jsonl.gz"


@dataclass(frozen=True, slots=True)
class Folder:
    """One stored result. `name` is the folder's own, without the way to it: a page may travel."""

    path: Path
    name: str
    origin: Mapping[str, Any]
    summary: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> Folder:
        """The folder; raises the sentence that says why it is no result."""
        if not path.is_dir():
            raise ConfigurationError(f"{str(path)!r} is no folder. Name one that `penstock bench … --out` has written.")
        if not (path / ORIGIN).exists():
            raise ConfigurationError(f"{str(path)!r} is not a result: it has no {ORIGIN}.")
        return cls(path, path.resolve().name, _object(path / ORIGIN), _object(path / SUMMARY))

    @property
    def config(self) -> Mapping[str, Any]:
        """What was run, as its origin says."""
        found = self.origin.get("config")
        return found if isinstance(found, Mapping) else {}

    @property
    def suite(self) -> str:
        """The suite's name."""
        return str(self.config.get("suite") or self.summary.get("suite") or "")

    @property
    def load(self) -> Mapping[str, Any]:
        """What was sent."""
        found = self.config.get("load")
        return found if isinstance(found, Mapping) else {}

    @property
    def has_calls(self) -> bool:
        """Whether the raw calls lie beside the figures; a folder may have been kept without them."""
        return (self.path / CALLS).exists()

    def calls(self) -> Iterator[tuple[Mapping[str, Any], Call]]:
        """Every stored call, with the fields of its line that are none of a call's: its arm, its trial."""
        if not self.has_calls:
            return
        file, shape = self.path / CALLS, TypeAdapter(Call)
        try:
            with gzip.open(file, "rt", encoding="utf-8") as raw:
                for line in raw:
                    values = _values(line)
                    own = {name: values.pop(name) for name in Call.__slots__ if name in values}
                    yield values, shape.validate_python(own)
        except (OSError, EOFError, zlib.error, ValueError, TypeError, AttributeError) as error:
            raise ConfigurationError(f"{str(file)!r} cannot be read.", detail=str(error)) from error

    def as_shape(self, shape: type[Shape]) -> Shape:
        """The summary as a value of this class; what the class does not know is left out."""
        try:
            return TypeAdapter(shape).validate_python(dict(self.summary))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the file"
            raise ConfigurationError(f"{str(self.path / SUMMARY)!r}: {where}: {first['msg']}.") from None


def _object(file: Path) -> Mapping[str, Any]:
    try:
        found = _values(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{str(file)!r} cannot be read.", detail=str(error)) from error
    if not isinstance(found, Mapping):
        raise ConfigurationError(f"{str(file)!r} holds no JSON object.")
    return found


def _values(text: str) -> Any:
    """JSON, with half characters, which no file can hold, as question marks."""
    found = json.loads(text)
    if "\\ud" not in text.lower():
        return found
    return json.loads(json.dumps(found, ensure_ascii=False).encode(errors="replace"))
