"""The load of one block: the same requests for every arm, sent by vLLM's own load generator.

Owns the prompts, the generator's arguments and the process it runs in. Does not decide what is measured when
(`schedule.py`) and imports no vLLM: the generator runs in `vllm_load.py`'s process, started once, so that its imports
do not compete with a measurement.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from benchmarks.arms import Target
from benchmarks.schedule import Block

INPUT_TOKENS = 64
OUTPUT_TOKENS = 64
TRIES = 8
ANSWER = '{"error":'
NEVER = -100  # the strongest bias there is: the answer does not end before its length


@dataclass(frozen=True, slots=True)
class Measured:
    """One block, measured. Times in milliseconds."""

    block: Block
    tokens_per_s: float
    ttft_p50_ms: float
    ttft_p99_ms: float
    tpot_p50_ms: float
    completed: int
    failed: int
    input_tokens: int
    output_tokens: int
    duration_s: float
    fault: str | None = None


class LoadFailed(Exception):
    """The generator itself did not run; its own words."""


class Prompts:
    """Random texts over a model's vocabulary, a new set for every seed."""

    def __init__(self, model: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
        special = set(self._tokenizer.get_added_tokens_decoder())
        every = [number for number in range(self._tokenizer.get_vocab_size()) if number not in special]
        self._ids = [number for number in every if self._is_word(number)] or every

    def write(self, file: Path, *, count: int, seed: int) -> None:
        """Conversations of a question and an answer, as the generator's `sharegpt` data set wants them.

        It sends the questions; the answers are not used, because the output length is given. (Its `random` data set
        sends `ignore_eos`, which is no field of the OpenAI API, and its `custom` one needs pandas.)
        """
        chance = random.Random(seed)
        conversations = [[{"value": self._text(chance)}, {"value": ""}] for _ in range(count)]
        file.write_text(json.dumps([{"conversations": turns} for turns in conversations]))

    def _is_word(self, number: int) -> bool:
        """Whether a token stays one token between others: neighbours do not merge across a space."""
        text = str(self._tokenizer.decode([number]))
        return text.startswith(" ") and self._tokens(text) == [number]

    def _text(self, chance: random.Random) -> str:
        """A text that is `INPUT_TOKENS` long when the engine reads it."""
        ids = chance.choices(self._ids, k=2 * INPUT_TOKENS)
        taken = INPUT_TOKENS
        for _ in range(TRIES):
            text = str(self._tokenizer.decode(ids[:taken]))
            length = len(self._tokens(text))
            if length == INPUT_TOKENS:
                break
            taken += INPUT_TOKENS - length
        return text

    def _tokens(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)


def end_tokens(model: Path) -> list[int]:
    """The ids that end an answer, from the model's own files."""
    for name in ("generation_config.json", "config.json"):
        with suppress(FileNotFoundError):
            value = json.loads((model / name).read_text()).get("eos_token_id")
            if value is not None:
                return value if isinstance(value, list) else [value]
    return []


def extra_body(model: Path) -> dict[str, Any]:
    """What fixes the answer's length with OpenAI's own fields: `ignore_eos` is not one of them."""
    return {"logit_bias": {str(token): NEVER for token in end_tokens(model)}}


def arguments(block: Block, target: Target, *, model: Path, prompts: Path, result: Path) -> list[str]:
    """The generator's command line for one block; the same for all arms but for address and key."""
    return [
        *("--backend", "openai", "--base-url", target.url, "--endpoint", "/v1/completions"),
        *("--model", target.model, "--tokenizer", str(model), "--temperature", "0"),
        *("--dataset-name", "sharegpt", "--dataset-path", str(prompts), "--disable-shuffle"),
        *("--sharegpt-output-len", str(OUTPUT_TOKENS), "--num-prompts", str(block.point.requests)),
        *("--max-concurrency", str(block.point.clients), "--extra-body", json.dumps(extra_body(model))),
        *("--percentile-metrics", "ttft,tpot", "--metric-percentiles", "50,99", "--seed", str(block.seed)),
        *("--disable-tqdm", "--save-result", "--result-dir", str(result.parent), "--result-filename", result.name),
        *(("--header", f"Authorization=Bearer {target.key}") if target.key else ()),
    ]


def measured(block: Block, result: Mapping[str, Any]) -> Measured:
    """The generator's result file, read; a block with a failed or a short answer is marked with its fault."""
    wanted = block.point.requests
    completed, output = int(result["completed"]), int(result["total_output_tokens"])
    fault = None
    if completed != wanted:
        fault = f"{wanted - completed} of {wanted} requests failed"
    elif output != wanted * OUTPUT_TOKENS:
        fault = f"{output} tokens were answered instead of {wanted * OUTPUT_TOKENS}"
    return Measured(
        block=block,
        tokens_per_s=float(result["output_throughput"]),
        ttft_p50_ms=float(result["median_ttft_ms"]),
        ttft_p99_ms=float(result["p99_ttft_ms"]),
        tpot_p50_ms=float(result["median_tpot_ms"]),
        completed=completed,
        failed=wanted - completed,
        input_tokens=int(result["total_input_tokens"]),
        output_tokens=output,
        duration_s=float(result["duration"]),
        fault=fault,
    )


class LoadGenerator:
    """vLLM's generator in a process of its own; one block at a time. Use as a context manager."""

    def __init__(self, folder: Path, *, environment: Mapping[str, str], log: Path) -> None:
        self._folder = folder
        self._environment = dict(environment)
        self._log = log

    def __enter__(self) -> LoadGenerator:
        command = [sys.executable, "-P", "-m", "benchmarks.vllm_load"]  # -P: not a folder of the caller's
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        self._process.kill()
        self._process.communicate()

    def run(self, block: Block, target: Target, *, model: Path, prompts: Path) -> Measured:
        """Send one block and return what was measured."""
        result = self._folder / "block.json"
        result.unlink(missing_ok=True)
        self._ask(arguments(block, target, model=model, prompts=prompts, result=result))
        return measured(block, json.loads(result.read_text()))

    def _ask(self, command: list[str]) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise LoadFailed(self._last_words()) from None
        answers = (line for line in self._process.stdout if line.startswith(ANSWER))  # vLLM logs there while it loads
        answer = next(answers, None)
        error = json.loads(answer)["error"] if answer is not None else self._last_words()
        if error is not None:
            raise LoadFailed(error)

    def _last_words(self) -> str:
        return "the load generator ended: " + " | ".join(self._log.read_text(errors="replace").splitlines()[-5:])
