from itertools import islice, pairwise
from pathlib import Path

import pytest
from rich.progress import Progress

pytest.importorskip("transformers")

from models.demo import drills
from models.demo.families import Split, values
from models.demo.families.example import split_of
from models.demo.tiers import WEIGHTS, Recipe, Tier
from models.demo.tokenizer import load_tokenizer, save_tokenizer
from models.demo.train import IGNORED, Encoder, Place, Run, batches, samples

TINY = Tier("tiny", layers=1, hidden=64, feed_forward=64, heads=2)
RECIPE = Recipe(steps=4, finish=2, batch_tokens=1_024, checkpoint_every=2)


def encoder() -> Encoder:
    return Encoder(load_tokenizer(WEIGHTS / "small"))


def test_only_the_assistant_counts_in_the_loss() -> None:
    tokenizer = load_tokenizer(WEIGHTS / "small")
    for sample in islice(samples(encoder(), RECIPE, plain=True), 50):
        learned = [token for token, label in zip(sample.ids, sample.labels, strict=True) if label != IGNORED]
        assert 0 < len(learned) < len(sample.ids)
        assert "<|user|>" not in tokenizer.decode(learned)


def test_workers_get_batches_of_their_own() -> None:
    first, second = (next(batches(encoder(), RECIPE, place=Place(rank, 2))) for rank in range(2))
    assert first[0].shape != second[0].shape or not first[0].equal(second[0])


def test_drills_name_people_of_the_trained_side_only() -> None:
    people = [
        f"{first.text.strip()} {rest.text.split()[0]}"
        for drill in islice(drills.drills(seed=3), 300)
        for first, rest in pairwise(drill)
        if first.text.strip() in values.FIRST_NAMES
    ]
    assert len(people) > 100
    assert {split_of(person) for person in people} == {Split.TRAIN}


def test_a_run_trains_saves_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    save_tokenizer(tmp_path / "tiny")
    run = Run(TINY, RECIPE, out=tmp_path, place=Place(0, 1))
    with Progress(disable=True) as progress:
        run.train(tmp_path / "tiny.pt", progress)
        later = Run(TINY, RECIPE, out=tmp_path, place=Place(0, 1))
        later.resume(tmp_path / "tiny.pt")
    assert (later.step, later.loss) == (4, run.loss)
    assert (tmp_path / "tiny" / "model.safetensors").exists()
