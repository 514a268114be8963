"""A recipe from the command line: its YAML, a file, a folder, and a bar. No torch.

Owns options and what is printed. `train` comes from the recipe that is run.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from finetune.hyperparameters import asked, resolved
from finetune.order import Recipe, Reporter, Stop, Trained, TrainingFailed, TrainingOrder
from finetune.training.corpus import encoder_of, examples_of, pairs_of
from finetune.training.facts import BaseFacts
from models.config import Frozen
from models.errors import ConfigurationError, PenstockError
from models.problems import first_problem, yaml_problem

Train = Callable[[TrainingOrder, Reporter], Trained]


class RecipeFile(Frozen):
    """The YAML beside a recipe."""

    base: Path = Field(description="The base model's folder.")
    seed: int = Field(1, ge=0)
    device: Literal["cpu", "cuda"] = "cpu"
    threads: int | None = Field(None, ge=1, description="Of a CPU; unset: torch's choice.")
    hyperparameters: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> RecipeFile:
        """`ConfigurationError` says what is wrong with it."""
        try:
            return cls.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"Recipe file {path.name!r} cannot be read.", detail=str(error)) from error
        except yaml.YAMLError as error:
            raise ConfigurationError(f"Recipe file {path.name!r} is not YAML: {yaml_problem(error)}.") from error
        except ValidationError as error:
            raise ConfigurationError(f"Recipe file {path.name!r}: {first_problem(error)}.") from error


class ConsoleReporter:
    """Tells a terminal: a bar, and a line for every event."""

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self.progress = Progress(*columns, TimeRemainingColumn(), console=console)
        self._console = console
        self._task = self.progress.add_task("reading", total=None)

    def event(self, message: str, *, level: Literal["info", "warn"] = "info", **data: Any) -> None:
        """A line above the bar."""
        more = "  ".join(f"{name} {value:.4g}" for name, value in data.items() if isinstance(value, float))
        self._line(f"{message}  {more}".rstrip(), style="yellow" if level == "warn" else "dim")

    def planned(self, *, steps: int, tokens: int) -> None:
        """The bar's length."""
        self.event(f"{steps:,} steps, {tokens:,} tokens.")
        self.progress.update(self._task, total=steps, description="training")

    def metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        """The bar's place; a line for every look."""
        told = f"loss {metrics['train_loss']:.4f}  {metrics['tokens_per_s']:,.0f} tokens/s"
        self.progress.update(self._task, completed=step, description=told)
        if "valid_loss" in metrics:
            shown: dict[str, Any] = {
                name: metrics[name] for name in ("valid_loss", "preference_rate") if name in metrics
            }
            self.event(f"Step {step}:", **shown)

    def checkpoint(self, step: int, folder: Path, *, metrics: Mapping[str, float]) -> None:
        """It stays where it is until the next one."""

    def stop(self) -> Stop | None:
        """Ctrl-C ends it."""
        return None

    def _line(self, text: str, *, style: str) -> None:
        self._console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def order_of(config: RecipeFile, options: argparse.Namespace, *, recipe: Recipe) -> tuple[TrainingOrder, list[str]]:
    """The training that the options ask for, and the rules by which open numbers were chosen."""
    open_ = asked(config.hyperparameters, recipe=recipe, served=False)
    encoder, base = encoder_of(config.base), BaseFacts.of(config.base)
    read = pairs_of if recipe == "dpo" else examples_of
    data = read(options.data, encoder, longest=base.context)
    numbers, rules = resolved(
        open_,
        examples=len(data) // (2 if recipe == "dpo" else 1),
        trained_tokens=int(data.lengths.sum()),
        parameters=base.parameters,
        modules=base.modules,
        context=base.context,
    )
    order = TrainingOrder(
        job="command-line",
        recipe=recipe,
        base=config.base,
        training=options.data,
        validation=options.validation,
        folder=options.out,
        hyperparameters=numbers,
        seed=config.seed,
        device=config.device,
        threads=config.threads,
        resume=options.resume,
        processes=options.processes,
    )
    return order, rules


def run(train: Train, *, recipe: Recipe, arguments: list[str] | None = None) -> None:
    """Read the options, train, and say where the adapter is. Exits with 1 and one sentence when it cannot."""
    options = _options(recipe, arguments)
    console = Console(stderr=True)
    try:
        order, rules = order_of(RecipeFile.read(options.config), options, recipe=recipe)
        options.out.mkdir(parents=True, exist_ok=True)
        reporter = ConsoleReporter(console)
        for rule in rules:
            reporter.event(rule)
        with reporter.progress:
            trained = train(order, reporter)
    except TrainingFailed as error:
        where = "" if error.line is None or f"line {error.line}" in error.public else f" (line {error.line})"
        raise SystemExit(f"{error.public}{where}") from None
    except (PenstockError, ConnectionError) as error:  # the latter: a process of several is lost
        raise SystemExit(str(error)) from None
    figures = "  ".join(f"{name} {value:.4g}" for name, value in sorted(trained.metrics.items()))
    Console().print(f"{trained.adapter}  {figures}", markup=False, highlight=False, soft_wrap=True)


def _options(recipe: Recipe, arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"python -m finetune.recipes.{recipe}", description="Train an adapter.")
    default = Path(__file__).with_name(f"{recipe}.yaml")
    parser.add_argument("--config", type=Path, default=default, help="the recipe's YAML (default: the one beside it)")
    parser.add_argument("--data", type=Path, required=True, help="JSONL with examples")
    parser.add_argument("--validation", type=Path, help="JSONL with held-out examples, for looks and early stopping")
    parser.add_argument("--out", type=Path, required=True, help="folder that gets 'adapter' and 'checkpoints'")
    parser.add_argument("--resume", type=Path, help="a checkpoint's folder to go on from")
    parser.add_argument(
        "--processes", type=int, default=1, help="share the steps among so many, each on a GPU of its own"
    )
    options = parser.parse_args(arguments)
    if options.processes < 1:
        parser.error("--processes: at least 1")
    return options
