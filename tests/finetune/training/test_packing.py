import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.training.packing import grouped, packed
from finetune.training.plan import Plan, Shape, step_of

LENGTHS = st.lists(st.integers(1, 90), min_size=1, max_size=60)


@given(LENGTHS)
def test_every_example_lies_in_one_row_and_no_shared_row_is_too_wide(lengths: list[int]) -> None:
    rows = packed(lengths, width=64)
    assert sorted(index for row in rows for index in row) == list(range(len(lengths)))
    assert all(len(row) == 1 or sum(lengths[index] for index in row) <= 64 for row in rows)


@given(LENGTHS)
def test_there_are_few_more_rows_than_needed(lengths: list[int]) -> None:
    short = [min(length, 64) for length in lengths]
    least = -(-sum(short) // 64)
    assert len(packed(short, width=64)) <= 1.7 * least + 1


def test_the_fullest_row_that_has_room_is_taken() -> None:
    assert packed([6, 5, 4, 3], width=10) == [(0, 2), (1, 3)]


@given(LENGTHS)
def test_a_micro_batch_holds_no_more_than_its_tokens(lengths: list[int]) -> None:
    for group in grouped(packed(lengths, width=64), lengths, tokens=256):
        widest = max(sum(lengths[index] for index in row) for row in group)
        assert len(group) == 1 or len(group) * widest <= 256


def test_a_pass_visits_each_example_once_and_each_pass_in_another_order() -> None:
    plan = Plan([5] * 23, epochs=2, batch=4, shape=Shape(64, 256, packing=True), seed=7)
    passes = [[index for number in range(at, at + 6) for index in plan[number].examples] for at in (0, 6)]
    assert len(plan) == 12
    assert [sorted(one) for one in passes] == [list(range(23))] * 2
    assert passes[0] != passes[1]


def test_a_step_is_a_function_of_the_seed_and_its_number() -> None:
    shape = Shape(64, 256, packing=True)
    first, second = (Plan(range(1, 50), epochs=3, batch=8, shape=shape, seed=7) for _ in range(2))
    assert first[17] == second[17]
    assert Plan(range(1, 50), epochs=3, batch=8, shape=shape, seed=8)[17] != first[17]


def test_a_plan_ends_behind_its_last_step() -> None:
    plan = Plan([5] * 8, epochs=1, batch=4, shape=Shape(64, 256, packing=True), seed=7)
    with pytest.raises(IndexError):
        plan[2]


def test_without_packing_each_row_is_one_example() -> None:
    step = step_of(range(5), [3, 9, 4, 8, 1], shape=Shape(64, 20, packing=False))
    assert all(len(row) == 1 for rows in step.micro for row in rows)
    assert len(step.micro) == 2
