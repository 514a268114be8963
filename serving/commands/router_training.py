"""`penstock router train`, `evaluate` and `calibrate`: a model from labelled prompts, and how good it is on others.

Local: asks no stack. What is done is in `router/training`, which needs the extra `router` and is imported when a
command runs. Owns what is printed; the options are `router_inputs.py`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchmarks.origin import origin
from models.errors import ConfigurationError
from models.privacy import for_owner_alone
from serving.commands.options import JsonOption, StateOption, finite, state_of
from serving.commands.router_inputs import (
    DataOption,
    GroupOption,
    PolicyOption,
    RoundsOption,
    RouterOption,
    SeedOption,
    StrongOption,
    WeakOption,
    bars,
    embedder_of,
    features,
    labelled_prompts,
    library,
    make_folder,
    warn,
)
from serving.commands.terminal import out, print_json

if TYPE_CHECKING:
    from router.model import RouterModel

LIBRARIES = ("numpy", "scikit-learn", "lightgbm")
"""What a figure of a router hangs on beside the origin's usual packages."""

app = typer.Typer()


@app.command("train")
def train(
    data: DataOption,
    to: Annotated[Path, typer.Option("--out", help="Folder of the model; made when missing.", show_default=False)],
    *,
    weak: WeakOption = None,
    strong: StrongOption = None,
    group: GroupOption = None,
    seed: SeedOption = 0,
    rounds: RoundsOption = 400,
    as_json: JsonOption = False,
    state_dir: StateOption = None,
) -> None:
    """Train a router on labelled prompts; minutes for the embeddings the first time, then seconds."""
    fit = library("training.fit")
    labelled = labelled_prompts(data, weak=weak, strong=strong, group=group)
    make_folder(to)
    embedder = embedder_of(state_of(state_dir))
    with bars() as bar:
        prompts = features(labelled.prompts, embedder, bar=bar, cache=state_of(state_dir).embeddings)
        step = bar("training", library("training.folds").FOLDS + 1)
        recipe = fit.Recipe.of(embedder, seed=seed, rounds=rounds, heard=lambda: step(1))
        try:
            trained = fit.train(prompts, labelled, recipe=recipe)
        except ValueError as error:
            raise ConfigurationError(f"A router cannot be trained on this data: {error}.") from error
    with for_owner_alone():
        written = trained.model.write(to)
    warn(written.warnings)
    if as_json:
        print_json({"router": str(to), **written.model_dump(exclude={"quantiles"})})
    else:
        out().print(f"Trained on {len(labelled):,} prompts: {to}", markup=False)
        out().print(f"How good it is: penstock router evaluate --router {to} --data OTHER.jsonl", markup=False)


@app.command("evaluate")
def evaluate(
    data: DataOption,
    *,
    router: Annotated[
        Path | None, typer.Option(help="Folder of a trained model.", show_default="5-fold cross-validation")
    ] = None,
    policy: PolicyOption = "learned",
    weak: WeakOption = None,
    strong: StrongOption = None,
    group: GroupOption = None,
    seed: SeedOption = 0,
    rounds: RoundsOption = 400,
    to: Annotated[Path | None, typer.Option("--out", help="Folder for the report: JSON, Markdown, pictures.")] = None,
    as_json: JsonOption = False,
    state_dir: StateOption = None,
) -> None:
    """Measure a router on labelled prompts: a trained one on data that it has not seen, or the recipe fold by fold."""
    assess, report, started = library("training.assess"), library("training.report"), time.time()
    model = None if router is None else library("model").read_model(router)
    labelled = labelled_prompts(data, weak=weak, strong=strong, group=group)
    if to is not None:
        make_folder(to)
    embedder = embedder_of(state_of(state_dir))
    if model is not None:
        model.manifest.require(embedder)
    with bars() as bar:
        prompts = features(labelled.prompts, embedder, bar=bar, cache=state_of(state_dir).embeddings)
        try:
            if model is not None:
                found = assess.judge(model, prompts, labelled=labelled, seed=seed, policy=policy)
            else:
                step = bar("training", assess.STEPS)
                fit = library("training.fit")
                recipe = fit.Recipe.of(embedder, seed=seed, rounds=rounds, heard=lambda: step(1))
                found = assess.crossvalidate(prompts, labelled, recipe=recipe, policy=policy)
        except ValueError as error:
            raise ConfigurationError(f"This data cannot be used to judge a router: {error}.") from error
    if to is not None:
        names = {"data": [file.name for file in data], "weak": weak, "strong": strong, "group": group}
        ran = _what_ran(model, rounds=rounds)
        report.write_report(found, to)
        beside = origin(
            config={**names, **ran, "policy": policy, "embedder": embedder.id, "data_digest": found.data_digest},
            seeds=[seed],
            counts={"prompts": found.prompts},
            started=started,
            more=LIBRARIES,
        )
        (to / "origin.json").write_text(json.dumps(beside, indent=1) + "\n")
    warn(found.warnings)
    if as_json:
        print_json(report.as_json(found))
    else:
        out().print(report.markdown(found), markup=False)


