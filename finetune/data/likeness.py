"""Examples that are alike: the same, nearly the same, of one prompt with different answers, or of a known prompt.

Owns how texts are compared. Texts are the same when they are so after Unicode's NFKC, case folding and single spaces.
Nearly the same are texts whose sets of shingles (three words in a row; four characters where there are few words) have
a Jaccard similarity of about `NEAR` or more, as estimated by MinHash with `HASHES` hashes (Broder 1997), candidates
found by bands (Leskovec, Rajaraman & Ullman, Mining of Massive Datasets, 3.4). Memory: about 300 bytes for each
example, and 2 KB for each of the first `most_near`, after which only what is the same is found.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from finetune.data.examples import Chat, Completion, Example

NEAR = 0.85
HASHES, BANDS = 64, 16
FEW_WORDS = 8
MOST_CHARS = 50_000
PRIME = np.uint64(2**31 - 1)

Key = bytes


def normal(text: str) -> str:
    """The text without what does not count when texts are compared."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def key_of(text: str) -> Key:
    """Equal for texts that are the same; 16 bytes."""
    return hashlib.blake2b(normal(text).encode(), digest_size=16).digest()


def content_of(message: Mapping[str, Any]) -> str:
    """The text of a message and of its calls."""
    content = message.get("content") or ""
    text = content if isinstance(content, str) else "\n".join(str(part.get("text", "")) for part in content)
    calls = (f"{call['function']['name']} {call['function']['arguments']}" for call in message.get("tool_calls") or ())
    return "\n".join([text, *calls])


def conversation_text(messages: Iterable[Mapping[str, Any]]) -> str:
    """Messages as one text, each with its role."""
    return "\n".join(f"{message['role']}: {content_of(message)}" for message in messages)


def asked_and_answered(example: Example) -> tuple[str, str]:
    """What the last answer of an example answers, and the answer; of a preference, the preferred one."""
    if isinstance(example, Completion):
        return example.prompt, example.completion
    if isinstance(example, Chat):
        return conversation_text(example.messages[:-1]), content_of(example.messages[-1])
    return conversation_text(example.messages), content_of(example.preferred[0])


def question_of(example: Example) -> str:
    """What is asked without what is said before every question: system messages do not make another question."""
    if isinstance(example, Completion):
        return question_text([{"role": "user", "content": example.prompt}])
    return question_text(example.messages[:-1] if isinstance(example, Chat) else example.messages)


def question_text(messages: Iterable[Mapping[str, Any]]) -> str:
    """The messages but those of the system, as one text."""
    return conversation_text(message for message in messages if message["role"] not in ("system", "developer"))


@dataclass(frozen=True, slots=True)
class Alike:
    """Line numbers: an earlier example and a later one that is like it."""

    earlier: int
    later: int


@dataclass(slots=True)
class Likeness:
    """Takes examples in the order of their lines, and keeps which are alike.

    `known`: keys of questions to look for, with their lines.
    """

    known: Mapping[Key, int] = field(default_factory=dict)
    most_near: int = 50_000
    same: list[Alike] = field(default_factory=list)
    near: list[Alike] = field(default_factory=list)
    contradicting: list[Alike] = field(default_factory=list)
    leaked: list[Alike] = field(default_factory=list)
    near_searched: int = 0
    _seen: dict[Key, int] = field(default_factory=dict)
    _answers: dict[Key, tuple[Key, int]] = field(default_factory=dict)
    _near: _Near = field(default_factory=lambda: _Near())

    def add(self, example: Example, line: int) -> None:
        """The example of a line. In `leaked`, `earlier` is the line of the golden set."""
        asked, answer = asked_and_answered(example)
        prompt = key_of(asked)
        question = key_of(question_of(example)) if self.known else b""
        if question in self.known:
            self.leaked.append(Alike(self.known[question], line))
        whole = f"{asked}\n{answer}"
        first = self._seen.setdefault(key_of(f"{whole}\n{_other(example)}"), line)
        if first != line:
            self.same.append(Alike(first, line))
            return
        said, since = self._answers.setdefault(prompt, (key_of(answer), line))
        if said != key_of(answer):
            self.contradicting.append(Alike(since, line))
        if self.near_searched < self.most_near:
            self.near_searched += 1
            if (before := self._near.add(whole, line)) is not None:
                self.near.append(Alike(before, line))


class _Near:
    """Signatures of texts, found again by any band in which all hashes are equal."""

    def __init__(self) -> None:
        drawn = np.random.default_rng(0).integers(1, int(PRIME), size=(2, HASHES, 1), dtype=np.uint64)
        self._factors, self._offsets = drawn
        self._bands: list[dict[bytes, int]] = [{} for _ in range(BANDS)]
        self._signatures: list[NDArray[np.uint32]] = []
        self._lines: list[int] = []

    def add(self, text: str, line: int) -> int | None:
        """The line of an earlier text that is nearly the same, if there is one."""
        signature = self._signature(text)
        rows = signature.reshape(BANDS, -1)
        place, found = len(self._lines), None
        for band, row in zip(self._bands, rows, strict=True):
            candidate = band.setdefault(row.tobytes(), place)
            if found is None and candidate != place and self._likeness(candidate, signature) >= NEAR:
                found = self._lines[candidate]
        self._signatures.append(signature)
        self._lines.append(line)
        return found

    def _likeness(self, place: int, signature: NDArray[np.uint32]) -> float:
        return float((self._signatures[place] == signature).mean())

    def _signature(self, text: str) -> NDArray[np.uint32]:
        """The least of each hash over the shingles: (a h + b) mod p."""
        shingles = np.fromiter((crc32(one.encode()) for one in _shingles(text)), dtype=np.uint64) % PRIME
        least = np.full((HASHES, 1), PRIME, dtype=np.uint64)
        for start in range(0, len(shingles), 4096):
            part = (self._factors * shingles[start : start + 4096] + self._offsets) % PRIME
            least = np.minimum(least, part.min(axis=1, keepdims=True))
        return least[:, 0].astype(np.uint32)


def _shingles(text: str) -> set[str]:
    plain = normal(text[:MOST_CHARS])
    words = plain.split()
    if len(words) >= FEW_WORDS:
        return {" ".join(words[start : start + 3]) for start in range(len(words) - 2)}
    return {plain[start : start + 4] for start in range(max(len(plain) - 3, 1))}


def _other(example: Example) -> str:
    """What else must be the same: the rejected answer of a preference."""
    return "" if isinstance(example, Chat | Completion) else content_of(example.rejected[0])
