import json
from pathlib import Path

import numpy as np
import pytest

from finetune.measure import main, order_for, plan_of, rows_of, table_of
from finetune.training.batches import IGNORED
from finetune.training.corpus import Corpus, encoder_of, examples_of

FOUND = {
    "tokens_per_s": {name: {"median": 200.0, "low": 100.0, "high": 300.0, "count": 5} for name in ("packed", "padded")},
    "through_the_model": {"packed": 10_000.0, "padded": 40_000.0},
    "loss": {"packed": 0.5, "padded": 0.5},
    "gain": {"median": 4.0, "low": 3.5, "high": 4.5, "count": 5},
    "gain_of_processor_time": {"median": 3.9, "low": 3.6, "high": 4.1, "count": 5},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    order = order_for(tmp_path_factory.mktemp("data"), count=64, seed=1, n_epochs=1, batch_size=16)
    return examples_of(order.training, encoder_of(order.base), longest=order.hyperparameters.max_length)


def test_most_of_the_measured_chats_are_short_and_some_are_long(data: Corpus) -> None:
    assert data.lengths.max() > 4 * np.median(data.lengths)


def test_both_arms_learn_the_same_tokens_of_the_same_examples(data: Corpus, tmp_path: Path) -> None:
    order = order_for(tmp_path, count=64, seed=1, n_epochs=1, batch_size=16)
    step = plan_of(order, data)[2].examples
    rows = rows_of(data, step)
    assert [len(row["input_ids"]) for row in rows] == data.lengths[step].tolist()
    assert sum(label != IGNORED for row in rows for label in row["labels"]) == data.learned_of(step)


def test_the_table_says_how_much_faster_and_of_how_many_rounds() -> None:
    table = table_of("packing", FOUND)
    assert "| packed | 200 | 100 to 300 | 10,000 | 0.5000 |" in table
    assert "4.00 times as fast (3.50 to 4.50, n = 5)" in table


def test_memory_is_measured_with_its_origin(tmp_path: Path) -> None:
    main(["memory", "--out", str(tmp_path / "found")])
    found = json.loads((tmp_path / "found" / "summary.json").read_text())
    assert found["base_bytes"]["nf4"] < found["base_bytes"]["none"]
    assert json.loads((tmp_path / "found" / "origin.json").read_text())["commit"]
    with pytest.raises(SystemExit, match="holds a result already"):
        main(["memory", "--out", str(tmp_path / "found")])
