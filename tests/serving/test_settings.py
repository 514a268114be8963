from pathlib import Path
from typing import Any

import pytest

from models.errors import ConfigurationError
from serving.settings import FineTuningSettings, Settings, load_settings, profile_names

SOUND = "tiers: {small: a, large: b}\nengines: [{card: a}, {card: b}]\n"


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(SOUND)
    return path


def test_every_shipped_profile_loads_under_its_own_name() -> None:
    assert len(profile_names()) >= 5
    assert [load_settings(name).profile for name in profile_names()] == profile_names()


def test_the_environment_is_stronger_than_the_profile_and_a_flag_than_both(
    profile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile.write_text(SOUND + "http: {port: 1001, max_n: 3}\n")
    assert load_settings(str(profile)).http.port == 1001
    monkeypatch.setenv("PENSTOCK__HTTP__PORT", "1002")
    assert load_settings(str(profile)).http.port == 1002
    flagged = load_settings(str(profile), {"http": {"port": 1003}})
    assert (flagged.http.port, flagged.http.max_n) == (1003, 3)


def test_a_flag_is_checked_like_any_value(profile: Path) -> None:
    with pytest.raises(ConfigurationError, match="port"):
        load_settings(str(profile), {"http": {"port": 99_999}})


ON_GPUS = "ray: {accelerator: gpu, gpu: h100-80gb, gpus: 2}\nfine_tuning: {gpus: 4}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n- b\n", "mapping of sections"),
        ("1: x\n" + SOUND, "mapping of sections"),
        ("profile: other\n" + SOUND, "mapping of sections"),
        ("a: [", "not YAML"),
        (SOUND + "htpt: {}\n", "htpt"),
        (SOUND + "http: {prot: 1}\n", "http.prot"),
        (SOUND + "http: {port: 0}\n", "http.port"),
        (SOUND + "router: {kind: magic}\n", "magic"),
        ("tiers: {small: a, large: c}\nengines: [{card: a}, {card: b}]\n", "'c' is not among engines"),
        ("tiers: {small: a, large: a}\nengines: [{card: a}, {card: a}]\n", "listed twice"),
        ("tiers: {small: a, large: b}\nengines: []\n", "engines"),
        (SOUND + ON_GPUS, "fine_tuning.gpus: a training wants 4, and the profile is made for 2"),
    ],
)
def test_a_profile_with_a_mistake_is_refused_by_the_name_of_it(profile: Path, text: str, message: str) -> None:
    profile.write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        load_settings(str(profile))


JOINED = "ray: {address: auto}\n"
LEARNED = "router: {kind: learned}\n"


@pytest.mark.parametrize("artifacts", ["", "artifacts: {kind: folder, path: /srv/routers}\n"])
def test_a_joined_cluster_with_a_classifier_needs_a_store_that_every_node_reaches(
    profile: Path, artifacts: str
) -> None:
    profile.write_text(SOUND + JOINED + LEARNED + artifacts)
    with pytest.raises(ConfigurationError, match=r"artifacts\.shared: on a joined cluster"):
        load_settings(str(profile))


@pytest.mark.parametrize(
    "text",
    [
        JOINED + LEARNED + "artifacts: {kind: folder, path: /srv/routers, shared: true}\n",
        JOINED + LEARNED + "artifacts: {kind: s3, bucket: routers}\n",
        JOINED + "router: {kind: threshold}\n",
        LEARNED,
    ],
)
def test_where_every_node_finds_the_versions_or_none_looks_for_them_the_store_may_be_any(
    profile: Path, text: str
) -> None:
    profile.write_text(SOUND + text)
    assert load_settings(str(profile)).profile == "mine"


@pytest.mark.parametrize("name", ["nope", "../settings", "", "/", "none.yaml", "/dev/null/x.yaml"])
def test_a_profile_that_is_not_there_names_the_shipped_ones(name: str) -> None:
    with pytest.raises(ConfigurationError, match="cpu-demo"):
        load_settings(name)


def test_a_folder_is_no_profile(tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_settings(str(tmp_path / "folder.yaml"))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("PENSTOCK__HTPT__PORT", "1", "PENSTOCK__HTPT__PORT"),
        ("PENSTOCK__PROFILE", "other", "PENSTOCK__PROFILE"),
        ("PENSTOCK__HTTP__PROT", "1", "http.prot"),
        ("PENSTOCK__HTTP__PORT", "many", "http.port"),
        ("PENSTOCK__HTTP", "{bad", "no JSON"),
    ],
)
def test_a_variable_with_a_mistake_is_refused_by_the_name_of_it(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=message):
        load_settings("cpu-demo")


def test_settings_cannot_be_changed() -> None:
    settings: Any = load_settings("cpu-demo")
    with pytest.raises(ValueError, match="frozen"):
        settings.profile = "other"
    with pytest.raises(ValueError, match="frozen"):
        settings.http.port = 1


def test_a_secret_does_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK__STORE__URL", "postgresql+asyncpg://u:hunter2@h/d")
    settings: Settings = load_settings("cpu-demo")
    assert settings.store.url is not None
    assert "hunter2" not in repr(settings) + settings.model_dump_json()


@pytest.mark.parametrize(("gpus", "processes"), [(0.5, 1), (1, 1), (4, 4)])
def test_a_training_on_several_gpus_has_a_process_for_each(gpus: float, processes: int) -> None:
    assert FineTuningSettings(gpus=gpus).gpu_processes == processes


def test_a_training_cannot_have_a_gpu_and_a_half() -> None:
    with pytest.raises(ValueError, match=r"a share of one GPU, or a whole number of them, not 1\.5"):
        FineTuningSettings(gpus=1.5)
