import json
import math
import subprocess
import sys
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from finetune.order import Stop, Trained, TrainingFailed, TrainingOrder
from finetune.recipes import RECIPES, train_by
from finetune.training.adapter import load_base
from models.adapters.archive import pack, unpack
from models.adapters.check import prepare
from models.adapters.foundation import base_of
from models.catalog.loader import Catalog
from models.demo.families.topics import WORDS as TOPIC_WORDS
from models.demo.tiers import WEIGHTS
from tests.finetune.tiny import Told, numbers, order, pair_line, weights_of

ROOT = Path(__file__).parents[3]


def same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(value, theirs[name]) for name, value in ours.items())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingOrder, Told, Trained]:
    """A training of eight steps that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    told = Told(folder)
    asked = order(folder)
    return asked, told, train_by(asked, told)


def test_a_training_tells_its_plan_its_steps_and_its_looks(whole: tuple[TrainingOrder, Told, Trained]) -> None:
    _, told, trained = whole
    assert told.plan is not None
    assert (trained.step, trained.steps, told.plan[0], trained.tokens) == (8, 8, 8, told.plan[1])
    assert list(told.steps) == list(range(1, 9))
    assert {"train_loss", "learning_rate", "tokens", "tokens_per_s"} <= told.steps[1].keys()
    assert [step for step, one in told.steps.items() if "valid_loss" in one] == [2, 4, 6, 8]
    assert told.steps[8]["valid_loss"] < told.steps[2]["valid_loss"]


def test_the_rate_warms_up_and_falls_to_zero_as_a_cosine(tmp_path: Path) -> None:
    told = Told(tmp_path)
    train_by(order(tmp_path, hyperparameters=numbers(warmup_ratio=0.25), validation=None), told)
    rates = [one["learning_rate"] for one in told.steps.values()]
    assert rates[:3] == pytest.approx([0.0, 0.005, 0.01])
    assert rates[5] == pytest.approx(0.005)
    assert rates[2:] == sorted(rates[2:], reverse=True)


def test_a_checkpoint_is_flat_and_holds_no_pickle(whole: tuple[TrainingOrder, Told, Trained]) -> None:
    _, told, _ = whole
    assert list(told.checkpoints) == [3, 6, 8]
    for folder in told.checkpoints.values():
        assert {path.suffix for path in folder.iterdir()} == {".safetensors", ".json"}
        assert all(path.is_file() for path in folder.iterdir())


@pytest.mark.parametrize("step", [3, 6, 8])
def test_a_resumed_training_is_the_unbroken_one_bit_by_bit(
    whole: tuple[TrainingOrder, Told, Trained], tmp_path: Path, step: int
) -> None:
    asked, told, trained = whole
    again = Told(tmp_path)
    resumed = train_by(asked.model_copy(update={"folder": tmp_path, "resume": told.checkpoints[step]}), again)
    assert again.curve == {at: one for at, one in told.curve.items() if at > step}
    assert same(weights_of(resumed), weights_of(trained))
    assert (resumed.tokens, resumed.step) == (trained.tokens, trained.step)


def test_a_paused_training_keeps_a_checkpoint_and_goes_on_from_it(
    whole: tuple[TrainingOrder, Told, Trained], tmp_path: Path
) -> None:
    asked, told, trained = whole
    first, second = Told(tmp_path, stop_at=4), Told(tmp_path)
    paused = train_by(asked.model_copy(update={"folder": tmp_path / "a"}), first)
    assert (paused.step, paused.stopped, paused.adapter) == (4, "pause", None)
    resumed = train_by(asked.model_copy(update={"folder": tmp_path / "b", "resume": first.checkpoints[4]}), second)
    assert first.curve | second.curve == told.curve
    assert same(weights_of(resumed), weights_of(trained))


def test_a_cancelled_training_keeps_nothing_new(whole: tuple[TrainingOrder, Told, Trained], tmp_path: Path) -> None:
    told = Told(tmp_path, stop_at=2, reason="cancel")
    cancelled = train_by(whole[0].model_copy(update={"folder": tmp_path}), told)
    assert (cancelled.step, cancelled.stopped, told.checkpoints) == (2, "cancel", {})


@pytest.mark.parametrize("reason", ["cap", "cancel"])
def test_a_training_that_may_not_begin_makes_no_step(tmp_path: Path, reason: Stop) -> None:
    """Such as one whose plan is beyond what its job may cost."""
    told = Told(tmp_path, stop_at=0, reason=reason)
    ended = train_by(order(tmp_path), told)
    assert (ended.step, ended.tokens, ended.stopped, ended.adapter) == (0, 0, reason, None)
    assert (told.steps, told.checkpoints) == ({}, {})


KILLED = """
import os, sys
from pathlib import Path
from finetune.order import TrainingOrder
from finetune.recipes import train_by
from tests.finetune.tiny import Told

