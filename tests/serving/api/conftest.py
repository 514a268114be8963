"""The HTTP layer with fakes around it, fresh for every test."""

from typing import Any

import pytest

from tests.serving.api.fakes import CHAT, Stack


@pytest.fixture
def stack() -> Stack:
    return Stack()


@pytest.fixture
def chat() -> dict[str, Any]:
    return {**CHAT, "messages": [dict(CHAT["messages"][0])]}
