import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.errors import ConfigurationError
from router.tasks import LONG, MANIFEST, TASKS, WEIGHTS, TaskHead
from tests.router.tasks.made import WIDTH, embedder, examples, head

TEXTS = tuple(example.text for example in examples())


@pytest.fixture(scope="module")
def made() -> TaskHead:
    return head()


def test_a_head_that_is_read_guesses_as_the_one_that_was_written(made: TaskHead, tmp_path: Path) -> None:
    vectors = embedder().embed(TEXTS).sentence
    written = made.write(tmp_path)
    again = TaskHead.read(tmp_path)
    assert again.manifest == written
    assert again.classify(TEXTS, vectors) == made.classify(TEXTS, vectors)
    assert sorted(path.name for path in tmp_path.iterdir()) == [MANIFEST, WEIGHTS]


def test_it_tells_the_tasks_and_the_needs_that_it_was_taught(made: TaskHead) -> None:
    found = made.classify(TEXTS, embedder().embed(TEXTS).sentence)
    assert [guess.task for guess in found] == [example.task for example in examples()]
    assert [guess.retrieval > 0.5 for guess in found] == [example.retrieval for example in examples()]
    assert all(1 / 5 <= guess.task_probability <= 1 for guess in found)


def test_one_prompt_is_guessed_as_it_is_among_others(made: TaskHead) -> None:
    vectors = embedder().embed(TEXTS).sentence
    alone = [made.classify([text], vectors[at : at + 1])[0] for at, text in enumerate(TEXTS)]
    for one, other in zip(alone, made.classify(TEXTS, vectors), strict=True):
        assert one.task == other.task
        assert one[1:] == pytest.approx(other[1:], abs=2e-4)


def test_a_long_prompt_is_a_long_document_by_its_length_alone(made: TaskHead) -> None:
    texts = ["Why? " + "x" * (LONG - 5), "Why? " + "x" * (LONG - 6)]
    long, short = made.classify(texts, embedder().embed(texts).sentence)
    assert (long.task, long.task_probability) == ("long-document", 1.0)
    assert short.task in TASKS[:-1]


def test_no_prompts_give_no_guesses(made: TaskHead) -> None:
    assert made.classify([], np.zeros((0, WIDTH), np.float32)) == ()


@pytest.mark.parametrize("shape", [(1, WIDTH - 1), (2, WIDTH)])
def test_vectors_that_do_not_belong_to_the_texts_are_refused(made: TaskHead, shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"1 texts need vectors of {WIDTH} dimensions"):
        made.classify(["Hello"], np.zeros(shape, np.float32))


def test_another_embedder_is_refused_by_name_and_its_own_is_not(made: TaskHead) -> None:
    made.require(embedder().id)
    with pytest.raises(
        ConfigurationError, match=r"here it is 'other@1'. Train it again: `penstock router train-tasks`"
    ):
        made.require("other@1")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 9}, "format 9"),
        ({"cues_version": 0}, "cues of version 0"),
        ({"weights_digest": "0" * 64}, "not those that the manifest names"),
        ({"prompts": "many"}, "cannot be read"),
        ({"tasks": ["simple", "cooking"]}, "a task 'cooking'"),
        ({"tasks": ["simple", "code"]}, "do not fit the tasks"),
        ({"words": [str(number) for number in range(200)]}, "fewer weights than cues and words"),
    ],
)
def test_a_head_that_does_not_fit_is_refused_by_name(
    made: TaskHead, tmp_path: Path, change: dict[str, object], said: str
) -> None:
    made.write(tmp_path)
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    (tmp_path / MANIFEST).write_text(json.dumps(manifest | change))
    with pytest.raises(ConfigurationError, match=said):
        TaskHead.read(tmp_path)


def test_a_folder_without_a_head_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="holds no task head"):
        TaskHead.read(tmp_path)


@pytest.mark.parametrize(
    ("part", "value"), [("weights", np.nan), ("bias", np.inf), ("scale", 0.0)], ids=["weights", "bias", "scale"]
)
def test_numbers_that_cannot_be_used_are_refused(made: TaskHead, tmp_path: Path, part: str, value: float) -> None:
    spoilt = np.full_like(getattr(made, part), value)
    replace(made, **{part: spoilt}).write(tmp_path)
    with pytest.raises(ConfigurationError, match="cannot be used"):
        TaskHead.read(tmp_path)
