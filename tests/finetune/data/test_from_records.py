import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from finetune.data import from_records as rules
from finetune.data.check import Limits, check_file
from finetune.data.from_records import Taken, Taking, examples_of
from finetune.data.rated import Opinion, RatedCall

UP, DOWN = Opinion("up", None), Opinion("down", None)


def asked(*messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"messages": list(messages), **more}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def call(*opinions: Opinion, **changes: Any) -> RatedCall:
    given: dict[str, Any] = {
        "uid": "u",
        "started_at": 1.0,
        "org": "acme",
        "feature": None,
        "cohort": None,
        "whole": True,
        "keeps_text": True,
        "prompt": "why?",
        "messages": asked(user("why?")),
        "answer": "because",
        "opinions": opinions,
    }
    return RatedCall(**(given | changes))


async def take(calls: Sequence[RatedCall], **taking: Any) -> Taken:
    async def newest_first() -> AsyncIterator[RatedCall]:
        for one in calls:
            yield one

    return await examples_of(newest_first(), Taking(**taking))


async def lines(*calls: RatedCall, **taking: Any) -> list[Any]:
    return [json.loads(line) for line in (await take(calls, **taking)).lines]


async def reasons(*calls: RatedCall, **taking: Any) -> dict[str, int]:
    taken = await take(calls, **taking)
    assert taken.lines == []
    return dict(taken.left_out)


async def test_an_answer_that_was_rated_up_is_learned_as_it_was() -> None:
    assert await lines(call(UP)) == [{"messages": [user("why?"), {"role": "assistant", "content": "because"}]}]


@pytest.mark.parametrize("rating", ["up", "down"])
async def test_a_correction_is_learned_whatever_the_rating(rating: str) -> None:
    (line,) = await lines(call(Opinion(rating, "so"), UP))
    assert line["messages"][-1] == {"role": "assistant", "content": "so"}


async def test_a_corrected_answer_is_the_worse_one_of_a_pair() -> None:
    (line,) = await lines(call(Opinion("down", "so")), format="preference")
    assert line == {
        "input": {"messages": [user("why?")]},
        "preferred_output": [{"role": "assistant", "content": "so"}],
        "non_preferred_output": [{"role": "assistant", "content": "because"}],
    }


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (call(DOWN), rules.NOT_CORRECTED),
        (call(UP, DOWN), rules.DISAGREED),
        (call(Opinion("up", "a"), Opinion("up", "b")), rules.DISAGREED),
        (call(UP, keeps_text=False, prompt=None, messages=None, answer=None), rules.OPTED_OUT),
        (call(UP, feature="gate"), rules.GATE),
        (call(UP, cohort="canary"), rules.CANARY),
        (call(UP, whole=False), rules.NOT_WHOLE),
        (call(UP, answer=None), rules.NO_TEXT),
        (call(UP, answer=" \n"), rules.EMPTY),
        (call(Opinion("down", "")), rules.EMPTY),
        (call(UP, messages=None, prompt=None), rules.NO_TEXT),
        (call(UP, messages=None, prompt="be brief\nwhy?"), rules.NO_MESSAGES),
        (call(UP, messages={"omitted": "too long"}), "its messages were not kept: too long"),
        (call(UP, messages=asked(user("x"), {"role": "assistant", "content": "It"})), rules.CONTINUED),
        (call(UP, messages=asked(user("x" * 2**20))), rules.UNFIT),
    ],
)
async def test_what_teaches_nothing_is_left_out_with_its_reason(one: RatedCall, reason: str) -> None:
    assert await reasons(one) == {reason: 1}


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [("any", "abcd"), ("up", "ac"), ("down", "bd"), ("corrected", "bcd")],
)
async def test_only_the_opinions_that_were_asked_for_are_taken(wanted: str, taken: str) -> None:
    said = {
        "a": (UP,),
        "b": (Opinion("down", "B"),),
        "c": (Opinion("up", "C"),),
        "d": (UP, Opinion("down", "D")),
    }
    calls = [call(*opinions, messages=asked(user(name))) for name, opinions in said.items()]
    found = await take(calls, feedback=wanted)
    assert "".join(sorted(json.loads(line)["messages"][0]["content"] for line in found.lines)) == taken
    assert found.left_out == ({} if len(taken) == 4 else {rules.OTHER_OPINION: 4 - len(taken)})


