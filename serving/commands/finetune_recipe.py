"""A recipe's YAML as a job's request: what the file says, what the command line sets over it. Sends nothing.

Owns how the two are put together. What a value may be, the stack says when it gets the job.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import Field, ValidationError

from finetune.order import Recipe
from models.catalog import Catalog, ModelStore
from models.catalog.store import PACKAGE
from models.config import Frozen
from models.errors import ConfigurationError
from models.problems import first_problem, yaml_problem

SET = ("hyperparameters", "metadata", "penstock", "seed")
"""What `--set` may begin with."""
OF_THE_MACHINE = ("device", "threads")
"""What a recipe that runs by itself is told, and a stack knows better."""


class RecipeYaml(Frozen):
    """A recipe's file. `recipe` is the file's name unless it says another."""

    recipe: Recipe | None = None
    model: str | None = Field(None, description="Card to train for.")
    base: str | None = Field(None, description="Folder of a base model; of a card of the catalog it names that.")
    seed: int | None = None
    device: str | None = None
    threads: int | None = None
    hyperparameters: dict[str, Any] = Field(default_factory=dict)


def read_recipe(file: Path) -> RecipeYaml:
    """The file's content; `ConfigurationError` says what is wrong with it."""
    try:
        found = RecipeYaml.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")) or {})
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"Recipe file {file.name!r} is not UTF-8.") from error
    except yaml.YAMLError as error:
        raise ConfigurationError(f"Recipe file {file.name!r} is not YAML: {yaml_problem(error)}.") from error
    except ValidationError as error:
        raise ConfigurationError(f"Recipe file {file.name!r}: {first_problem(error)}.") from error
    if found.recipe is None:
        if file.stem not in get_args(Recipe):
            known = ", ".join(get_args(Recipe))
            raise ConfigurationError(
                f"Recipe file {file.name!r} does not say which recipe it is: add `recipe:` with one of {known}."
            )
        return found.model_copy(update={"recipe": file.stem})
    return found


def model_of(recipe: RecipeYaml, given: str | None) -> str:
    """The card to train for: the command line's, the file's, or the one whose files the file names."""
    if (model := given or recipe.model) is not None:
        return model
    if recipe.base is not None:
        store = ModelStore(None)
        # As the recipe itself would find it when it runs; those that come along name a folder beside their own.
        named = [(folder / recipe.base).resolve() for folder in (Path(), PACKAGE.parent)]
        for card in Catalog.load(None):
            folder = store.find(card)
            if folder is not None and folder.resolve() in named:
                return card.id
    raise ConfigurationError("The recipe names no card to train for: name one with --model, such as demo-small.")


def request_of(recipe: RecipeYaml, *, model: str, ours: Mapping[str, Any], sets: Iterable[str]) -> dict[str, Any]:
    """The job's request, but for its files. `ours`: of the object `penstock`; `sets`: `NAME.NAME=VALUE` over all."""
    body: dict[str, Any] = {
        "model": model,
        "seed": recipe.seed,
        "hyperparameters": dict(recipe.hyperparameters),
        "penstock": {"recipe": recipe.recipe, **ours},
    }
    for one in sets:
        _set(body, one)
    method = "dpo" if recipe.recipe == "dpo" else "supervised"
    told = body.pop("hyperparameters")
    body["method"] = {"type": method, method: {"hyperparameters": told}}
    return {name: value for name, value in body.items() if value is not None}


def left_out(recipe: RecipeYaml) -> list[str]:
    """What of the file the stack decides by itself."""
    return [name for name in OF_THE_MACHINE if getattr(recipe, name) is not None]


def _set(body: dict[str, Any], told: str) -> None:
    path, sign, text = told.partition("=")
    names = path.split(".")
    if not sign or names[0] not in SET or not all(names):
        raise ConfigurationError(
            f"--set wants NAME=VALUE, where NAME begins with {', '.join(SET)}, such as hyperparameters.n_epochs=3;"
            f" not {told[:64]!r}."
        )
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"--set {path[:64]}: {text[:64]!r} is no value: {yaml_problem(error)}.") from error
    inside = body
    for name in names[:-1]:
        inside = inside.setdefault(name, {})
        if not isinstance(inside, dict):
            raise ConfigurationError(f"--set {path[:64]}: there is nothing inside of {name[:64]!r}.")
    inside[names[-1]] = value
