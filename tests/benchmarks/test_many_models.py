"""A load over many models: who is asked for is drawn, and only what the target lists."""

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

from benchmarks.many_models import ManyModels, Popularity
from benchmarks.prompts import Order
from benchmarks.result import read_calls
from models.errors import ConfigurationError
from serving.cli import build
from serving.testing import FakeEngine, Receive, Scope, Script, Send, serve

NAMES = tuple(f"adapter-{number:04}" for number in range(1000))


class Adapters:
    """The fake engine, with a list of models before it."""

    def __init__(self) -> None:
        self.engine = FakeEngine(Script(tokens=2))
        self.names = ["demo-small", *reversed(NAMES[:20])]
        self.up, self.over = threading.Event(), threading.Event()
        self.url = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != "/v1/models":
            await self.engine(scope, receive, send)
            return
        await receive()
        listed = orjson.dumps({"object": "list", "data": [{"id": name, "object": "model"} for name in self.names]})
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": listed})

    async def live(self) -> None:
        async with serve(self) as self.url:
            self.up.set()
            await asyncio.to_thread(self.over.wait)

    @property
    def asked(self) -> list[str]:
        """The models of the requests after the probe, in no order."""
        return [seen.body["model"] for seen in self.engine.seen if seen.body["stream"]]


@pytest.fixture
def target() -> Iterator[Adapters]:
    made = Adapters()
    thread = threading.Thread(target=lambda: asyncio.run(made.live()))
    thread.start()
    assert made.up.wait(20)
    yield made
    made.over.set()
    thread.join(20)


def bench(command: str, target: Adapters, *options: str, folder: Path, **load: Any) -> Any:
    sizes = {
        "cpu": {
            "models": {"like": "adapter-*", "zipf": 1.2},
            "prompts": {"kind": "words", "words": [3, 5]},
            "workload": {"kind": "closed", "clients": 4},
            "answer_tokens": 2,
            "requests": 120,
            **load,
        }
    }
    file = folder / "mine.yaml"
    file.write_text(json.dumps({"about": "A test.", "slos": [{"name": "ok", "ttft_ms": 5000}], "sizes": sizes}))
    asked = ["bench", command, str(file), "--target", target.url, "--seed", "5", *options]
    return CliRunner().invoke(build(["bench"]), asked)


def test_the_names_that_fit_are_ranked_as_they_are_sorted() -> None:
    many = ManyModels(like="adapter-*")
    assert many.among(["adapter-b", "auto", "adapter-a", "adapter-b", "Adapter-c"]) == ("adapter-a", "adapter-b")


@pytest.mark.parametrize(
    ("listed", "says"),
    [
        ([], "it lists nothing."),
        (["demo-small", "auto"], "it lists auto, demo-small."),
        ([f"m{n}" for n in range(9)], "it lists m0, m1, m2 and 6 more."),
    ],
)
def test_a_target_without_such_models_is_a_sentence(listed: list[str], says: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        ManyModels(like="adapter-*").among(listed)
    assert refused.value.public.startswith(f"The target lists no model like 'adapter-*': {says}")


@pytest.mark.parametrize("zipf", [0.0, 0.8, 1.0, 2.0])
def test_the_share_of_a_rank_is_that_of_zipf(zipf: float) -> None:
    popularity = Popularity(NAMES[:10], zipf=zipf)
    drawn = Counter(popularity.model(Order(1, number)) for number in range(10_000))
    whole = sum(rank**-zipf for rank in range(1, 11))
    for rank in (1, 2, 10):
        assert drawn[NAMES[rank - 1]] / 10_000 == pytest.approx(rank**-zipf / whole, abs=0.015)


def test_a_requests_model_is_the_same_every_time_and_another_one_with_another_seed() -> None:
    def drawn(seed: int) -> list[str]:
        return [Popularity(NAMES, zipf=1.0).model(Order(seed, number)) for number in range(50)]

    assert drawn(1) == drawn(1) != drawn(2)


def test_a_run_asks_for_many_and_shows_the_most_popular(target: Adapters, tmp_path: Path) -> None:
    done = bench("run", target, "--out", str(tmp_path / "out"), folder=tmp_path)
    assert done.exit_code == 0, done.output
    asked = Counter(target.asked)
    assert set(asked) <= set(NAMES[:20])
    (first, count), *_ = asked.most_common()
    assert first == NAMES[0]
    assert "20 models like adapter-*" in done.stdout
    assert f"Served by {len(asked)} models: {first} ({count}), " in done.stdout
    assert f", and {len(asked) - 5} more (" in (tmp_path / "out" / "table.md").read_text()
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["models"], summary["model"]) == (dict(asked), "adapter-*")
    origin = json.loads((tmp_path / "out" / "origin.json").read_text())["config"]
    assert (origin["models"], origin["load"]["models"]["zipf"]) == (list(NAMES[:20]), 1.2)
    assert Counter(call.asked_model for call in read_calls(tmp_path / "out")) == asked


def test_one_seed_asks_every_server_for_the_same_models(target: Adapters, tmp_path: Path) -> None:
    for _ in range(2):
        assert bench("run", target, folder=tmp_path).exit_code == 0
    assert Counter(target.asked[:120]) == Counter(target.asked[120:])


def test_a_search_for_the_highest_rate_asks_for_many_too(target: Adapters, tmp_path: Path) -> None:
    options = ("--ttft", "2s", "--start", "60", "--most", "60", "--trial", "1s")
    done = bench("slo", target, *options, folder=tmp_path)
    assert done.exit_code == 0, done.output
    assert len(set(target.asked)) > 5


def test_nothing_is_sent_where_no_such_model_is_listed(target: Adapters, tmp_path: Path) -> None:
    target.names = ["demo-small", "demo-large"]
    done = bench("run", target, "--out", str(tmp_path / "out"), folder=tmp_path)
    assert (done.exit_code, target.engine.seen) == (1, [])
    assert "The target lists no model like 'adapter-*': it lists demo-large, demo-small." in done.output


def test_one_model_and_many_at_once_is_a_sentence(target: Adapters, tmp_path: Path) -> None:
    done = bench("run", target, "--model", "demo-small", folder=tmp_path)
    assert (done.exit_code, target.engine.seen) == (1, [])
    assert "asks for every model like 'adapter-*'. Leave --model out." in done.output
