"""Moving a running stack's share, and knowing when it has moved."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.quality.answers import asking
from benchmarks.quality.shares import AGREEING, CommandShare, move, threshold
from models.errors import ConfigurationError
from tests.benchmarks.quality.stack import TableStack, standing


@pytest.mark.parametrize(
    ("route", "named"),
    [
        ("threshold: score 0.30 < 0.40: length", "0.40"),
        ("learned: gain 0.12 >= -0.05", "-0.05"),
        ("static: always large", None),
    ],
)
async def test_a_route_names_the_threshold_that_it_was_held_against(route: str, named: str | None) -> None:
    stack = TableStack(lambda *_: "x")
    stack.reason = route
    async with standing(stack) as address, asking(address, max_tokens=8) as asker:
        assert await threshold(asker) == named
        stack.failing = [503]
        assert await threshold(asker) is None


async def test_a_share_is_live_once_several_answers_in_a_row_name_another_threshold() -> None:
    stack, asked_at = TableStack(lambda *_: "x"), list[int]()

    async def set_share(share: float) -> None:
        asked_at.append(len(stack.asked))
        stack.reason = f"threshold: score 0.30 >= {share}"

    async with standing(stack) as address, asking(address, max_tokens=8) as asker:
        assert await move(asker, 0.2, set_share=set_share, limit_s=5)
    assert asked_at == [1]
    assert len(stack.asked) == 1 + AGREEING


async def test_a_threshold_that_reads_as_before_is_said_not_to_be_seen() -> None:
    async def set_share(_: float) -> None:
        """Changes nothing."""

    async with standing(TableStack(lambda *_: "x")) as address, asking(address, max_tokens=8) as asker:
        assert not await move(asker, 0.2, set_share=set_share, limit_s=0.1)


async def test_the_command_is_given_share_and_folder_and_its_refusal_is_a_sentence(tmp_path: Path) -> None:
    script = "import sys; open(sys.argv[-1] + '/told', 'w').write(' '.join(sys.argv[1:-1]))"
    await CommandShare(tmp_path, (sys.executable, "-c", script))(0.35)
    assert (tmp_path / "told").read_text() == "--large-share 0.35 --state-dir"
    refusing = CommandShare(tmp_path, (sys.executable, "-c", "import sys; sys.exit('No stack runs.')"))
    with pytest.raises(ConfigurationError, match=r"The share 35% could not be set: No stack runs."):
        await refusing(0.35)
