"""Questions through the pipeline: what is sent, tried again, and written down."""

from dataclasses import dataclass, field

import orjson
import pytest

from models.clock import SystemClock
from models.errors import InvalidRequest, NotFound, Unavailable, UpstreamError
from models.types import GenerationRequest, Principal
from serving.engines.answer import Answer
from serving.telemetry.record import CallRecord
from serving.tuning.asking import TRIES, GatewayAsk, NoAnswer, Question, Reply, Unaskable

ASKED = Question(({"role": "user", "content": "2 + 2?"},), 64)


def told(message: dict[str, object]) -> Answer:
    return Answer(body=orjson.dumps({"choices": [{"message": message}]}))


@dataclass
class ScriptedPipeline:
    """Answers or raises what it was given, in order; also takes the records."""

    script: list[Answer | Exception]
    asked: list[tuple[GenerationRequest, Principal]] = field(default_factory=list)
    begun: list[CallRecord] = field(default_factory=list)
    finished: list[CallRecord] = field(default_factory=list)

    async def answer(self, request: GenerationRequest, caller: Principal, *, record: CallRecord) -> Answer:
        self.asked.append((request, caller))
        found = self.script.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    def begin(self, record: CallRecord) -> None:
        self.begun.append(record)

    def finish(self, record: CallRecord) -> None:
        self.finished.append(record)

    async def ask(self, question: Question = ASKED) -> str:
        return (await self.replied(question)).text

    async def replied(self, question: Question = ASKED) -> Reply:
        return await GatewayAsk(self, self, clock=SystemClock(), first_wait_s=0.0).ask("bot@1", question, org="acme")


async def test_a_question_is_asked_greedily_for_the_org_and_leaves_a_record() -> None:
    pipeline = ScriptedPipeline([told({"content": "4"})])
    assert await pipeline.ask() == "4"
    request, caller = pipeline.asked[0]
    assert request.body == {
        "model": "bot@1",
        "messages": [{"role": "user", "content": "2 + 2?"}],
        "temperature": 0,
        "max_tokens": 64,
    }
    assert (request.kind, request.stream, caller.org, caller.models) == ("chat", False, "acme", None)
    record = pipeline.finished[0]
    assert (record.feature, record.org, record.status, record.requested_model) == ("gate", "acme", 200, "bot@1")
    assert pipeline.begun == pipeline.finished


async def test_a_prompt_goes_to_the_completions_and_tools_go_along() -> None:
    pipeline = ScriptedPipeline([Answer(body=b'{"choices": [{"text": " 4"}]}'), told({"content": "4"})])
    assert await pipeline.ask(Question((), 8, prompt="2 + 2 =")) == " 4"
    await pipeline.ask(Question(ASKED.messages, 8, tools=({"type": "function"},)))
    assert (pipeline.asked[0][0].kind, pipeline.asked[0][0].body["prompt"]) == ("completion", "2 + 2 =")
    assert pipeline.asked[1][0].body["tools"] == [{"type": "function"}]


async def test_a_call_that_failed_is_tried_again_and_each_try_is_written_down() -> None:
    pipeline = ScriptedPipeline([Unavailable("full"), UpstreamError("lost"), told({"content": "4"})])
    assert await pipeline.ask() == "4"
    assert [record.status for record in pipeline.finished] == [503, 503, 200]
    assert pipeline.finished[0].error_code == "no_capacity"


async def test_a_model_that_never_answers_is_no_wrong_answer() -> None:
    pipeline = ScriptedPipeline([Unavailable("full")] * TRIES)
    with pytest.raises(NoAnswer, match="gave no answer: full"):
        await pipeline.ask()
    assert len(pipeline.finished) == TRIES


@pytest.mark.parametrize(
    ("error", "raised"), [(InvalidRequest("It is too long."), Unaskable), (NotFound("No such model."), NoAnswer)]
)
async def test_what_no_try_can_help_is_told_at_once(error: Exception, raised: type[Exception]) -> None:
    pipeline = ScriptedPipeline([error])
    with pytest.raises(raised):
        await pipeline.ask()
    assert len(pipeline.finished) == 1


async def test_an_answer_that_is_no_completion_is_a_failure_of_the_engine() -> None:
    pipeline = ScriptedPipeline([Answer(body=b"{}"), told({"content": "4"})])
    assert await pipeline.ask() == "4"


async def test_an_answer_that_its_tokens_did_not_suffice_for_is_cut() -> None:
    choices = [{"message": {"content": "4"}, "finish_reason": reason} for reason in ("stop", "length")]
    pipeline = ScriptedPipeline([Answer(body=orjson.dumps({"choices": [choice]})) for choice in choices])
    assert [await pipeline.replied(), await pipeline.replied()] == [Reply("4"), Reply("4", cut=True)]
