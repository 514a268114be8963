"""Who may import whom."""

import ast
import re
from collections.abc import Iterable

import pytest

from tests.architecture.tree import PACKAGES, Module, imports, modules

EDGES = {
    "models": set(),
    "router": {"models"},
    "benchmarks": {"router", "models"},
    "finetune": {"benchmarks", "models"},
    "serving": {"finetune", "benchmarks", "router", "models"},
}

HEAVY = {
    *("torch", "vllm", "ray", "faiss", "peft", "transformers", "trl", "bitsandbytes", "sentence_transformers"),
    *("gradio", "presidio_analyzer", "detect_secrets", "tldextract"),
}
EDGE_FILES: dict[str, str] = {
    "finetune/measure.py": "measures trainings",
    "finetune/recipes/dpo.py": "trains on preferences",
    "finetune/recipes/lora_sft.py": "trains on examples",
    "finetune/training/adapter.py": "loads a base and gives it an adapter",
    "finetune/training/batches.py": "makes the tensors of a training",
    "finetune/training/checkpoints.py": "writes and reads a training's state",
    "finetune/training/course.py": "is called back by transformers' trainer",
    "finetune/training/failures.py": "knows torch's exceptions",
    "finetune/training/group.py": "adds up the gradients of several processes",
    "finetune/training/quiet.py": "silences transformers",
    "finetune/training/trainers.py": "moves TRL's trainers",
    "benchmarks/arms/serve_llm_app.py": "is the Ray Serve LLM application that Penstock is compared with",
    "benchmarks/arms/bare_server.py": "is vLLM's own server, with its threads bound as Penstock's engine binds them",
    "benchmarks/vllm_load.py": "runs vLLM's own load generator",
    "finetune/data/credentials.py": "asks the detectors of secrets",
    "finetune/data/personal.py": "asks the recognisers of personal data",
    "models/demo/lora_probe.py": "shows that the untrained family can be learned by an adapter",
    "models/demo/say.py": "trains an adapter to try releases with",
    "models/demo/tokenizer.py": "writes the demo tiers' tokenizer in the format of transformers",
    "models/demo/start.py": "lays out the weights from which the demo tiers are trained",
    "models/demo/train.py": "trains the demo tiers",
    "models/embedders/encoder.py": "runs the sentence model of an embedder",
    "serving/classifier/replica.py": "is the classifier's Serve deployment",
    "serving/deploy/applications.py": "builds the Ray Serve applications",
    "serving/deploy/gateway.py": "is the gateway's Serve deployment",
    "serving/deploy/launch.py": "runs Serve in a process of its own",
    "serving/deploy/retire.py": "takes applications out of a running Serve",
    "serving/engines/directory.py": "reads the live replicas from Serve",
    "serving/engines/lora.py": "gives adapters to a replica's vLLM engine",
    "serving/engines/lora_worker.py": "mends a kernel of vLLM's in the worker's process",
    "serving/engines/mock_engine.py": "is the mock engine of a replica",
    "serving/engines/one_process.py": "is the vLLM engine of a replica on a CPU",
    "serving/engines/yielding.py": "is the executor of that engine",
    "serving/tuning/ray_trainers.py": "runs trainings as actors of Ray's",
    "serving/engines/replica.py": "is the Serve deployment around a vLLM engine",
}

SQL_LIBRARIES = {"sqlalchemy", "alembic", "aiosqlite", "asyncpg", "sqlite3", "psycopg"}
SQL_TEXT = re.compile(
    r"^\s*(SELECT\s.+\sFROM|INSERT INTO|UPDATE \w+ SET|DELETE FROM|CREATE (TABLE|INDEX)|PRAGMA)\s", re.S
)
HTTP_LIBRARIES = {"fastapi", "starlette"}
HTTP_ROOMS = ("serving/api/", "serving/app.py", "serving/deploy/")


