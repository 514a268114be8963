"""What is held out of a training file."""

from random import Random

from finetune.gate.golden import BOM
from finetune.gate.split import HELD_OUT_SEED, chosen_of, held_out, rank

LINES = [b'{"at": %d}' % at for at in range(2_000)]


def test_a_tenth_is_held_out_and_nothing_is_on_both_sides() -> None:
    training, golden = held_out(LINES[:1_000], HELD_OUT_SEED)
    assert (len(training), len(golden)) == (900, 100)
    assert set(training) | set(golden) == set(LINES[:1_000])
    assert not set(training) & set(golden)


def test_neither_order_nor_doubles_change_which_lines_they_are() -> None:
    _, golden = held_out(LINES[:300], 1)
    mixed = LINES[:300] * 2
    Random(1).shuffle(mixed)
    training, again = held_out(mixed, 1)
    assert set(again) == set(golden)
    assert len(again) == len(golden)
    assert not set(training) & set(again)


def test_small_files_give_up_to_a_quarter_and_large_ones_two_hundred_lines() -> None:
    sizes = {count: len(held_out(LINES[:count], 0)[1]) for count in (0, 1, 3, 4, 100, 200, 400, 2_000)}
    assert sizes == {0: 0, 1: 0, 3: 0, 4: 1, 100: 25, 200: 50, 400: 50, 2_000: 200}
    assert len(held_out(LINES * 1, 0)[0]) == 1_800


def test_another_seed_holds_out_others_and_blank_lines_are_none() -> None:
    assert held_out([BOM + LINES[0], *LINES[1:100], b"", b"  \n"], 0)[1] == held_out(LINES[:100], 0)[1]
    assert held_out(LINES[:100], 0)[1] != held_out(LINES[:100], 1)[1]


def test_of_many_lines_the_same_ones_are_held_out_as_if_all_were_ranked() -> None:
    lines = [b"%d" % at for at in range(10_000)]
    lowest = sorted(rank(line, 0) for line in lines)[:200]
    assert chosen_of(lines + lines, 0) == frozenset(lowest)
