"""Bad names, bodies and roles on the adapters' paths, row by row."""

import pytest

from models.errors import InvalidRequest
from serving.adapters import rules
from tests.serving.adapters.stand import SMALL, Stand, adapter_zip

ZIP = {"content-type": "application/zip"}
BAD_NAMES = (
    *("", "../../etc/passwd", "base:../../tenantB/secret", "base:$(touch /tmp/x)", "/etc/passwd", "C:\\x", "s3://b/k"),
    *("a%2f..%2fb", "base\u202e", "b\u0430se", "base\u200b", "BASE", "base ", "x" * 64, ".", "..", "-rf", ".hidden"),
    *("<script>alert(1)</script>", "a..b", "demo-small", "auto"),
)


@pytest.mark.parametrize("name", BAD_NAMES)
async def test_a_name_that_cannot_be_one_is_refused_where_an_adapter_is_made_and_unknown_as_a_model(
    stand: Stand, name: str
) -> None:
    made = await stand.ask("POST", "/v1/adapters", json={"name": name, "base": SMALL})
    code = "already_exists" if name in ("demo-small", "auto") else "invalid_value"
    assert (made.status_code, made.json()["error"]["code"]) == (400, code), made.text
    if code == "invalid_value" and name:
        called = await stand.chat(name)
        assert (called.status_code, called.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("name", [None, 1, True, ["a"], {}])
def test_only_text_can_be_a_name(name: object) -> None:
    with pytest.raises(InvalidRequest):
        rules.require_free_name(name, taken=(), param="name")


async def test_missing_and_unknown_fields_are_named(stand: Stand) -> None:
    await stand.push()
    rows = (
        ("/v1/adapters", {"base": SMALL}, "missing_required_parameter", "name"),
        ("/v1/adapters", {"name": "a"}, "missing_required_parameter", "base"),
        ("/v1/adapters", {"name": "a", "base": "gpt-4"}, "invalid_value", "base"),
        ("/v1/adapters", {"name": "a", "base": SMALL, "x": 1}, "unknown_parameter", "x"),
        ("/v1/adapters/bot/promote", {}, "missing_required_parameter", "version"),
        ("/v1/adapters/bot/promote", {"version": "1"}, "invalid_value", "version"),
        ("/v1/adapters/bot/promote", {"version": 0}, "invalid_value", "version"),
        ("/v1/adapters/bot/promote", {"version": 1, "alias": "../x"}, "invalid_value", "alias"),
        ("/v1/adapters/bot/promote", {"version": 1, "alias": "demo-large"}, "already_exists", "alias"),
        ("/v1/adapters/bot/canary", {"version": 1, "weight": 0}, "invalid_value", "weight"),
        ("/v1/adapters/bot/canary", {"version": 1, "weight": 101}, "invalid_value", "weight"),
        ("/v1/adapters/bot/canary", {"version": 1, "weight": 5, "bounds": {"x": 1}}, "unknown_parameter", "bounds.x"),
        ("/v1/adapters/bot/versions/1/scores", {"suite": "s", "passed": 2, "count": 1}, "invalid_value", "passed"),
    )
    for path, body, code, param in rows:
        error = (await stand.ask("POST", path, json=body)).json()["error"]
        assert (error["code"], error["param"]) == (code, param), (path, body)


async def test_what_is_not_there_is_not_found(stand: Stand) -> None:
    await stand.push()
    for method, path in (
        ("GET", "/v1/adapters/none"),
        ("GET", "/v1/adapters/bot/versions/9"),
        ("GET", "/v1/adapters/bot/versions/x"),
        ("DELETE", "/v1/adapters/bot/versions/99999999999999999999"),
        ("GET", "/v1/aliases/bot"),
    ):
        assert (await stand.ask(method, path)).status_code == 404, path
    assert (await stand.promote(9)).status_code == 404
    assert (await stand.ask("POST", "/v1/adapters/bot/rollback", json={})).status_code == 404


async def test_a_push_needs_a_zip_and_known_parameters(stand: Stand) -> None:
    path = "/v1/adapters/bot/versions"
    content = adapter_zip()
    plain = await stand.ask("POST", path, content=content, params={"base": SMALL})
    assert plain.json()["error"]["code"] == "unsupported_media_type"
    odd = await stand.ask("POST", path, content=content, headers=ZIP, params={"base": SMALL, "x": "1"})
    assert odd.json()["error"]["code"] == "unknown_parameter"
    nan = await stand.ask("POST", path, content=content, headers=ZIP, params={"base": SMALL, "metrics.loss": "nan"})
    assert nan.json()["error"]["param"] == "metrics.loss"
    nameless = await stand.ask("POST", path, content=content, headers=ZIP)
    assert (nameless.status_code, nameless.json()["error"]["param"]) == (404, "base")
    other = await stand.ask("POST", path, content=content, headers=ZIP, params={"base": "demo-large"})
    assert other.json()["error"]["code"] == "adapter_invalid"


async def test_only_engineers_and_admins_come_in_and_vllms_paths_are_for_admins(stand: Stand) -> None:
    assert (await stand.ask("GET", "/v1/adapters", key="user")).status_code == 403
    assert (await stand.ask("GET", "/v1/adapters", key="admin")).status_code == 200
    body = {"lora_name": "bot", "lora_path": "/nowhere"}
    assert (await stand.ask("POST", "/v1/load_lora_adapter", json=body)).status_code == 403
    missing = await stand.ask("POST", "/v1/load_lora_adapter", key="admin", json=body)
    assert (missing.status_code, missing.json()["error"]["code"]) == (400, "adapter_invalid"), missing.text
    inplace = await stand.ask("POST", "/v1/load_lora_adapter", key="admin", json={**body, "load_inplace": True})
    assert inplace.json()["error"]["param"] == "load_inplace"