def bad_edges(found: Iterable[Module]) -> list[str]:
    return [
        f"{module.path}:{item.line} imports {item.name}"
        for module in found
        for item in imports(module)
        if item.top in PACKAGES and item.top != module.package and item.top not in EDGES[module.package]
    ]


def imported(found: Iterable[Module], names: set[str]) -> dict[str, str]:
    """File → what it imports of these libraries."""
    return {module.path: item.name for module in found for item in imports(module) if item.top in names}


def sideways(found: Iterable[Module]) -> list[str]:
    """Imports between the steps of the pipeline; `pipeline.py` alone sees them."""
    room = "serving.pipeline."
    return [
        f"{module.path}:{item.line} imports {item.name}"
        for module in found
        if module.path.startswith("serving/pipeline/") and not module.path.endswith(("/pipeline.py", "/__init__.py"))
        for item in imports(module)
        if item.name.startswith(room)
    ]


def sql_texts(found: Iterable[Module]) -> list[str]:
    return [
        f"{module.path}:{node.lineno}"
        for module in found
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and SQL_TEXT.match(node.value)
    ]


def test_imports_between_packages_point_down_only() -> None:
    found = modules()
    assert len(found) >= 40
    assert {module.package for module in found} == set(PACKAGES)
    assert sum(1 for module in found for _ in imports(module)) >= 200
    assert bad_edges(found) == []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("models/x.py", "import serving.app"),
        ("router/x.py", "def f():\n    from serving.settings import Settings"),
        ("benchmarks/x.py", "from finetune import jobs"),
        ("finetune/x.py", "import router.plan as p"),
        ("models/x.py", "import importlib\nimportlib.import_module('router.plan')"),
        ("models/demo/x.py", "if True:\n    from ...router import plan"),
    ],
)
def test_an_import_that_points_up_is_found(path: str, text: str) -> None:
    assert len(bad_edges([Module(path, text)])) == 1


def test_heavy_libraries_are_imported_in_edge_files_only() -> None:
    found = imported(modules(), HEAVY)
    assert {path: name for path, name in found.items() if path not in EDGE_FILES} == {}


def test_every_listed_edge_file_still_needs_to_be_one() -> None:
    assert set(EDGE_FILES) - set(imported(modules(), HEAVY)) == set()


def test_a_heavy_import_inside_a_function_is_found() -> None:
    sample = Module("serving/api/x.py", "def f():\n    import torch.nn as nn")
    assert imported([sample], HEAVY) == {"serving/api/x.py": "torch.nn"}


def test_sql_lives_in_the_store_alone() -> None:
    outside = [module for module in modules() if not module.path.startswith("serving/store/")]
    assert imported(outside, SQL_LIBRARIES) == {}
    assert sql_texts(module for module in outside if module.package == "serving") == []
    assert imported(modules("serving/store"), SQL_LIBRARIES)


@pytest.mark.parametrize("text", ["q = 'SELECT * FROM keys WHERE 1'", "f'''\n  INSERT INTO keys VALUES'''"])
def test_sql_in_a_string_is_found(text: str) -> None:
    assert sql_texts([Module("serving/api/x.py", text)]) == ["serving/api/x.py:1"]


def test_http_frameworks_stay_in_the_http_layer() -> None:
    everything = imported(modules(), HTTP_LIBRARIES)
    assert any(path.startswith("serving/api/") for path in everything)
    assert {path: name for path, name in everything.items() if not path.startswith(HTTP_ROOMS)} == {}


def test_the_steps_of_the_pipeline_do_not_know_each_other() -> None:
    assert len(modules("serving/pipeline")) >= 2
    assert sideways(modules("serving/pipeline")) == []


def test_a_step_that_imports_a_step_is_found() -> None:
    text = "from serving.pipeline.route import Route\nfrom serving.pipeline import limits"
    assert len(sideways([Module("serving/pipeline/cache.py", text)])) == 2
