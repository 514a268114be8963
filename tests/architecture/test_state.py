"""No hidden inputs and no hidden memory: the environment is read at the door, modules hold constants only."""

import ast
from collections.abc import Iterable, Iterator

import pytest

from tests.architecture.tree import Module, modules

ENVIRONMENT_READERS: dict[str, str] = {
    "benchmarks/agreement.py": "what the server and the generator under comparison inherit",
    "benchmarks/arms/bare_server.py": "OpenMP takes its core binding from there only",
    "models/crash.py": "where a test ends the process",
    "serving/classifier/replica.py": "the hub's address and token, for an embedder of the hub",
    "serving/cli.py": "PENSTOCK_DEBUG",
    "serving/commands/models.py": "the hub's and the object store's addresses and tokens",
    "serving/commands/options.py": "where the state folder lies, which remote stack",
    "serving/deploy/haproxy.py": "becomes HAProxy with the environment that Serve gave it",
    "serving/deploy/launch.py": "the hub's address and token, for an embedder of the hub",
    "serving/deploy/stack.py": "what the processes of a stack inherit",
    "serving/settings.py": "the settings loader",
    "serving/engines/mock_engine.py": "Ray gives an engine class no arguments but the model's",
    "serving/engines/one_process.py": "OpenMP takes its core binding from there only",
    "serving/engines/parentage.py": "how EngineCore learns whose child it is",
    "serving/engines/replica.py": "vLLM takes its core binding from there only",
}
MUTABLE_CALLS = {"list", "dict", "set", "bytearray", "defaultdict", "deque", "Counter", "OrderedDict"}
MUTABLE = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
CHANGES = {
    *("append", "extend", "insert", "remove", "pop", "clear", "update", "setdefault", "add", "discard", "popitem"),
    *("appendleft", "popleft", "sort", "reverse"),
}


def environment_readers(found: Iterable[Module]) -> set[str]:
    """Files that name `os.environ`, `os.getenv`, `os.putenv` or import them."""
    names = {"environ", "getenv", "putenv", "environb"}
    return {
        module.path
        for module in found
        for node in ast.walk(module.tree)
        if (isinstance(node, ast.Attribute) and node.attr in names and getattr(node.value, "id", "") == "os")
        or (isinstance(node, ast.ImportFrom) and node.module == "os" and {a.name for a in node.names} & names)
    }


def module_state(module: Module) -> Iterator[str]:
    """Module-level names that change: by `global`, by a call that changes them, or lower case and mutable."""
    held = dict(_mutables(module.tree))
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Global):
            yield f"{module.path}:{node.lineno} global {', '.join(node.names)}"
        elif (name := _changed(node)) and name in held:
            yield f"{module.path}:{node.lineno} changes {name}"
    for name, line in held.items():
        if name != name.upper() and not name.startswith("__"):
            yield f"{module.path}:{line} holds {name}"


def _mutables(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in tree.body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if _is_mutable(node.value):
            yield from ((target.id, node.lineno) for target in targets if isinstance(target, ast.Name))


def _is_mutable(value: ast.expr) -> bool:
    called = getattr(value.func, "id", getattr(value.func, "attr", "")) if isinstance(value, ast.Call) else ""
    return isinstance(value, MUTABLE) or called in MUTABLE_CALLS


def _changed(node: ast.AST) -> str | None:
    """The name that this node changes in place."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CHANGES:
        return getattr(node.func.value, "id", None)
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
        return getattr(node.value, "id", None)
    if isinstance(node, ast.AugAssign):
        return getattr(node.target, "id", None)
    return None


def test_the_environment_is_read_at_the_door_only() -> None:
    found = modules()
    assert len(found) >= 40
    assert environment_readers(found) - set(ENVIRONMENT_READERS) == set()


def test_every_listed_reader_of_the_environment_still_is_one() -> None:
    assert set(ENVIRONMENT_READERS) - environment_readers(modules()) == set()


@pytest.mark.parametrize(
    "text", ["import os\nx = os.environ['A']", "from os import getenv", "import os\nos.getenv('A')"]
)
def test_a_reader_of_the_environment_is_found(text: str) -> None:
    assert environment_readers([Module("models/x.py", text)]) == {"models/x.py"}


def test_no_module_holds_state_that_changes() -> None:
    found = modules()
    assert len(found) >= 40
    assert [problem for module in found for problem in module_state(module)] == []


@pytest.mark.parametrize(
    "text",
    [
        "cache = {}",
        "SEEN = set()\ndef f(x):\n    SEEN.add(x)",
        "ROWS: dict[str, int] = {}\ndef f():\n    ROWS['a'] = 1",
        "COUNT = 0\ndef f():\n    global COUNT\n    COUNT += 1",
        "import collections\nqueue = collections.deque()",
    ],
)
def test_state_in_a_module_is_found(text: str) -> None:
    assert list(module_state(Module("serving/x.py", text)))


def test_a_table_that_nobody_changes_is_no_state() -> None:
    text = "TABLE = {'a': 1}\n__all__ = ['TABLE']\ndef f():\n    own = {}\n    own['a'] = TABLE['a']\n    return own"
    assert list(module_state(Module("serving/x.py", text))) == []
