from typing import Any

import pytest

from serving.telemetry.prompt import MOST_BYTES, kept_messages
from tests.serving.engines.conftest import make_request

SAID = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "hi"}]}]
TOOLS = [{"type": "function", "function": {"name": "f"}}]


def test_messages_and_tools_are_kept_as_they_came_and_nothing_else_is() -> None:
    assert kept_messages(make_request(body={"messages": SAID, "temperature": 1})) == {"messages": SAID}
    assert kept_messages(make_request(body={"messages": SAID, "tools": TOOLS})) == {"messages": SAID, "tools": TOOLS}
    assert kept_messages(make_request(kind="completion", body={"prompt": "hi"})) is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"n": 2, "body": {"messages": SAID}}, "several answers"),
        ({"body": {"messages": [{"role": "user", "content": "x" * MOST_BYTES}]}}, "too long"),
        ({"body": {"messages": [{"role": "user", "content": "\ud800"}]}}, "not plain text"),
    ],
)
def test_what_cannot_be_kept_says_why(changes: dict[str, Any], reason: str) -> None:
    assert kept_messages(make_request(**changes)) == {"omitted": reason}
