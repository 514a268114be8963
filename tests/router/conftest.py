from collections.abc import Callable
from typing import Any

import pytest

from models.types import GenerationRequest, Principal
from router.types import Fleet


@pytest.fixture
def fleet() -> Fleet:
    return Fleet(
        cards={"mini": "small", "maxi": "large", "extra": "large"},
        tiers={"small": "mini", "large": "maxi"},
    )


@pytest.fixture
def caller() -> Principal:
    return Principal(key_id="k", org="o", user="u", role="inference")


@pytest.fixture
def ask() -> Callable[..., GenerationRequest]:
    def make(text: str = "", *, model: str = "auto", tier: Any = None, **body: Any) -> GenerationRequest:
        return GenerationRequest(
            id="r",
            kind="chat",
            model=model,
            body=body,
            stream=False,
            include_usage=False,
            text=text,
            received=0,
            tier=tier,
        )

    return make
