"""The example prompts of the task head: read from their file, and each wording filled with values.

Owns the file's schema and how a wording becomes a few prompts; the same file gives the same prompts. Trains nothing.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, Field, ValidationError

from models.config import Frozen
from models.errors import ConfigurationError

FOLDER = Path(__file__).parents[1] / "tasks"
PROMPTS, UNSEEN = FOLDER / "prompts.yaml", FOLDER / "unseen.yaml"
FILLINGS = 3
"""Prompts that are made of a wording with names in it."""
NAME = re.compile(r"\{([a-z_]+)\}")

Learned = Literal["simple", "code", "reasoning", "extraction", "writing"]
Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt with its two answers, the wording that it was made of, and that wording's family."""

    text: str
    task: str
    retrieval: bool
    wording: str
    family: str


class Family(Frozen):
    """Wordings with one answer."""

    task: Learned = Field(description="What is asked for.")
    retrieval: bool = Field(description="Whether the answer needs what no model can know.")
    texts: tuple[str, ...] = Field(min_length=1, description="Wordings; `{name}` stands for a value of that name.")


class PromptFile(Frozen):
    """`prompts.yaml`."""

    openings: tuple[str, ...] = Field(("",), min_length=1, description="What may stand before a wording.")
    endings: tuple[str, ...] = Field(("",), min_length=1, description="What may stand behind it.")
    values: Mapping[str, tuple[str, ...]] = Field(description="What a name is replaced by.")
    families: Mapping[str, Family] = Field(description="Families by name.")


class UnseenFile(Frozen):
    """`unseen.yaml`."""

    prompts: tuple[Family, ...] = Field(min_length=1, description="Prompts that are measured on; nothing is replaced.")


def read_examples(file: Path = PROMPTS) -> tuple[Example, ...]:
    """Every prompt to learn from; raises `ConfigurationError` with the file and the first thing that is wrong."""
    found = _read(file, PromptFile)
    return tuple(
        Example(text, family.task, family.retrieval, wording, name)
        for name, family in found.families.items()
        for wording in family.texts
        for text in _filled(wording, found, where=f"{file.name!r}, family {name!r}")
    )


def read_unseen(file: Path = UNSEEN) -> tuple[Example, ...]:
    """Every prompt to measure on; raises as `read_examples` does."""
    found = _read(file, UnseenFile)
    return tuple(Example(text, part.task, part.retrieval, text, "") for part in found.prompts for text in part.texts)


def digest(file: Path = PROMPTS) -> str:
    """SHA-256 of the file."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _filled(wording: str, found: PromptFile, *, where: str) -> Iterator[str]:
    """The wording with values, each of a name's values once per prompt; the first as it stands, others with manners."""
    names = Counter(NAME.findall(wording))
    for name, times in names.items():
        if name not in found.values:
            raise ConfigurationError(f"{where}: no values are listed for {name!r}.")
        if times > len(found.values[name]):
            raise ConfigurationError(f"{where}: {name!r} has fewer values than a wording asks for.")
    chance, made = random.Random(wording), set()
    for number in range(FILLINGS):
        text = _once(wording, found.values, chance=chance)
        if number:
            text = f"{chance.choice(found.openings)}{text}{chance.choice(found.endings)}"
        if text not in made:
            made.add(text)
            yield text


def _once(wording: str, values: Mapping[str, tuple[str, ...]], *, chance: random.Random) -> str:
    left = {name: chance.sample(values[name], len(values[name])) for name in NAME.findall(wording)}
    return NAME.sub(lambda match: left[match[1]].pop(), wording)


def _read(file: Path, schema: type[Model]) -> Model:
    try:
        values: Any = yaml.safe_load(file.read_text())
        return schema.model_validate(values)
    except OSError as error:
        raise ConfigurationError(f"The prompts in {str(file)!r} cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"The file of prompts {file.name!r} is not YAML.", detail=str(error)) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        raise ConfigurationError(f"The file of prompts {file.name!r}: {where}: {first['msg']}.") from error
