"""The repository as these checks see it: its files, its parsed modules, and what a module imports. Owns no rule."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("models", "router", "benchmarks", "finetune", "serving")


@dataclass(frozen=True)
class Module:
    """One Python file; `path` is relative to the repository, with forward slashes."""

    path: str
    text: str

    @property
    def tree(self) -> ast.Module:
        return _parsed(self.text)

    @property
    def package(self) -> str:
        return self.path.split("/")[0]


@dataclass(frozen=True)
class Import:
    """One imported name: the dotted module (with the name, where one is taken from it) and the line."""

    name: str
    line: int

    @property
    def top(self) -> str:
        return self.name.split(".")[0]


def repository_files() -> list[str]:
    """Every file that is or would be committed."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    return sorted(name for name in set(listed.split("\0")) if name and (ROOT / name).is_file())


def modules(*folders: str) -> list[Module]:
    """The Python files under these folders (default: the five packages)."""
    wanted = tuple(f"{folder}/" for folder in folders or PACKAGES)
    return [
        Module(name, (ROOT / name).read_text())
        for name in repository_files()
        if name.endswith(".py") and name.startswith(wanted)
    ]


def imports(module: Module) -> Iterator[Import]:
    """Every import of a module, function bodies and `import_module("…")` included."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = _absolute(node, module)
            yield from (Import(f"{source}.{alias.name}", node.lineno) for alias in node.names)
        elif isinstance(node, ast.Call) and (name := _imported_by_call(node)):
            yield Import(name, node.lineno)


def functions(module: Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method, nested ones too."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end."""
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _absolute(node: ast.ImportFrom, module: Module) -> str:
    if not node.level:
        return node.module or ""
    folder = module.path.split("/")[: -node.level]
    return ".".join([*folder, *([node.module] if node.module else [])])


def _imported_by_call(node: ast.Call) -> str | None:
    name = getattr(node.func, "id", getattr(node.func, "attr", None))
    if name not in ("import_module", "__import__") or not node.args:
        return None
    first = node.args[0]
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else None


@cache
def _parsed(text: str) -> ast.Module:
    return ast.parse(text)
