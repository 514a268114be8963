"""What comes through when nothing breaks: bytes, headers, counts."""

import orjson
import pytest

from models.types import Principal
from serving.testing import Script

from .conftest import CALLER, MakeGateway, make_request


async def test_a_stream_is_byte_for_byte_what_the_engine_sent(gateway: MakeGateway) -> None:
    box = await gateway()
    text = await box.read(make_request(include_usage=True))
    assert text == box.engine().seen[0].sent
    assert text.endswith(b"data: [DONE]\n\n")
