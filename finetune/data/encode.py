"""An example as a model reads it: its tokens, and which of them are trained.

Owns where an assistant's turn begins and ends. The text up to a turn with the template's generation prompt is what the
model is given when it is asked; what the template writes after it, with the token that ends the turn, is what it is to
say: that is trained. The whole text is tokenised once, and spans of characters become spans of tokens by the
tokenizer's offsets. Does not cut: who trains knows how long an example may be.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from finetune.data.examples import Chat, Completion, Preference
from finetune.data.template import ChatTemplate, SpecialTokens, TemplateRefused
from models.errors import ConfigurationError

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids, and for each whether the model learns to say it. Both of one length."""

    ids: list[int]
    trained: list[bool]


@dataclass(frozen=True, slots=True)
class EncodedPair:
    """Token ids of a prompt and of two answers to it, each with the token that ends it."""

    prompt: list[int]
    preferred: list[int]
    rejected: list[int]


class Encoder:
    """Encodes for one model, as its server does: the same template, the same tokens."""

    def __init__(self, tokenizer: Tokenizer, template: ChatTemplate | None, *, tokens: SpecialTokens) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._template = template
        self._bos = _opening(tokenizer, tokens)
        self._eos = None if tokens.eos is None else tokenizer.token_to_id(tokens.eos)

    @classmethod
    def of(cls, folder: Path) -> Encoder:
        """Of a model's folder. `ConfigurationError` when it has no `tokenizer.json`, or one that cannot be read."""
        file = folder / "tokenizer.json"
        if not file.exists():
            raise ConfigurationError("The model's folder has no 'tokenizer.json': ask for a model that has one.")
        try:
            tokenizer = Tokenizer.from_str(file.read_text(encoding="utf-8"))
        except Exception as error:
            raise ConfigurationError(
                "The model's 'tokenizer.json' cannot be read: pull the model again.", detail=str(error)[:200]
            ) from error
        tokens = SpecialTokens.of(folder)
        return cls(tokenizer, ChatTemplate.of(folder, tokens), tokens=tokens)

    def encode(self, example: Chat | Completion) -> Encoded:
        """Its tokens. `TemplateRefused` when the template has no place for it, or does not tell what is learned."""
        return self._completion(example) if isinstance(example, Completion) else self._chat(example)

    def pair(self, example: Preference) -> EncodedPair:
        """Its tokens: prompt + preferred are those of that conversation, and so are prompt + rejected."""
        sides = [self._side(example, answer) for answer in (example.preferred, example.rejected)]
        (prompt, preferred), (other, rejected) = sides
        if prompt != other:
            raise TemplateRefused(
                "the prompt's last token depends on the answer, so the two answers cannot be compared; "
                "begin both with the same character."
            )
        return EncodedPair(prompt, preferred, rejected)

    def text(self, example: Chat) -> str:
        """The conversation as the template writes it."""
        return self._chosen().render(example.messages, example.tools)

    def _chat(self, example: Chat) -> Encoded:
        text = self.text(example)
        return self._marked(text, list(self._spans(text, example.messages, tools=example.tools)))

    def _spans(
        self, text: str, messages: Sequence[Mapping[str, Any]], *, tools: Sequence[Mapping[str, Any]] | None
    ) -> Iterator[Span]:
        """Where in the text the turns lie that are trained, in characters."""
        template = self._chosen()
        for index, message in enumerate(messages):
            if message["role"] != "assistant" or message.get("weight") == 0:
                continue
            asked = template.render(messages[:index], tools, prompt=True)
            last = index + 1 == len(messages)
            answered = text if last else template.render(messages[: index + 1], tools)
            if not answered.startswith(asked) or not text.startswith(answered):
                raise TemplateRefused(
                    f"the model's chat template writes messages[{index}] in another way than the model would say it, "
                    "so it cannot be learned there; end the example with it, or give it weight 0."
                )
            yield len(asked), len(answered)

    def _marked(self, text: str, spans: Sequence[Span]) -> Encoded:
        """Trained is a token that begins in a span. One that straddles its beginning could not be said there."""
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        trained = [False] * len(encoding.ids)
        waiting = iter(spans)
        span = next(waiting, None)
        for place, (begin, end) in enumerate(encoding.offsets):
            while span is not None and begin >= span[1]:
                span = next(waiting, None)
            if span is None:
                break
            trained[place] = span[0] <= begin < end
        return Encoded(list(encoding.ids), trained)

    def _completion(self, example: Completion) -> Encoded:
        """Prompt, completion and the token that ends a text; before them what the tokenizer itself puts there.

        Where one token would hold the end of the prompt and the beginning of the completion, they are tokenised apart:
        the model is asked with the prompt alone.
        """
        if self._eos is None:
            raise ConfigurationError("The model names no 'eos_token', so that a completion has no end: use chat lines.")
        ids, trained = self._continued(example)
        if self._bos is not None and ids[:1] != [self._bos]:
            ids, trained = [self._bos, *ids], [False, *trained]
        if ids[-1:] != [self._eos]:
            ids, trained = [*ids, self._eos], [*trained, True]
        return Encoded(ids, trained)

    def _continued(self, example: Completion) -> tuple[list[int], list[bool]]:
        edge, whole = len(example.prompt), example.prompt + example.completion
        encoding = self._tokenizer.encode(whole, add_special_tokens=False)
        if not any(begin < edge < end for begin, end in encoding.offsets):
            return list(encoding.ids), [begin >= edge for begin, _ in encoding.offsets]
        prompt, said = (
            self._tokenizer.encode(text, add_special_tokens=False).ids for text in (example.prompt, example.completion)
        )
        return [*prompt, *said], [False] * len(prompt) + [True] * len(said)

    def _side(self, example: Preference, answer: Sequence[Mapping[str, Any]]) -> tuple[list[int], list[int]]:
        encoded = self._chat(Chat((*example.messages, *answer), example.tools))
        if not any(encoded.trained):
            raise TemplateRefused("the model's chat template writes nothing of an answer.")
        first = encoded.trained.index(True)
        return encoded.ids[:first], encoded.ids[first:]

    def _chosen(self) -> ChatTemplate:
        if self._template is None:
            raise ConfigurationError(
                "The model has no chat template: give lines of 'prompt' and 'completion', or ask for another model."
            )
        return self._template


def _opening(tokenizer: Tokenizer, tokens: SpecialTokens) -> int | None:
    """The BOS token, where the tokenizer itself puts it before a text."""
    bos = None if tokens.bos is None else tokenizer.token_to_id(tokens.bos)
    return bos if bos is not None and tokenizer.encode("", add_special_tokens=True).ids[:1] == [bos] else None
