from collections import Counter
from pathlib import Path

import pytest

from models.errors import ConfigurationError
from router.tasks import LEARNED
from router.training.task_prompts import FILLINGS, digest, read_examples, read_unseen

FAMILY = "values: {{thing: [boat, road, lamp]}}\nfamilies: {{a: {{task: {task}, retrieval: false, texts: [{text}]}}}}\n"


def write(folder: Path, *, task: str = "code", text: str = "Paint it") -> Path:
    file = folder / "prompts.yaml"
    file.write_text(FAMILY.format(task=task, text=text))
    return file


def test_no_prompt_is_both_learned_and_measured_on() -> None:
    learned = {example.text.lower().strip(" .?!") for example in read_examples()}
    unseen = {example.text.lower().strip(" .?!") for example in read_unseen()}
    assert len(unseen) >= 120
    assert learned & unseen == set()


def test_every_task_has_prompts_with_and_without_retrieval_in_both_files() -> None:
    for examples in (read_examples(), read_unseen()):
        counts = Counter((example.task, example.retrieval) for example in examples)
        assert set(counts) == {(task, needs) for task in LEARNED for needs in (True, False)}
        assert min(counts.values()) >= 8


def test_the_same_file_gives_the_same_prompts_and_no_name_is_left_in_them() -> None:
    first, second = read_examples(), read_examples()
    assert first == second
    assert not [example.text for example in first if "{policy}" in example.text or "{mail}" in example.text]


def test_a_wording_becomes_a_few_prompts_with_different_values_in_one(tmp_path: Path) -> None:
    found = read_examples(write(tmp_path, text="'Is the {thing} longer than the {thing}?'"))
    assert 1 < len(found) <= FILLINGS
    pairs = [(words[2], words[-1].strip("?")) for words in (example.text.split() for example in found)]
    assert all({one, other} < {"boat", "road", "lamp"} and one != other for one, other in pairs)
    assert {example.wording for example in found} == {"Is the {thing} longer than the {thing}?"}


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ({"task": "cooking"}, "families.a.task: Input should be"),
        ({"text": "'{colour} paint'"}, "family 'a': no values are listed for 'colour'"),
        ({"text": "'{thing}, {thing}, {thing}, {thing}'"}, "family 'a': 'thing' has fewer values"),
        ({"text": "["}, "is not YAML"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, made: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        read_examples(write(tmp_path, **made))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere.yaml' cannot be read: No such file"):
        read_unseen(tmp_path / "nowhere.yaml")


def test_the_digest_is_of_the_file_as_it_stands(tmp_path: Path) -> None:
    before = digest(write(tmp_path))
    assert digest(write(tmp_path)) == before != digest(write(tmp_path, text="Paint them"))
