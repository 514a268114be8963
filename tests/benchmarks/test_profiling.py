from benchmarks.profiling import shares, table

STACKS = """\
main (a.py:1);read (b.py:5) 30
main (a.py:1);read (b.py:9) 20
main (a.py:2);write (b.py:7) 40
main (a.py:3) 10
"""


def test_a_function_has_its_own_time_and_that_of_what_it_called() -> None:
    found = {share.function: share for share in shares(STACKS)}
    assert found["read (b.py)"].self_percent == 50
    assert found["write (b.py)"].self_percent == 40
    assert (found["main (a.py)"].self_percent, found["main (a.py)"].total_percent) == (10, 100)


def test_the_table_starts_with_the_most_expensive() -> None:
    lines = table(shares(STACKS, top=2)).splitlines()
    assert len(lines) == 3
    assert lines[1].split() == ["50.0", "50.0", "read", "(b.py)"]


def test_a_recursive_function_counts_once_per_sample() -> None:
    found = shares("f (a.py:1);f (a.py:1);f (a.py:1) 4")
    assert [(share.self_percent, share.total_percent) for share in found] == [(100, 100)]
