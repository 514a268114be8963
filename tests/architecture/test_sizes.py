"""How long, how deep, how many."""

import ast
import statistics
from collections.abc import Iterable, Iterator

import pytest

from tests.architecture.tree import Module, functions, length, modules

MODULE_LINES = 400
FUNCTION_LINES = 60
NESTING = 3
PARAMETERS = 6
POSITIONAL = 2
TEST_MEDIAN_LINES = 12
RECIPES = ("finetune/recipes/", 120)

BLOCKS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.Match)
FOREIGN = (["scope", "receive", "send"], ["logger", "method", "event"], ["typ", "val", "tb"])

Function = ast.FunctionDef | ast.AsyncFunctionDef


def long_modules(found: Iterable[Module]) -> list[str]:
    counted = ((module.path, len(module.text.splitlines())) for module in found)
    return [f"{path}: {lines} lines" for path, lines in counted if lines > MODULE_LINES]


def long_functions(found: Iterable[Module]) -> list[str]:
    return [
        f"{module.path}:{node.lineno} {node.name}: {length(node)} lines"
        for module in found
        for node in functions(module)
        if length(node) > (RECIPES[1] if module.path.startswith(RECIPES[0]) else FUNCTION_LINES)
    ]


def deep_functions(found: Iterable[Module]) -> list[str]:
    return [
        f"{module.path}:{node.lineno} {node.name}: {depth(node)} levels"
        for module in found
        for node in functions(module)
        if depth(node) > NESTING
    ]


def wide_functions(found: Iterable[Module]) -> list[str]:
    return [
        f"{module.path}:{node.lineno} {node.name}: {problem}"
        for module in found
        for node in functions(module)
        for problem in too_wide(node)
    ]


def depth(function: Function) -> int:
    """The deepest block inside; an `elif` is as deep as its `if`, an inner function counts for itself."""
    return max((_depth(statement, 0) for statement in function.body), default=0)


def too_wide(function: Function) -> Iterator[str]:
    """What is wrong with the parameters. Python's, ASGI's and structlog's calls are not ours to shape."""
    if _is_command(function):
        return
    positional = [arg.arg.strip("_") for arg in (*function.args.posonlyargs, *function.args.args)]
    positional = positional[1:] if positional[:1] in (["self"], ["cls"]) else positional
    total = len(positional) + len(function.args.kwonlyargs)
    protocol = function.name.startswith("__") and function.name != "__init__"
    if total > PARAMETERS:
        yield f"{total} parameters"
    if len(positional) > POSITIONAL and not protocol and positional not in FOREIGN:
        yield f"{len(positional)} positional parameters"


def _is_command(function: Function) -> bool:
    """`@app.command("name")` of Typer."""
    calls = (node.func for node in function.decorator_list if isinstance(node, ast.Call))
    return any(isinstance(call, ast.Attribute) and call.attr == "command" for call in calls)


def _depth(node: ast.AST, level: int) -> int:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return 0
    inside = level + 1 if isinstance(node, BLOCKS) else level
    return max(
        (_depth(child, _level(node, child, inside=inside)) for child in ast.iter_child_nodes(node)), default=inside
    )


def _level(node: ast.AST, child: ast.AST, *, inside: int) -> int:
    is_elif = isinstance(node, ast.If) and node.orelse == [child] and isinstance(child, ast.If)
    return inside - 1 if is_elif and child.col_offset == node.col_offset else inside


def everything() -> list[Module]:
    found = modules() + modules("tests")
    assert len(found) >= 60
    assert sum(1 for module in found for _ in functions(module)) >= 400
    return found


def test_no_module_is_longer_than_the_limit() -> None:
    assert long_modules(everything()) == []


def test_no_function_is_longer_than_the_limit() -> None:
    assert long_functions(everything()) == []


def test_no_function_nests_deeper_than_the_limit() -> None:
    assert deep_functions(everything()) == []


def test_no_function_takes_more_parameters_than_the_limit() -> None:
    found = modules()
    assert len(found) >= 40
    assert wide_functions(found) == []


def test_half_of_the_tests_are_short() -> None:
    lengths = [length(node) for module in modules("tests") for node in functions(module) if node.name[:5] == "test_"]
    assert len(lengths) >= 100
    assert statistics.median(lengths) <= TEST_MEDIAN_LINES


def test_a_long_module_and_a_long_function_are_found() -> None:
    body = "def f():\n" + "    x = 1\n" * FUNCTION_LINES
    assert long_functions([Module("serving/x.py", body)]) == [f"serving/x.py:1 f: {FUNCTION_LINES + 1} lines"]
    assert long_functions([Module("finetune/recipes/x.py", body)]) == []
    assert long_modules([Module("serving/x.py", "x = 1\n" * (MODULE_LINES + 1))])


@pytest.mark.parametrize(
    ("text", "levels"),
    [
        ("def f():\n  if a:\n    for b in c:\n      with d:\n        while e: pass", 4),
        ("def f():\n  if a: pass\n  elif b: pass\n  elif c: pass\n  elif d: pass\n  else:\n    if e: pass", 2),
        ("def f():\n  try:\n    if a: pass\n  except E:\n    for b in c:\n      if d: pass", 3),
        ("def f():\n  def g():\n    if a: pass\n  return g", 0),
    ],
)
def test_nesting_is_counted_as_a_reader_sees_it(text: str, levels: int) -> None:
    module = Module("x.py", text)
    assert depth(next(functions(module))) == levels
    assert bool(deep_functions([module])) == (levels > NESTING)


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("def f(a, b, *, c, d, e, f): pass", 0),
        ("def f(a, b, *, c, d, e, f, g): pass", 1),
        ("def f(a, b, c): pass", 1),
        ("def f(a, b, c, /): pass", 1),
        ("class A:\n  def f(self, a, b): pass", 0),
        ("class A:\n  def __init__(self, a, b, c): pass", 1),
        ("class A:\n  def __exit__(self, a, b, c): pass", 0),
        ("async def app(scope, receive, send): pass", 0),
        ("@app.command()\ndef make(a, b, c, d, e, f, g): pass", 0),
        ("@app.get()\ndef make(a, b, c): pass", 1),
    ],
)
def test_parameters_are_counted_without_self(text: str, problems: int) -> None:
    assert len(wide_functions([Module("x.py", text)])) == problems