class Killed(Told):
    def metrics(self, step, metrics):
        if step == 5:
            os._exit(9)

train_by(TrainingOrder.model_validate_json(sys.argv[1]), Killed(Path(sys.argv[2])))
"""


def test_a_killed_training_goes_on_from_its_last_whole_checkpoint(
    whole: tuple[TrainingOrder, Told, Trained], tmp_path: Path
) -> None:
    asked, told, trained = whole
    work = asked.model_copy(update={"folder": tmp_path / "work"})
    command = [sys.executable, "-c", KILLED, work.model_dump_json(), str(tmp_path)]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, timeout=240, check=False).returncode == 9
    assert [path.name for path in (tmp_path / "work" / "checkpoints").iterdir()] == ["step-0000003"]
    (tmp_path / "work" / "checkpoints" / ".draft-step-0000006").mkdir()
    again = Told(tmp_path)
    resumed = train_by(work.model_copy(update={"resume": tmp_path / "kept-3"}), again)
    assert again.curve == {at: one for at, one in told.curve.items() if at > 3}
    assert same(weights_of(resumed), weights_of(trained))
    assert not (tmp_path / "work" / "checkpoints" / ".draft-step-0000006").exists()


def test_a_checkpoint_of_another_training_is_refused(
    whole: tuple[TrainingOrder, Told, Trained], tmp_path: Path
) -> None:
    asked, told, _ = whole
    other = asked.model_copy(update={"folder": tmp_path, "resume": told.checkpoints[3], "seed": 4})
    with pytest.raises(TrainingFailed, match="another training"):
        train_by(other, Told(tmp_path))


def test_the_adapter_is_that_of_the_best_look_and_patience_ends_a_training(tmp_path: Path) -> None:
    asked = order(tmp_path, hyperparameters=numbers(n_epochs=20, learning_rate=0.5, evaluate_every=1, patience=3))
    told = Told(tmp_path)
    trained = train_by(asked, told)
    losses = {step: one["valid_loss"] for step, one in told.steps.items()}
    best = min(losses, key=losses.__getitem__)
    assert trained.step == best + 3 < trained.steps
    assert trained.metrics["best_valid_loss"] == losses[best]
    resumed = train_by(asked.model_copy(update={"resume": told.checkpoints[trained.step]}), Told(tmp_path))
    assert resumed.step == trained.step
    assert same(weights_of(resumed), weights_of(trained))


def test_numbers_that_are_none_end_it_at_once_and_leave_the_last_good_checkpoint(tmp_path: Path) -> None:
    asked = order(tmp_path)
    weights = dict(load_file(asked.base / "model.safetensors"))
    weights["model.norm.weight"][0] = float("nan")
    save_file(weights, asked.base / "model.safetensors", metadata={"format": "pt"})
    told = Told(tmp_path)
    with pytest.raises(TrainingFailed) as failed:
        train_by(asked, told)
    assert failed.value.code == "diverged"
    assert told.steps == {}
    assert told.checkpoints == {}


def test_memory_that_is_not_there_is_told(tmp_path: Path) -> None:
    class Full(Told):
        def metrics(self, step: int, metrics: object) -> None:
            torch.empty(2**60)

    with pytest.raises(TrainingFailed) as failed:
        train_by(order(tmp_path), Full(tmp_path))
    assert failed.value.code == "out_of_memory"


def test_a_base_whose_weights_are_gone_is_unavailable(tmp_path: Path) -> None:
    asked = order(tmp_path)
    (asked.base / "model.safetensors").unlink()
    with pytest.raises(TrainingFailed) as failed:
        train_by(asked, Told(tmp_path))
    assert failed.value.code == "model_unavailable"
    assert str(tmp_path) not in failed.value.public


@pytest.mark.parametrize("recipe", ["lora_sft", "qlora_sft"])
def test_the_adapter_of_the_demo_model_can_be_published(tmp_path: Path, recipe: str) -> None:
    nf4 = "nf4" if recipe == "qlora_sft" else "none"
    wanted = numbers(quantization=nf4, n_epochs=1, batch_size=24, use_rslora=True)
    made = order(tmp_path, recipe=recipe, hyperparameters=wanted, validation=None)
    told = Told(tmp_path)
    trained = train_by(made.model_copy(update={"base": WEIGHTS / "large"}), told)
    base = base_of(Catalog.load().card("demo-large"), WEIGHTS / "large")
    assert trained.adapter is not None
    for number, folder in enumerate((trained.adapter, *told.checkpoints.values())):  # checkpoints can be as well
        archive, came, into = (tmp_path / f"{name}-{number}" for name in ("zip", "came", "into"))
        came.mkdir()
        into.mkdir()
        pack(folder, archive)
        unpack(archive, came, max_bytes=2**30, max_files=2)
        checked = prepare(came, base, into=into)
        assert (checked.rank, checked.rslora, checked.target_modules) == (4, True, ("q_proj", "v_proj"))
    assert told.checkpoints


def test_looks_at_a_base_in_4_bits_change_nothing_of_what_is_learned(tmp_path: Path) -> None:
    """The demo model's matrices are of a size that bitsandbytes lays out anew for inference."""
    wanted = numbers(quantization="nf4", n_epochs=1, lora_dropout=0.0, evaluate_every=1)
    made = order(tmp_path, recipe="qlora_sft", hyperparameters=wanted).model_copy(update={"base": WEIGHTS / "large"})
    found = []
    for name, update in (("with", {}), ("without", {"validation": None})):
        told = Told(tmp_path / name)
        train_by(made.model_copy(update={"folder": tmp_path / f"work-{name}", **update}), told)
        found.append([one["train_loss"] for one in told.steps.values()])
    assert len(found[0]) == 4
    assert found[0] == found[1]


