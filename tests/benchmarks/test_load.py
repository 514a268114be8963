import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from benchmarks.arms import Bench, Target
from benchmarks.load import INPUT_TOKENS, LoadFailed, LoadGenerator, Prompts, arguments, end_tokens, measured
from benchmarks.schedule import Block, Point
from models.catalog import Catalog, resolve
from serving.api.completions import completion_checks
from serving.api.parameters import check_fields
from serving.settings import HttpSettings

BLOCK = Block(0, Point(clients=16), "penstock", seed=42)
TARGET = Target("http://127.0.0.1:1", "demo", "sk-secret")
RESULT: dict[str, Any] = {
    "completed": 192,
    "total_input_tokens": 12288,
    "total_output_tokens": 12288,
    "output_throughput": 2000.5,
    "median_ttft_ms": 20.0,
    "p99_ttft_ms": 41.0,
    "median_tpot_ms": 5.5,
    "duration": 6.1,
}


def options(bench: Bench, target: Target = TARGET) -> dict[str, str]:
    found = arguments(BLOCK, target, model=bench.model, prompts=Path("p.json"), result=Path("out/block.json"))
    named = [place for place, word in enumerate(found) if word.startswith("--")]
    return {
        found[place]: " ".join(found[place + 1 : end]) for place, end in zip(named, [*named[1:], None], strict=True)
    }


def test_the_generator_is_told_address_clients_and_lengths(bench: Bench) -> None:
    told = options(bench)
    assert told["--base-url"] == TARGET.url
    assert told["--endpoint"] == "/v1/completions"
    assert told["--max-concurrency"] == "16"
    assert told["--num-prompts"] == "192"
    assert told["--sharegpt-output-len"] == "64"
    assert told["--seed"] == "42"


def test_the_key_goes_into_a_header_and_no_arm_without_one_gets_it(bench: Bench) -> None:
    assert options(bench)["--header"] == "Authorization=Bearer sk-secret"
    assert "--header" not in options(bench, Target("http://127.0.0.1:1", "demo"))


def test_arms_differ_in_address_and_key_only(bench: Bench) -> None:
    other = options(bench, Target("http://127.0.0.1:2", "demo"))
    changed = {name for name, value in options(bench).items() if other.get(name) != value}
    assert changed == {"--base-url", "--header"}


def test_the_length_is_fixed_by_a_field_that_the_gateway_takes(bench: Bench) -> None:
    body = json.loads(options(bench)["--extra-body"])
    assert body == {"logit_bias": {"1": -100, "7": -100}}
    sent = body | {"model": "demo", "prompt": "a", "repetition_penalty": 1.0, "max_tokens": 64, "logprobs": None}
    sent |= {"stream": True, "stream_options": {"include_usage": True}, "temperature": 0.0}
    check_fields(sent, completion_checks(HttpSettings()), required=("model", "prompt"))


def test_a_model_without_an_end_token_has_none(tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": 5}')
    assert end_tokens(tmp_path) == [5]
    assert end_tokens(tmp_path / "nowhere") == []


def test_a_result_is_read_as_it_is() -> None:
    found = measured(BLOCK, RESULT)
    assert (found.tokens_per_s, found.ttft_p50_ms, found.tpot_p50_ms) == (2000.5, 20.0, 5.5)
    assert (found.completed, found.failed, found.fault) == (192, 0, None)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"completed": 190}, "2 of 192 requests failed"),
        ({"total_output_tokens": 12000}, "12000 tokens were answered instead of 12288"),
    ],
)
def test_a_failed_or_short_answer_marks_the_block(change: dict[str, int], fault: str) -> None:
    assert measured(BLOCK, RESULT | change).fault == fault


def test_prompts_have_their_length_and_are_the_same_for_the_same_seed(tmp_path: Path) -> None:
    model = resolve(Catalog.load().card("demo-large"))
    texts = []
    for number, seed in enumerate((1, 1, 2)):
        Prompts(model).write(tmp_path / f"{number}.json", count=20, seed=seed)
        texts.append((tmp_path / f"{number}.json").read_text())
    assert texts[0] == texts[1] != texts[2]
    reader = Tokenizer.from_file(str(model / "tokenizer.json"))
    questions = [entry["conversations"][0]["value"] for entry in json.loads(texts[0])]
    lengths = [len(reader.encode(question).ids) for question in questions]
    assert len(lengths) == 20
    assert set(lengths) == {INPUT_TOKENS}


def test_a_generator_that_cannot_start_says_why(tmp_path: Path) -> None:
    environment = {"PATH": "", "PYTHONPATH": str(tmp_path), "PYTHONNOUSERSITE": "1"}
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "__init__.py").touch()
    (tmp_path / "benchmarks" / "vllm_load.py").write_text("raise SystemExit('no engine here')")
    with (
        LoadGenerator(tmp_path, environment=environment, log=tmp_path / "log") as generator,
        pytest.raises(LoadFailed, match="no engine here"),
    ):
        generator.run(BLOCK, TARGET, model=tmp_path, prompts=tmp_path / "p.json")
