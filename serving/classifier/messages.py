"""What gateway and classifier say to each other: msgpack over HTTP, because a vector in JSON is four times as long.

Owns the shapes. Scores are told as they came, be they no numbers: whoever reads them has to look.
"""

from __future__ import annotations

import msgspec

from router.manifest import PolicyName

PATH = "/read"
LOAD = "/load"
DRIFT = "/drift"
METRICS = "/metrics"
MEDIA_TYPE = "application/msgpack"


class Ask(msgspec.Struct, frozen=True):
    """One prompt. `policy` says by which of the version's two means it is scored; `nearest`: how many examples.

    `counts`: whether it is traffic, and not somebody's question about it.
    """

    text: str
    version: str
    policy: PolicyName
    within_s: float
    shadow: str | None = None
    nearest: int = 0
    counts: bool = True


class Score(msgspec.Struct, frozen=True):
    """Expected quality of either tier (0…1), the gain, its uncertainty, and 1 - cosine to the nearest example."""

    small: float
    large: float
    gain: float
    error: float
    distance: float


class Example(msgspec.Struct, frozen=True):
    """A labelled prompt near this one: its beginning, its cosine, and how good either tier's answer was."""

    text: str
    similarity: float
    small: float
    large: float


class Told(msgspec.Struct, frozen=True):
    """The answer. `doubt`: why the score had better not be used; `sentence`: the prompt's vector, float32."""

    score: Score
    sentence: bytes
    doubt: str | None = None
    task: str | None = None
    retrieval: float | None = None
    shadow: Score | None = None
    nearest: tuple[Example, ...] = ()


class Standing(msgspec.Struct, frozen=True):
    """Quantity → prompts in each of its bins: those seen last, and those of the training. `about`: the manifest's own
    words on the model."""

    now: dict[str, tuple[int, ...]]
    then: dict[str, tuple[int, ...]]
    about: dict[str, str] = {}


class Load(msgspec.Struct, frozen=True):
    """A version to have ready before anybody asks for it."""

    version: str


class Refused(msgspec.Struct, frozen=True):
    """Why there is no answer. `cause`: `version`, `full`, `late` or `broken`."""

    cause: str
    reason: str