ConfidenceOption = Annotated[
    float,
    typer.Option(
        min=0.5, max=0.99, callback=finite, help="How sure the quality floor is to hold on prompts like --data."
    ),
]


@app.command("calibrate")
def calibrate(
    router: RouterOption,
    *,
    policy: PolicyOption = "learned",
    large_share: Annotated[
        float | None, typer.Option(min=0, max=1, callback=finite, help="Wanted share of calls to the large tier.")
    ] = None,
    quality_floor: Annotated[
        float | None,
        typer.Option(min=0, max=1, callback=finite, help="Least quality, as a share of always-large's; needs --data."),
    ] = None,
    cost_ceiling: Annotated[
        float | None,
        typer.Option(min=0, callback=finite, help="Most cost, as a share of always-large's; needs --small-price."),
    ] = None,
    small_price: Annotated[
        float | None,
        typer.Option(min=0, max=1, callback=finite, help="A small call's price, as a share of a large one's."),
    ] = None,
    confidence: ConfidenceOption = 0.95,
    data: Annotated[list[Path] | None, typer.Option("--data", help="Labelled prompts that it has not seen.")] = None,
    weak: WeakOption = None,
    strong: StrongOption = None,
    group: GroupOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
    state_dir: StateOption = None,
) -> None:
    """Turn a target into the threshold that is kept with the model: a share, a quality floor or a cost ceiling."""
    calibration = library("training.calibrate")
    if [large_share, quality_floor, cost_ceiling].count(None) != 2:
        raise ConfigurationError("Name one target: --large-share, --quality-floor or --cost-ceiling.")
    model = library("model").read_model(router)
    make_folder(router)
    if large_share is not None:
        found = calibration.for_share(model, large_share, policy=policy)
    elif cost_ceiling is not None:
        if small_price is None:
            raise ConfigurationError("A cost ceiling needs the small tier's price: --small-price 0.1.")
        found = calibration.for_cost(model, cost_ceiling, small_price=small_price, policy=policy)
    else:
        if not data:
            raise ConfigurationError("A quality floor is found on labelled prompts: --data FILE.")
        labelled = labelled_prompts(data, weak=weak, strong=strong, group=group)
        embedder = embedder_of(state_of(state_dir))
        model.manifest.require(embedder)
        with bars() as bar:
            prompts = features(labelled.prompts, embedder, bar=bar, cache=state_of(state_dir).embeddings)
        found = calibration.for_quality(
            model, quality_floor, seen=(prompts, labelled), policy=policy, confidence=confidence, seed=seed
        )
    with for_owner_alone():
        calibration.with_threshold(model, found.threshold, policy=policy).write(router)
    warn(found.warnings)
    if as_json:
        print_json(calibration.as_json(found))
    else:
        out().print(calibration.markdown(found), markup=False)


def _what_ran(model: RouterModel | None, *, rounds: int) -> Mapping[str, Any]:
    return {"rounds": rounds} if model is None else {"router": model.manifest.weights_digest}