def test_dora_learns_magnitudes_too(tmp_path: Path) -> None:
    trained = train_by(order(tmp_path, hyperparameters=numbers(use_dora=True, n_epochs=1)), Told(tmp_path))
    assert any("lora_magnitude_vector" in name for name in weights_of(trained))


def preferences(path: Path, words: Sequence[str]) -> Path:
    """After `best` yes is preferred, after `boat` no; the base says yes to both, and so is right half the time."""
    lines = [
        pair_line(f"{first} {one} {other}", *answers)
        for first, answers in (("best", ("yes", "no")), ("boat", ("no", "yes")))
        for one, other in permutations(words, 2)
    ]
    path.write_text("\n".join(lines))
    return path


def test_preferences_are_learned_against_the_base(tmp_path: Path) -> None:
    words = [word for word in sorted(TOPIC_WORDS) if word not in ("best", "boat")]
    modules = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    wanted = numbers(packing=False, n_epochs=2, batch_size=18, learning_rate=5e-3, target_modules=modules)
    made = TrainingOrder(
        job="j",
        recipe="dpo",
        base=WEIGHTS / "large",
        training=preferences(tmp_path / "train.jsonl", words[:10]),
        validation=preferences(tmp_path / "valid.jsonl", words[10:15]),
        folder=tmp_path / "work",
        hyperparameters=wanted.model_copy(update={"evaluate_every": 10, "checkpoint_every": 100}),
        seed=1,
        threads=1,
    )
    told = Told(tmp_path)
    trained = train_by(made, told)
    before = told.facts["Before the first step."]
    assert before["valid_loss"] == pytest.approx(math.log(2), abs=1e-3)  # the policy is the reference
    assert 0.3 <= before["preference_rate"] <= 0.7
    assert trained.metrics["preference_rate"] >= 0.9


def test_every_recipe_has_a_yaml_that_opens_with_its_command() -> None:
    for name in RECIPES:
        first = (ROOT / "finetune" / "recipes" / f"{name}.yaml").read_text().splitlines()[0]
        assert first.startswith(f"# python -m finetune.recipes.{name} --config finetune/recipes/{name}.yaml --data ")


@pytest.mark.parametrize("more", [[], ["--processes", "2"]])
def test_the_command_trains_and_prints_where_the_adapter_is(tmp_path: Path, more: list[str]) -> None:
    made = order(tmp_path)
    (tmp_path / "r.yaml").write_text(json.dumps({"base": str(made.base), "hyperparameters": {"n_epochs": 1}}))
    options = ["--config", tmp_path / "r.yaml", "--data", made.training, "--out", tmp_path / "out"]
    command = [sys.executable, "-m", "finetune.recipes.lora_sft", *map(str, options), *more]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path / "out" / "adapter"))
    assert len(done.stdout.splitlines()) == 1
    assert (tmp_path / "out" / "adapter" / "adapter_config.json").exists()


def test_the_command_says_in_one_sentence_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(json.dumps({"base": str(WEIGHTS / "large"), "hyperparameters": {"lora_rank": 0}}))
    options = ["--config", tmp_path / "r.yaml", "--data", tmp_path / "none", "--out", tmp_path / "out"]
    command = [sys.executable, "-m", "finetune.recipes.dpo", *map(str, options)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 1
    assert "hyperparameters.lora_rank" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_training_with_a_share_of_a_gpu_takes_no_more_of_its_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[float] = []
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", taken.append)
    for device, share in (("cuda", 0.12), ("cuda", 1.0), ("cpu", 0.5)):
        load_base(order(tmp_path, device=device, gpu_share=share))
    assert taken == [0.12]
