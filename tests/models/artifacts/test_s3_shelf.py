"""What is particular to the store in a bucket."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from models.artifacts.s3 import S3Settings
from models.artifacts.store import open_artifacts
from models.errors import ConfigurationError
from tests.models.artifacts.made import made, published
from tests.models.catalog.origins import S3_KEYS, s3_server


def test_a_client_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    monkeypatch.delitem(sys.modules, "models.artifacts.bucket", raising=False)
    with pytest.raises(ConfigurationError, match="needs the package 'obstore'"):
        open_artifacts(S3Settings(bucket="weights"), home=tmp_path)


def test_a_missing_bucket_and_a_dead_store_are_named_without_their_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in S3_KEYS.items():
        monkeypatch.setenv(name, value)
    with s3_server(tmp_path / "log") as address:
        missing, dead = (
            open_artifacts(S3Settings(bucket="nowhere", endpoint=endpoint), home=tmp_path)
            for endpoint in (address, "http://127.0.0.1:9")
        )
        for call in (
            lambda: published(missing, made(tmp_path / "made")),
            lambda: missing.versions("router", "default"),
            lambda: dead.versions("router", "default"),
        ):
            with pytest.raises(ConfigurationError, match="does not serve 's3://nowhere/penstock/artifacts'") as caught:
                call()
            assert "127.0.0.1" not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [("bucket", "Upper"), ("bucket", "a/b"), ("prefix", "/a"), ("prefix", "a//b"), ("prefix", "../a"), ("prefix", "")],
)
def test_a_place_that_cannot_be_is_refused(field: str, value: str) -> None:
    with pytest.raises(ValidationError, match=field):
        S3Settings(**{"bucket": "weights", field: value})  # type: ignore[arg-type]
