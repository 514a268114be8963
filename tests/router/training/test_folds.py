import numpy as np
import pytest

from router.training.folds import FOLDS, splits


def test_every_row_is_held_out_once_and_no_unit_is_parted() -> None:
    units = [f"unit {at % 12}" for at in range(60)]
    seen = np.zeros(60, int)
    for rest, held in splits(units, seed=1):
        assert {units[at] for at in rest}.isdisjoint(units[at] for at in held)
        assert sorted([*rest, *held]) == list(range(60))
        seen[held] += 1
    assert seen.tolist() == [1] * 60


@pytest.mark.parametrize(("units", "count"), [(["a", "b", "c"] * 9, 3), ([str(at) for at in range(40)], FOLDS)])
def test_there_are_as_many_folds_as_units_at_most(units: list[str], count: int) -> None:
    assert len(list(splits(units, seed=1))) == count


@pytest.mark.parametrize(
    ("units", "said"),
    [(["a"] * 30, "of one group: none can be held out"), (["a"] * 30 + ["b"] * 4, "makes up all but 4 of the rows")],
)
def test_what_leaves_nothing_to_train_on_is_refused(units: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        next(splits(units, seed=1))
