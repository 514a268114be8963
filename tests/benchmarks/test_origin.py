import subprocess
from pathlib import Path

from benchmarks.origin import commit, digest, hardware, origin, processor


def test_an_origin_has_every_field_that_a_figure_needs() -> None:
    found = origin(config={"card": "demo"}, seeds=[1, 2], counts={"blocks": 2}, started=1_800_000_000.0)
    assert set(found) >= {"commit", "dirty", "config_digest", "hardware", "kernel", "python", "packages", "seeds"}
    assert found["started"] == "2027-01-15T08:00:00+00:00"
    assert found["counts"] == {"blocks": 2}
    assert "penstock" in found["packages"]
    assert "numpy" not in found["packages"]


def test_a_figure_may_name_more_packages_that_it_hangs_on() -> None:
    found = origin(config={}, seeds=[], counts={}, started=0.0, more=("numpy", "no-such-package"))
    assert {"numpy", "penstock"} <= set(found["packages"])
    assert "no-such-package" not in found["packages"]


def test_the_digest_changes_with_the_configuration_and_not_with_its_order() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})


def test_a_changed_file_makes_the_commit_dirty(tmp_path: Path) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    for command in (["init", "-q"], [*who, "commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    clean = commit(tmp_path)
    (tmp_path / "new.txt").write_text("x")
    assert (len(clean["commit"]), clean["dirty"]) == (40, False)
    assert commit(tmp_path) == {"commit": clean["commit"], "dirty": True}


def test_a_folder_without_git_has_no_commit(tmp_path: Path) -> None:
    assert commit(tmp_path)["commit"] == ""


def test_the_hardware_is_this_machine() -> None:
    found = hardware()
    assert found["cores"] >= 1
    assert found["memory_bytes"] > 2**28


def test_the_processor_has_its_own_name() -> None:
    assert processor("processor: 0\nmodel name\t: Some CPU @ 2 GHz\nmodel name: Some CPU") == "Some CPU @ 2 GHz"
    assert processor("processor: 0") == "unknown"
