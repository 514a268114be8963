"""What is kept of a file for the gate."""

from collections.abc import Sequence
from random import Random

from finetune.gate.golden import BOM
from finetune.gate.split import Share, bare, chosen_of, numbered, of_training, of_validation, rank

LINES = [b'{"at": %d}' % at for at in range(4_000)]


def parted(lines: Sequence[bytes], share: Share = of_training) -> tuple[list[bytes], list[bytes]]:
    """(what is left, what is kept for the gate, each line once)."""
    chosen = chosen_of(lines, share)
    kept = [line for _, line in numbered(lines)]
    left = [line for line in kept if rank(line) not in chosen]
    return left, list(dict.fromkeys(line for line in kept if rank(line) in chosen))


def test_a_tenth_is_held_out_and_nothing_is_on_both_sides() -> None:
    training, golden = parted(LINES[:1_000])
    assert (len(training), len(golden)) == (900, 100)
    assert set(training) | set(golden) == set(LINES[:1_000])
    assert not set(training) & set(golden)


def test_neither_order_nor_doubles_change_which_lines_they_are() -> None:
    _, golden = parted(LINES[:300])
    mixed = LINES[:300] * 2
    Random(1).shuffle(mixed)
    training, again = parted(mixed)
    assert set(again) == set(golden)
    assert len(again) == len(golden)
    assert not set(training) & set(again)


def test_small_files_give_up_to_a_quarter_and_large_ones_two_hundred_lines() -> None:
    sizes = {count: len(parted(LINES[:count])[1]) for count in (0, 1, 3, 4, 100, 200, 400, 2_000)}
    assert sizes == {0: 0, 1: 0, 3: 0, 4: 1, 100: 25, 200: 50, 400: 50, 2_000: 200}
    assert len(parted(LINES[:2_000])[0]) == 1_800


def test_of_a_validation_file_half_is_kept_for_the_gate_and_nothing_of_a_small_one() -> None:
    sizes = {count: len(parted(LINES[:count], of_validation)[1]) for count in (0, 99, 100, 301, 2_000, 4_000)}
    assert sizes == {0: 0, 99: 0, 100: 50, 301: 150, 2_000: 1_000, 4_000: 1_000}
    assert parted(LINES[:99] * 2, of_validation)[1] == []


def test_blank_lines_are_none_and_the_others_keep_their_numbers() -> None:
    ragged = [BOM + LINES[0], b"  \n", *LINES[1:100], b""]
    assert parted(ragged)[1] == parted(LINES[:100])[1]
    assert [number for number, _ in numbered(ragged)][:3] == [1, 3, 4]
    assert bare(ragged[0]) == LINES[0]


def test_of_many_lines_the_same_ones_are_held_out_as_if_all_were_ranked() -> None:
    lines = [b"%d" % at for at in range(10_000)]
    lowest = sorted(rank(line) for line in lines)
    assert chosen_of(lines + lines, of_training) == frozenset(lowest[:200])
    assert chosen_of(lines + lines, of_validation) == frozenset(lowest[:1_000])
