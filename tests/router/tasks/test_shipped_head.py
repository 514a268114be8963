"""The head that ships, on the embedder that ships."""

from collections.abc import Iterator

import pytest
import torch

from models.embedders import Embedder, build_embedder
from models.embedders.sentence import SentenceSettings
from router.tasks import LEARNED, LONG, Measured, TaskGuess, TaskHead, shipped
from router.training.task_assess import judge
from router.training.task_fit import cues_digest
from router.training.task_prompts import digest, read_examples, read_unseen

CLAUSE = "Goods may be sent back within 21 days. The buyer bears the cost unless the item was faulty."
PAGE = "The committee met again in spring and heard the report on the bridge. "


@pytest.fixture(scope="module")
def embedder() -> Iterator[Embedder]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield build_embedder(SentenceSettings(kind="sentence"))
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def head(embedder: Embedder) -> TaskHead:
    found = shipped()
    found.require(embedder.id)
    return found


@pytest.fixture(scope="module")
def measured(embedder: Embedder, head: TaskHead) -> Measured:
    """Anew, on the list that is never trained on."""
    examples = read_unseen()
    texts = [example.text for example in examples]
    return judge(examples, head.logits(texts, embedder.embed(texts).sentence))


@pytest.fixture(scope="module")
def guesses(embedder: Embedder, head: TaskHead) -> dict[str, TaskGuess]:
    texts = [
        "What does our return policy say about faulty goods?",
        f"{CLAUSE}\n\nWho pays when the goods are faulty?",
        "What is a return policy?",
        "Draft a return policy for a small shop.",
        f"Who heard the report, according to this text?\n\n{PAGE * (LONG // len(PAGE) + 1)}",
    ]
    return dict(zip(("ours", "given", "general", "draft", "long"), _guess(texts, embedder, head=head), strict=True))


def _guess(texts: list[str], embedder: Embedder, *, head: TaskHead) -> tuple[TaskGuess, ...]:
    return head.classify(texts, embedder.embed(texts).sentence)


def test_it_belongs_to_the_shipped_prompts_and_to_the_cues_as_they_count_now(head: TaskHead) -> None:
    examples = read_examples()
    assert head.manifest.prompts_digest == digest()
    assert head.manifest.prompts == len(examples) >= 2000
    assert head.manifest.cues_digest == cues_digest([example.text for example in examples])


def test_it_reaches_its_floors_on_prompts_that_it_never_saw(measured: Measured) -> None:
    assert measured.prompts >= 160
    assert measured.accuracy >= 0.85
    assert min(measured.recall.values()) >= 0.75
    assert measured.retrieval_precision >= 0.87
    assert measured.retrieval_recall >= 0.87
    assert measured.retrieval_auc >= 0.96


def test_its_probabilities_hold_there(measured: Measured) -> None:
    assert measured.task_ece <= 0.09
    assert measured.retrieval_ece <= 0.11


def test_its_manifest_says_what_is_measured_here(head: TaskHead, measured: Measured) -> None:
    told = head.manifest.measured["unseen"]
    assert (told.prompts, told.retrieval_prompts) == (measured.prompts, measured.retrieval_prompts)
    assert told.accuracy == pytest.approx(measured.accuracy, abs=0.02)
    assert set(told.recall) == set(LEARNED)


def test_our_rules_need_retrieval_and_rules_that_are_given_or_general_do_not(guesses: dict[str, TaskGuess]) -> None:
    assert guesses["ours"].retrieval > 0.7
    assert max(guesses[name].retrieval for name in ("given", "general", "draft")) < 0.5


def test_the_same_matter_is_another_task_when_another_thing_is_asked(guesses: dict[str, TaskGuess]) -> None:
    assert [guesses[name].task for name in ("given", "general", "draft")] == ["extraction", "simple", "writing"]


def test_a_question_about_a_long_pasted_document_needs_no_retrieval(guesses: dict[str, TaskGuess]) -> None:
    assert guesses["long"].task == "long-document"
    assert guesses["long"].retrieval < 0.5
