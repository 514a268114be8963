"""Row T17: what the engine's grammar compiler would choke on, by its size alone."""

from typing import Any

import pytest

from serving.api.schemas import MAX_CHARACTERS
from tests.serving.api.fakes import CHAT, Stack, processor_time

FULL = "x" * MAX_CHARACTERS
HALF = "x" * (MAX_CHARACTERS // 2)
BELOW = "x" * (MAX_CHARACTERS - len("const"))
LONG_NAMES = [f"{number:0>1000}" for number in range(100)]
CHOICES = [f"{number:0>1024}" for number in range(MAX_CHARACTERS // 1024)]
PARAMETERS = "tools[0].function.parameters"


def tools(*schemas: Any) -> dict[str, Any]:
    named = ({"name": f"f{number}", "parameters": schema} for number, schema in enumerate(schemas))
    return {"tools": [{"type": "function", "function": function} for function in named]}


def answer(schema: Any) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}


def choice(answers: list[str]) -> dict[str, Any]:
    return {"structured_outputs": {"choice": answers}}


BOMBS: dict[str, tuple[dict[str, Any], str]] = {
    "const": (tools({"const": "x" * 3_000_000}), PARAMETERS),
    "const-inside": (tools({"const": [{FULL: 1}]}), PARAMETERS),
    "enum": (tools({"enum": LONG_NAMES}), PARAMETERS),
    "properties": (tools({"properties": dict.fromkeys(LONG_NAMES, True)}), PARAMETERS),
    "keywords": (tools(dict.fromkeys(LONG_NAMES, 1)), PARAMETERS),
    "required": (tools({"required": LONG_NAMES}), PARAMETERS),
    "ref": (tools({"$ref": "#" + FULL}), PARAMETERS),
    "description-of-another-kind": (tools({"description": [FULL]}), PARAMETERS),
    "property-called-description": (tools({"properties": {"description": {"const": FULL}}}), PARAMETERS),
    "tools-together": (tools({"const": HALF}, {"const": HALF}), "tools[1].function.parameters"),
    "response_format": (answer({"const": FULL}), "response_format.json_schema.schema"),
    "json": ({"structured_outputs": {"json": {"const": FULL}}}, "structured_outputs.json"),
    "choice": (choice([*CHOICES, "x"]), "structured_outputs.choice"),
}


@pytest.mark.parametrize("row", BOMBS)
async def test_a_grammar_bomb_is_refused_before_it_reaches_the_engine(stack: Stack, row: str) -> None:
    fields, param = BOMBS[row]
    async with stack.client() as client:
        with processor_time() as taken_s:
            response = await client.post("/v1/chat/completions", json=CHAT | fields)
            assert taken_s() < 0.25
    stack.assert_refused(response, 400, "invalid_value", param)
    assert f"{MAX_CHARACTERS} characters" in response.json()["error"]["message"]


LARGEST: dict[str, dict[str, Any]] = {
    "const": tools({"const": BELOW}),
    "a-schema-each": tools({"const": HALF}) | answer({"const": HALF}),
    "remarks": tools({"description": FULL, "title": FULL, "$comment": FULL}, {"items": {"description": FULL}}),
    "choice": choice(CHOICES),
}


@pytest.mark.parametrize("row", LARGEST)
async def test_what_just_fits_is_passed_on_unchanged(stack: Stack, row: str) -> None:
    async with stack.client() as client:
        response = await client.post("/v1/chat/completions", json=CHAT | LARGEST[row])
    assert response.status_code == 200, response.text
    request = stack.pipeline.requests[0]
    assert {name: request.body[name] for name in LARGEST[row]} == LARGEST[row]