async def test_a_pair_needs_two_answers() -> None:
    same = call(Opinion("up", "because"))
    assert await reasons(same, call(UP, messages=asked(user("x"))), format="preference") == {rules.NO_PAIR: 2}


async def test_the_newest_answer_to_a_prompt_counts_and_the_file_is_oldest_first() -> None:
    calls = [
        call(Opinion("up", "new")),
        call(UP, messages=asked(user("how?"))),
        call(Opinion("up", "old")),
        call(UP, messages=asked(user("who?"))),
    ]
    found = await take(calls)
    said = [[message["content"] for message in json.loads(line)["messages"]] for line in found.lines]
    assert said == [["who?", "because"], ["how?", "because"], ["why?", "new"]]
    assert found.left_out == {rules.DUPLICATE: 1}
    assert found.corrected == 1
    assert len((await take(calls, limit=2)).lines) == 2


async def test_what_the_assistant_said_before_is_context_with_weight_0() -> None:
    talk = asked(
        {"role": "system", "content": "Be brief."}, user("a"), {"role": "assistant", "content": "b"}, user("c")
    )
    (line,) = await lines(call(UP, messages=talk))
    assert [message.get("weight") for message in line["messages"]] == [None, None, 0, None, None]


async def test_tools_and_their_calls_stay_whole_and_names_of_people_do_not() -> None:
    arguments = json.dumps({"to": "jo@example.com", "n": 1})
    called = {"id": "c1", "type": "function", "function": {"name": "send", "arguments": arguments}}
    tool = {"type": "function", "function": {"name": "send", "description": "Sends.", "parameters": {"type": "object"}}}
    talk = asked(
        {**user("mail jo@example.com"), "name": "Jo"},
        {"role": "assistant", "content": None, "tool_calls": [called], "refusal": None},
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "sent to jo@example.com"}]},
        tools=[tool],
    )
    (line,) = await lines(call(UP, messages=talk, answer="jo@example.com has it, not al@example.com"))
    assert line["tools"] == [tool]
    first, second, third, last = line["messages"]
    assert first == user("mail <EMAIL_1>")
    assert json.loads(second["tool_calls"][0]["function"]["arguments"]) == {"to": "<EMAIL_1>", "n": 1}
    assert third["content"] == [{"type": "text", "text": "sent to <EMAIL_1>"}]
    assert last["content"] == "<EMAIL_1> has it, not <EMAIL_2>"


async def test_private_data_stays_where_somebody_asked_for_that() -> None:
    one = call(UP, messages=asked(user("I am jo@example.com")))
    assert (await lines(one, redact=False))[0]["messages"][0]["content"] == "I am jo@example.com"
    taken = await take([one])
    assert b"jo@" not in taken.lines[0]
    assert taken.marks == {"EMAIL": 1}


async def test_an_old_record_of_one_line_was_one_message() -> None:
    (line,) = await lines(call(UP, messages=None, prompt="why not?"))
    assert line["messages"][0] == user("why not?")


@pytest.mark.parametrize("form", ["chat", "preference"])
async def test_the_file_passes_the_check_of_training_files(tmp_path: Path, form: str) -> None:
    calls = [call(Opinion("down", f"so {n}"), messages=asked(user(f"why {n}?"))) for n in range(12)]
    (tmp_path / "file.jsonl").write_bytes(b"".join((await take(calls, format=form)).lines))
    facts = check_file(tmp_path / "file.jsonl", limits=Limits())
    assert (facts.format, facts.examples) == (form, 12)
