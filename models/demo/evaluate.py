"""Asks running models the held-out prompts over HTTP and counts exact answers. Owns the table, not the families.

Knows an OpenAI-compatible address, a key and model names; whether a gateway or a bare engine answers is all the same.
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import httpx2
from rich.table import Table

from models.demo.families import FAMILIES, Difficulty, Example, Split, draw
from models.demo.grade import is_exact

CONCURRENCY = 16
MAX_TOKENS = 64
TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Row:
    """One family on one model."""

    model: str
    family: str
    difficulty: Difficulty
    asked: int
    exact: int
    stopped: int
    """How many answers ended at the end token, not at the length limit."""

    @property
    def exact_percent(self) -> float:
        """Share of exact answers, 0 to 100."""
        return 100 * self.exact / self.asked


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """All rows of one evaluation and what is needed to repeat it."""

    rows: tuple[Row, ...]
    per_family: int
    seed: int

    def to_json(self) -> str:
        """The report as a JSON document."""
        rows = [asdict(row) | {"exact_percent": round(row.exact_percent, 2)} for row in self.rows]
        return json.dumps({"per_family": self.per_family, "seed": self.seed, "rows": rows}, indent=2)

    def table(self) -> Table:
        """Families down, models across."""
        models = list(dict.fromkeys(row.model for row in self.rows))
        table = Table(title=f"exact answers, held-out prompts, {self.per_family} per family, seed {self.seed}")
        table.add_column("family")
        table.add_column("difficulty")
        for model in models:
            table.add_column(model, justify="right")
        percent = {(row.model, row.family): f"{row.exact_percent:.1f} %" for row in self.rows}
        for family in dict.fromkeys(row.family for row in self.rows):
            cells = [percent.get((model, family), "") for model in models]
            table.add_row(family, FAMILIES[family].difficulty.value, *cells)
        return table


async def evaluate(
    base_url: str,
    api_key: str,
    *,
    models: Sequence[str],
    per_family: int,
    seed: int,
    answered: Callable[[], object] = lambda: None,
) -> EvaluationReport:
    """Asks every model `per_family` held-out prompts of every family, greedily. `base_url` ends with /v1.

    `answered` is called once for every answer.
    """
    headers = {"Authorization": f"Bearer {api_key}"}
    rows: list[Row] = []
    async with httpx2.AsyncClient(base_url=base_url, headers=headers, timeout=TIMEOUT_S) as client:
        for model in models:
            for family in FAMILIES:
                examples = draw(family, Split.HELD_OUT, count=per_family, seed=seed)
                rows.append(await _row(client, model, examples=examples, answered=answered))
    return EvaluationReport(tuple(rows), per_family, seed)


async def _row(
    client: httpx2.AsyncClient, model: str, *, examples: Sequence[Example], answered: Callable[[], object]
) -> Row:
    slots = asyncio.Semaphore(CONCURRENCY)

    async def ask(example: Example) -> tuple[str, str]:
        answer = await _ask(client, example, model=model, slots=slots)
        answered()
        return answer

    answers = await asyncio.gather(*map(ask, examples))
    exact = sum(is_exact(example, answer) for example, (answer, _) in zip(examples, answers, strict=True))
    stopped = sum(reason == "stop" for _, reason in answers)
    family = examples[0].family
    return Row(model, family, FAMILIES[family].difficulty, len(examples), exact, stopped)


async def _ask(
    client: httpx2.AsyncClient, example: Example, *, model: str, slots: asyncio.Semaphore
) -> tuple[str, str]:
    """The answer and why it ended. A failed request fails the evaluation: a missing answer is not a wrong one."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": example.prompt}],
        "temperature": 0,
        "max_tokens": MAX_TOKENS,
    }
    async with slots:
        response = await client.post("chat/completions", json=body)
    response.raise_for_status()
    choice = response.json()["choices"][0]
    return choice["message"]["content"] or "", choice["finish_reason"]
