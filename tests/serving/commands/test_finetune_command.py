"""`penstock finetune` against a gateway whose jobs the test moves, as a coordinator would."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from typer.testing import Result

from models.demo.lessons import Sizes, lessons
from models.errors import ConfigurationError
from serving.commands.finetune_recipe import model_of, read_recipe
from serving.store.jobs import EventRow, JobRow
from serving.store.store import Store
from tests.readme import ROOT, training_words
from tests.serving.adapters.stand import SMALL, Stand, stand_in_thread

Run = Callable[..., Result]
RECIPE = f"model: {SMALL}\nseed: 3\nhyperparameters: {{n_epochs: auto, lora_rank: 4}}\n"
DONE = {"status": "succeeded", "phase": "done", "finished_at": 9.0, "fine_tuned_model": "ft:demo-small:acme:support:x"}


@dataclass
class Rows:
    """The store of a stand, from outside of its loop."""

    url: str

    def open(self, work: Callable[[Store], Any]) -> Any:
        async def opened() -> Any:
            async with Store.open(self.url) as store:
                return await work(store)

        return asyncio.run(opened())

    def move(self, job: str, *events: EventRow, **values: Any) -> None:
        """Change a job and tell events."""

        async def moved(store: Store) -> None:
            async with store.jobs.changing() as change:
                row = await change.find(job)
                assert row is not None
                await change.put(replace(row, **values))
                for event in events:
                    await change.tell(event)

        self.open(moved)

    def newest(self) -> JobRow | None:
        """The job that was made last."""

        async def found(store: Store) -> JobRow | None:
            page = await store.jobs.page("acme", after=None, limit=1)
            return page[0][0] if page and page[0] else None

        row: JobRow | None = self.open(found)
        return row


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    (tmp_path / "stand").mkdir()
    with stand_in_thread(tmp_path / "stand", replicas=1) as made:
        yield made
    structlog.reset_defaults()


@pytest.fixture
def rows(stand: Stand, tmp_path: Path) -> Rows:
    return Rows(f"sqlite+aiosqlite:///{tmp_path / 'stand' / 'penstock.db'}")


@pytest.fixture
def there(stand: Stand) -> dict[str, str]:
    return {"PENSTOCK_URL": stand.urls[0], "PENSTOCK_API_KEY": stand.keys["engineer"]}


@pytest.fixture
def asked(tmp_path: Path) -> tuple[str, ...]:
    """A recipe and a training file, as options of `run`."""
    (tmp_path / "lora_sft.yaml").write_text(RECIPE)
    line = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]}
    text = "".join(
        json.dumps(line | {"messages": [*line["messages"][:1], {"role": "assistant", "content": str(at)}]}) + "\n"
        for at in range(12)
    )
    (tmp_path / "tickets.jsonl").write_text(text)
    return str(tmp_path / "lora_sft.yaml"), "--data", str(tmp_path / "tickets.jsonl"), "--suffix", "support"


def metrics(job: str, step: int, **more: float) -> EventRow:
    data = {"step": step, "train_loss": 2.0 / step, "tokens_per_s": 1500.0, **more}
    return EventRow(job, float(step), f"Step {step}", type="metrics", data=data)


def trained(rows: Rows, *last: EventRow, **end: Any) -> threading.Thread:
    """A thread that takes the next job from its files to its end."""

    def work() -> None:
        while (row := rows.newest()) is None:
            time.sleep(0.05)
        told = [metrics(row.id, step) for step in (1, 2)]
        rows.move(
            row.id, *told, metrics(row.id, 3, valid_loss=0.5), status="running", phase="training", step=3, steps=3
        )
        rows.move(row.id, *(replace(event, job=row.id) for event in last), **end)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def seen(result: Result) -> Any:
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_run_sends_trains_and_prints_the_models_name(penstock: Run, there: Any, rows: Rows, asked: Any) -> None:
    report = {"passed": True, "reasons": ["better than the base"], "warnings": []}
    thread = trained(rows, EventRow("", 5.0, "The model is ready."), **DONE, report=report)
    ran = penstock("finetune", "run", *asked, "--set", "hyperparameters.n_epochs=3", **there)
    thread.join()
    assert ran.exit_code == 0, ran.stderr
    assert ran.stdout == "ft:demo-small:acme:support:x\n"
    for told in (
        "tickets.jsonl is file-",
        "step 3: train_loss 0.6667, valid_loss 0.5",
        "The model is ready.",
        "The gate passed it.",
        "better than the base",
    ):
        assert told in ran.stderr
    row = rows.newest()
    assert row is not None
    numbers = row.asked["method"]["supervised"]["hyperparameters"]
    assert (numbers, row.asked["seed"], row.adapter) == ({"n_epochs": 3, "lora_rank": 4}, 3, "support")
    assert row.asked["penstock"]["recipe"] == "lora_sft"


@pytest.mark.parametrize("name", ["lora_sft", "qlora_sft", "dpo"])
def test_a_recipe_that_comes_along_names_its_card_wherever_the_reader_is(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert model_of(read_recipe(ROOT / f"finetune/recipes/{name}.yaml"), None) == "demo-large"
    (tmp_path / "mine.yaml").write_text("recipe: lora_sft\nbase: models/demo/weights/none\n")
    with pytest.raises(ConfigurationError, match="names no card to train for"):
        model_of(read_recipe(tmp_path / "mine.yaml"), None)


def test_a_job_that_fails_ends_the_command_with_its_reason(penstock: Run, there: Any, rows: Rows, asked: Any) -> None:
    error = {"code": "diverged", "message": "The loss is no number any more.", "param": None}
    thread = trained(rows, status="failed", phase="done", finished_at=9.0, error=error)
    ran = penstock("finetune", "run", *asked, **there)
    thread.join()
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert ran.stderr.strip().endswith("The loss is no number any more.")


def test_the_command_of_the_first_page_trains_what_it_says_and_tells_that_the_gate_did_not_pass(
    penstock: Run, there: Any, rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lessons(tmp_path / "lessons", sizes=Sizes(new=60, replay=60, questions=20, old_questions=3, pairs=2))
    words = [*training_words(tmp_path / "lessons", data="shuffled.jsonl"), "--set", "hyperparameters.n_epochs=2"]
    monkeypatch.chdir(ROOT)
    said = "The gate is not passed: version 2 is kept, and served to nobody. See the report."
    error = {"code": "gate_failed", "message": said, "param": None}
    end = {"status": "failed", "phase": "done", "finished_at": 9.0, "error": error}
    thread = trained(rows, EventRow("", 5.0, said, level="error"), **end, report={"passed": False, "reasons": ["no"]})
    ran = penstock(*words, **there)
    assert rows.newest() is not None, ran.stderr
    thread.join()
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert ran.stderr.strip().endswith(said)
    row = rows.newest()
    assert row is not None
    for told in ("shuffled.jsonl is file-", f"{row.id} trains an adapter for {row.base}.", "The gate did not pass it."):
        assert told in ran.stderr
    ours = row.asked["penstock"]
    assert (row.base, row.adapter, ours["recipe"], ours["auto_promote"]) == (
        "demo-large",
        "triage",
        "lora_sft",
        "promote",
    )
    assert row.asked["method"]["supervised"]["hyperparameters"]["n_epochs"] == 2
    assert None not in (row.validation_file, ours["golden_file"], ours["regression_file"])


def test_no_job_and_no_checkpoint_are_sentences(penstock: Run, there: Any, asked: Any) -> None:
    listed = penstock("finetune", "jobs", **there)
    assert listed.stdout == ""
    assert listed.stderr == "There is no job: `penstock finetune run RECIPE --data FILE` starts one.\n"
    job = penstock("finetune", "run", *asked, "--detach", **there).stdout.strip()
    assert penstock("finetune", "checkpoints", job, **there).stderr == f"{job} keeps no checkpoint.\n"


def test_a_detached_job_is_seen_paused_resumed_and_cancelled(penstock: Run, there: Any, rows: Rows, asked: Any) -> None:
    job = penstock("finetune", "run", *asked, "--detach", **there).stdout.strip()
    rows.move(job, status="queued")
    assert f"{job}  of demo-small  queued, place 1" in penstock("finetune", "jobs", **there).stdout
    shown = seen(penstock("finetune", "show", job, "--json", **there))
    assert (shown["status"], shown["penstock"]["queue_position"]) == ("queued", 1)
    assert penstock("finetune", "pause", job, **there).stderr.strip() == f"{job}: paused."
    assert penstock("finetune", "resume", job, **there).stderr.strip() == f"{job}: queued, place 1."
    assert seen(penstock("finetune", "cancel", job, "--json", **there))["status"] == "cancelled"
    again = penstock("finetune", "pause", job, **there)
    assert (again.exit_code, "has ended as 'cancelled'" in again.stderr) == (1, True)
    assert [one["id"] for one in seen(penstock("finetune", "jobs", "--json", **there))] == [job]


def test_show_draws_the_loss_and_saves_a_picture(
    penstock: Run, there: Any, rows: Rows, asked: Any, tmp_path: Path
) -> None:
    job = seen(penstock("finetune", "run", *asked, "--detach", "--json", **there))["id"]
    events = [metrics(job, step, **({"valid_loss": 1.0 / step} if step % 10 == 0 else {})) for step in range(1, 41)]
    rows.move(job, *events, status="running", phase="training", step=40, steps=80, attempt=1)
    shown = penstock("finetune", "show", job, "--plot", str(tmp_path / "loss.png"), **there)
    assert shown.exit_code == 0, shown.stderr
    assert "step: 40 of 80" in shown.stdout
    assert shown.stdout.count("o") >= 4
    assert "· training loss  o validation loss" in shown.stdout
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert penstock("finetune", "show", job, "--plot", str(tmp_path / "loss.gif"), **there).exit_code == 1


def test_logs_show_every_step_and_follow_to_the_end(penstock: Run, there: Any, rows: Rows, asked: Any) -> None:
    job = penstock("finetune", "run", *asked, "--detach", **there).stdout.strip()
    rows.move(job, metrics(job, 1), metrics(job, 2), status="running", phase="training", step=2, steps=2)
    lines = penstock("finetune", "logs", job, **there).stdout.splitlines()
    assert lines[0] == "The job is created; its files are checked next."
    assert lines[1].startswith("The gate has 3 questions")
    assert lines[2:] == ["step 1: train_loss 2, tokens_per_s 1500", "step 2: train_loss 1, tokens_per_s 1500"]
    rows.move(job, EventRow(job, 9.0, "Done [bold].", level="warn"), **DONE)
    followed = penstock("finetune", "logs", job, "--follow", **there)
    assert (followed.exit_code, followed.stdout.splitlines()[-1]) == (0, "Done [bold].")
    assert len(seen(penstock("finetune", "logs", job, "--json", **there))) == 5


def test_a_report_is_shown_once_there_is_one(penstock: Run, there: Any, rows: Rows, asked: Any) -> None:
    job = penstock("finetune", "run", *asked, "--detach", **there).stdout.strip()
    early = penstock("finetune", "report", job, **there)
    assert (early.exit_code, "There is no report" in early.stderr) == (1, True)
    rows.move(job, report={"passed": False, "reasons": ["worse than the base"]})
    assert "* worse than the base" in penstock("finetune", "report", job, **there).stdout
    assert seen(penstock("finetune", "report", job, "--json", **there))["passed"] is False


WRONG: list[tuple[str, tuple[str, ...], str]] = [
    ("model: [", (), "is not YAML"),
    ("modle: x", (), "modle"),
    ("seed: 1", (), "name one with --model"),
    (RECIPE, ("--set", "x=1"), "--set wants NAME=VALUE"),
    (RECIPE, ("--set", "seed.x=1"), "there is nothing inside of 'seed'"),
    (RECIPE, ("--auto-promote", "--canary", "5"), "Choose one of"),
    (RECIPE, ("--data", "nothing.jsonl"), "is not a file"),
    (RECIPE, ("--set", "hyperparameters.n_epochs=1000"), "n_epochs"),
    (RECIPE, ("--suffix", "../../x"), "suffix must be"),
    (RECIPE, ("--data", "file-missing"), "There is no such file."),
]


def test_what_cannot_be_run_is_told_in_one_sentence(penstock: Run, there: Any, rows: Rows, asked: Any) -> None:
    for text, options, said in WRONG:
        Path(asked[0]).write_text(text)
        ran = penstock("finetune", "run", *asked, *options, **there)
        assert (ran.exit_code, ran.stdout) == (1, "")
        assert said in ran.stderr.splitlines()[-1]
    assert rows.newest() is None


def test_a_file_that_names_no_recipe_says_which_there_are(
    penstock: Run, there: Any, asked: Any, tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text(RECIPE)
    ran = penstock("finetune", "run", str(tmp_path / "mine.yaml"), *asked[1:], **there)
    assert "lora_sft, qlora_sft, dpo" in ran.stderr
    (tmp_path / "mine.yaml").write_text(f"recipe: qlora_sft\ndevice: cpu\n{RECIPE}")
    made = penstock("finetune", "run", str(tmp_path / "mine.yaml"), *asked[1:], "--detach", "--json", **there)
    assert "The stack decides by itself: device." in made.stderr
    assert seen(made)["penstock"]["recipe"] == "qlora_sft"
