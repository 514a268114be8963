from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from models.errors import ConfigurationError
from router.policies import POLICIES, PolicySettings, build_policy
from router.policies.static import StaticSettings
from router.policies.threshold import ThresholdSettings

READER: TypeAdapter[Any] = TypeAdapter(PolicySettings)


def test_the_kind_chooses_the_settings_class() -> None:
    assert READER.validate_python({"kind": "static", "tier": "small"}) == StaticSettings(tier="small")
    assert READER.validate_python({"kind": "threshold", "threshold": 0.7}) == ThresholdSettings(threshold=0.7)


def test_settings_survive_a_round_trip_with_every_field() -> None:
    settings = ThresholdSettings(threshold=0.7)
    dumped = READER.dump_python(settings)
    assert dumped["weights"]["code"] == settings.weights.code
    assert READER.validate_python(dumped) == settings


def test_an_unknown_kind_names_those_that_exist() -> None:
    with pytest.raises(ConfigurationError, match=r"'magic'.*static, threshold"):
        READER.validate_python({"kind": "magic"})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"kind": "static", "teir": "small"}, "teir: Extra inputs"),
        ({"kind": "threshold", "threshold": 7}, "threshold: Input should be less"),
        ({"tier": "small"}, "kind: needed, one of static, threshold"),
        (7, "valid dictionary"),
    ],
)
def test_a_bad_setting_is_refused_with_its_name(value: object, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        READER.validate_python(value)


def test_every_row_has_settings_with_its_own_kind_and_builds_a_policy() -> None:
    assert len(POLICIES.kinds) >= 2
    for kind in POLICIES.kinds:
        settings = POLICIES.module(kind).Settings(kind=kind)
        assert settings.kind == kind
        assert callable(build_policy(settings).choose)
