"""One training in several processes: the update of each step is the one that a single process makes."""

import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import pytest
import torch

from finetune.order import Trained, TrainingFailed, TrainingOrder
from finetune.recipes import train_by
from finetune.training.group import MemberLost
from finetune.training.packing import shared
from tests.finetune.tiny import Told, members_of, numbers, order, pair_line, weights_of

CLOSE = {"rtol": 1e-4, "atol": 1e-6}
"""Sums in another order, in float32."""


def asked(folder: Path, *, processes: int = 2, **changes: object) -> TrainingOrder:
    """Without dropout, whose draws are a process's own."""
    return order(folder, hyperparameters=numbers(lora_dropout=0.0), processes=processes, **changes)


def assert_close(ours: Trained, theirs: Trained) -> None:
    """The same adapter, but for the order of sums."""
    mine, other = weights_of(ours), weights_of(theirs)
    assert mine.keys() == other.keys()
    for name, value in mine.items():
        torch.testing.assert_close(value, other[name], **CLOSE)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Told, Trained]:
    folder = tmp_path_factory.mktemp("alone")
    told = Told(folder)
    return told, train_by(asked(folder, processes=1), told)


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingOrder, Told, Trained]:
    folder = tmp_path_factory.mktemp("together")
    told, wish = Told(folder), asked(folder)
    return wish, told, train_by(wish, told)


def test_two_processes_make_the_steps_of_one(
    alone: tuple[Told, Trained], together: tuple[TrainingOrder, Told, Trained]
) -> None:
    (single, theirs), (wish, told, ours) = alone, together
    assert told.steps.keys() == single.steps.keys()
    for step, figures in told.steps.items():
        expected = {name: value for name, value in single.steps[step].items() if name != "tokens_per_s"}
        assert {name: figures[name] for name in expected} == pytest.approx(expected, rel=1e-4)
    assert told.plan == single.plan
    assert_close(ours, theirs)
    assert members_of(wish.folder) == []
    assert {path.name for path in wish.folder.iterdir()} == {"adapter", "checkpoints"}


def test_one_process_goes_on_with_a_checkpoint_of_two(
    alone: tuple[Told, Trained], together: tuple[TrainingOrder, Told, Trained], tmp_path: Path
) -> None:
    wish, told, _ = together
    changes = {"folder": tmp_path, "processes": 1, "resume": told.checkpoints[3]}
    assert_close(train_by(wish.model_copy(update=changes), Told(tmp_path)), alone[1])


def test_pairs_are_shared_as_well_and_a_step_may_have_fewer_rows_than_processes(tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(f"{pair_line(f'order {one}', 'late', 'refund bill')}\n" for one in range(7)))
    hyperparameters = numbers(lora_dropout=0.0, batch_size=3)
    found = []
    for processes in (1, 2):
        wish = order(tmp_path, recipe="dpo", training=pairs, validation=pairs, hyperparameters=hyperparameters)
        told = Told(tmp_path / str(processes))
        changes = {"folder": tmp_path / f"work-{processes}", "processes": processes}
        found.append((told, train_by(wish.model_copy(update=changes), told)))
    (first, theirs), (second, ours) = found
    assert [one.get("preference_rate") for one in first.steps.values()] == [
        one.get("preference_rate") for one in second.steps.values()
    ]
    assert_close(ours, theirs)


def test_the_leaders_word_stops_all(tmp_path: Path) -> None:
    told, wish = Told(tmp_path, stop_at=2), asked(tmp_path)
    ended = train_by(wish, told)
    assert (ended.step, ended.stopped, ended.adapter) == (2, "pause", None)
    assert list(told.checkpoints) == [2]
    assert members_of(wish.folder) == []


@dataclass
class Killing(Told):
    """Kills the members at a step."""

    folder: Path = Path()

    def metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        super().metrics(step, metrics)
        if step == 4:
            subprocess.run(["kill", "-9", *map(str, members_of(self.folder))], check=True)


def test_a_lost_member_ends_the_training_and_another_goes_on_from_its_checkpoint(
    alone: tuple[Told, Trained], tmp_path: Path
) -> None:
    wish = asked(tmp_path)
    told = Killing(tmp_path, folder=wish.folder)
    with pytest.raises(MemberLost):
        train_by(wish, told)
    resumed = train_by(wish.model_copy(update={"resume": told.checkpoints[3]}), Told(tmp_path / "again"))
    assert_close(resumed, alone[1])


def test_what_a_member_fails_by_is_what_the_training_fails_by(tmp_path: Path) -> None:
    wish = asked(tmp_path)
    bad = tmp_path / "bad.jsonl"
    bad.write_text("no example\n")

    def spoil() -> None:
        """Give the member another file than the leader's, before it has read its order."""
        told = wish.folder / "group" / "member-1.json"
        while not told.exists():
            time.sleep(0.01)
        time.sleep(0.1)
        told.write_text(told.read_text().replace(str(wish.training), str(bad)))

    thread = Thread(target=spoil)
    thread.start()
    with pytest.raises(TrainingFailed) as caught:
        train_by(wish, Told(tmp_path))
    thread.join()
    assert (caught.value.code, caught.value.line) == ("invalid_data", 1)
    assert members_of(wish.folder) == []


def test_rows_are_shared_by_their_tokens() -> None:
    rows = [(0,), (1, 2), (3,), (4,)]
    parts = shared(rows, [8, 3, 3, 5, 1], among=2)
    assert parts == [[(0,), (4,)], [(1, 2), (3,)]]
    assert shared(rows, [8, 3, 3, 5, 1], among=1) == [sorted(rows, key=lambda row: row != (0,))]
    assert shared([(0,)], [2], among=3) == [[(0,)], [], []]
