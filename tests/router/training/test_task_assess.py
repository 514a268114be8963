import numpy as np
import pytest

from router.tasks import LEARNED
from router.training.task_assess import judge, markdown
from router.training.task_prompts import Example

SURE = 9.0


def logits(guessed: list[int], retrieval: list[float]) -> np.ndarray:
    return np.column_stack([np.eye(len(LEARNED))[guessed] * SURE, retrieval])


def examples(told: list[tuple[str, bool]]) -> list[Example]:
    return [Example(str(at), task, needs, str(at), "") for at, (task, needs) in enumerate(told)]


def test_tasks_and_needs_are_counted_apart() -> None:
    told = examples([("simple", True), ("simple", False), ("code", True), ("writing", False)])
    found = judge(told, logits([0, 1, 1, 4], [SURE, SURE, -SURE, -SURE]))
    assert found.accuracy == 0.75
    assert (found.recall["simple"], found.precision["code"], found.recall["reasoning"]) == (0.5, 0.5, 0)
    assert found.confusion[0][:2] == (1, 1)
    assert (found.retrieval_precision, found.retrieval_recall, found.retrieval_auc) == (0.5, 0.5, 0.5)


def test_sure_and_right_is_calibrated_and_sure_and_wrong_is_not() -> None:
    told = examples([("simple", True), ("code", False)])
    right = judge(told, logits([0, 1], [SURE, -SURE]))
    wrong = judge(told, logits([1, 0], [-SURE, SURE]))
    assert (right.task_ece, right.retrieval_ece) == pytest.approx((0, 0), abs=0.001)
    assert (wrong.task_ece, wrong.retrieval_ece) == pytest.approx((1, 1), abs=0.001)
    assert (right.retrieval_auc, wrong.retrieval_auc) == (1, 0)


def test_an_interval_over_families_knows_that_their_wordings_go_together() -> None:
    told = examples([("simple", False)] * 60)
    guessed = logits([0, 0, 0, 1] * 15, [-SURE] * 60)
    apart, same, copies = (
        judge(told, guessed, units=units).accuracy_interval
        for units in (None, [str(at) for at in range(60)], [str(at % 12) for at in range(60)])
    )
    assert apart == same
    assert copies[1] - copies[0] > 1.5 * (apart[1] - apart[0])


def test_without_a_prompt_that_needs_retrieval_nothing_is_said_of_it_as_good() -> None:
    found = judge(examples([("simple", False)]), logits([0], [-SURE]))
    assert (found.retrieval_prompts, found.retrieval_precision, found.retrieval_auc) == (0, 0, 0.5)


def test_the_table_has_a_line_per_measurement_and_per_task() -> None:
    found = judge(examples([("simple", True), ("code", False)]), logits([0, 1], [SURE, -SURE]))
    text = markdown({"families": found, "unseen": found})
    assert "| families of wordings held out in turn | 2 | 100.0% (100.0% … 100.0%)" in text
    assert all(f"\n| {task} | " in text for task in LEARNED)
