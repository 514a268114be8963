"""What no file of the repository may hold, whatever its type."""

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.architecture.tree import ROOT, repository_files

HOME = re.compile(r"/(?:home|Users)/[A-Za-z0-9_.-]+/|(?<![\w.])/root(?=/)")
INDEX = re.compile(
    r"(?:index-url|extra-index-url|find-links|INDEX_URL|FIND_LINKS)[\"']?\s*[=: ]\s*[\"']?https?://([^/\s\"']+)"
)
SWITCHED_OFF = re.compile(
    r"#\s*(?:ruff|flake8):\s*noqa|#\s*mypy:\s*(?:ignore-errors|disable)|#\s*type:\s*ignore\s*$", re.M
)
PUBLIC_INDEXES = {"pypi.org", "download.pytorch.org"}


def texts() -> dict[str, str]:
    """Every text file of the repository; weights and other binary files fall out."""
    found = {}
    for name in repository_files():
        data = (ROOT / name).read_bytes()
        if b"\0" not in data[:4096]:
            found[name] = data.decode(errors="replace")
    assert len(found) >= 80
    return found


def private_paths(found: Mapping[str, str], own: Iterable[str]) -> list[str]:
    """Files that name a home folder, or a folder of this very machine."""
    return [
        name
        for name, text in found.items()
        if HOME.search(text) or any(place in text for place in own if len(place) > 5)
    ]


def private_indexes(found: Mapping[str, str], hosts: set[str]) -> list[str]:
    """Files that name an index by its host, or one of the hosts that this machine is set up with."""
    return [
        name
        for name, text in found.items()
        if any(match.group(1) not in PUBLIC_INDEXES for match in INDEX.finditer(text))
        or any(host in text for host in hosts - PUBLIC_INDEXES)
    ]


def switched_off(found: Mapping[str, str]) -> list[str]:
    """Files that take themselves out of a check as a whole, or a line out of every check."""
    return [name for name, text in found.items() if name.endswith(".py") and SWITCHED_OFF.search(text)]


def configured_hosts(environment: Mapping[str, str]) -> set[str]:
    """The hosts of the package indexes in an environment."""
    values = " ".join(value for name, value in environment.items() if name.startswith(("PIP_", "UV_")))
    return {host for url in re.findall(r"https?://\S+", values) if (host := urlsplit(url).hostname) and "." in host}


def test_no_file_names_a_folder_of_this_machine() -> None:
    assert private_paths(texts(), [str(ROOT), str(Path.home()) + "/"]) == []


@pytest.mark.parametrize("text", ["see /home/" + "anna/x", "/Users/" + "bob/y", "cd /" + "root/z", "/srv/checkout/a"])
def test_a_private_path_is_found(text: str) -> None:
    assert private_paths({"x.md": text, "y.md": "a/home/page and ~/.local/state"}, ["/srv/checkout"]) == ["x.md"]


def test_no_file_names_a_package_index_of_this_machine() -> None:
    assert private_indexes(texts(), configured_hosts(os.environ)) == []


def test_a_private_index_is_found() -> None:
    found = {"a": "--index-" + "url https://mirror.example/simple", "b": "get it at wheels.example", "c": "https://x.y"}
    hosts = configured_hosts({"PIP_FIND_LINKS": " ".join(("https://wheels.example:80/a", "https://pypi.org/simple"))})
    assert private_indexes(found, hosts) == ["a", "b"]


def test_no_file_is_taken_out_of_a_check() -> None:
    assert switched_off(texts()) == []
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    assert set(rules["ruff"]["lint"]["per-file-ignores"]) == {"tests/**"}
    overrides = [entry for entry in rules["mypy"].get("overrides", []) if entry.get("ignore_errors")]
    assert overrides == []


@pytest.mark.parametrize("text", ["# ruff: " + "noqa", "# mypy: " + "ignore-errors", "x = 1  # type: " + "ignore"])
def test_a_file_that_takes_itself_out_is_found(text: str) -> None:
    assert switched_off({"x.py": text, "y.py": "x = f()  # noqa: ARG003"}) == ["x.py"]
