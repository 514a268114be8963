"""Secrets in a text: keys, tokens, passwords, by the patterns of detect-secrets and a few of our own.

Owns which of its detectors are asked, what each match is called, and which of them are left out. Nothing is verified:
the detectors' own checks would send a secret to whoever gave it out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from detect_secrets.filters.heuristic import is_potential_uuid, is_sequential_string, is_templated_secret
from detect_secrets.plugins.artifactory import ArtifactoryDetector
from detect_secrets.plugins.aws import AWSKeyDetector
from detect_secrets.plugins.azure_storage_key import AzureStorageKeyDetector
from detect_secrets.plugins.base import RegexBasedDetector
from detect_secrets.plugins.basic_auth import BasicAuthDetector
from detect_secrets.plugins.discord import DiscordBotTokenDetector
from detect_secrets.plugins.github_token import GitHubTokenDetector
from detect_secrets.plugins.gitlab_token import GitLabTokenDetector
from detect_secrets.plugins.high_entropy_strings import Base64HighEntropyString
from detect_secrets.plugins.ibm_cloud_iam import IbmCloudIamDetector
from detect_secrets.plugins.jwt import JwtTokenDetector
from detect_secrets.plugins.keyword import QUOTES_REQUIRED_DENYLIST_REGEX_TO_GROUP
from detect_secrets.plugins.mailchimp import MailchimpDetector
from detect_secrets.plugins.openai import OpenAIDetector
from detect_secrets.plugins.pypi_token import PypiTokenDetector
from detect_secrets.plugins.sendgrid import SendGridDetector
from detect_secrets.plugins.slack import SlackDetector
from detect_secrets.plugins.square_oauth import SquareOAuthDetector
from detect_secrets.plugins.stripe import StripeDetector
from detect_secrets.plugins.telegram_token import TelegramBotTokenDetector
from detect_secrets.plugins.twilio import TwilioKeyDetector

from finetune.data.private import Finding, Kind

ENTROPY_BITS = 4.2  # of a character; 32 random ones have 4.5 on average. Names in code reach it too: `_is_mixed`
LEAST_RANDOM = 24
LEAST_ASSIGNED = 6
WINDOW = 800

PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
    r"(?:.*?-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|.*)",
    re.DOTALL,
)
# Ours (`sk-penstock-` and 43 characters of URL-safe Base64), and whatever else has taken the same shape since.
KEY = re.compile(r"(?<![A-Za-z0-9])(?:sk|rk|pk)-[A-Za-z0-9][A-Za-z0-9_-]{18,}[A-Za-z0-9_]")
HUB = re.compile(r"(?<![A-Za-z0-9])(?:hf_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{40,}|AIza[A-Za-z0-9_-]{35})")
BEARER = re.compile(r"(?:\bbearer[ \t]+|:_authToken=[ \t]*)([A-Za-z0-9._~+/-]{16,}=*)", re.IGNORECASE)
JWT = re.compile(r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*")
# A name and the sign of an assignment after it, or of a comparison before it: what the patterns of values begin with.
NAMED = re.compile(
    r"(?:key|pass|passw[a-z]{1,4}|passphrase|pwd|secret|token|contrase.a)(?:[a-z0-9_-]{0,30})[\"'\])]{0,2}\s{0,3}"
    r"(?:[=:(!\[\"'`]|is\b)|[=!]=\s{0,3}[a-z0-9_-]{0,40}(?:key|pass|pwd|secret)",
    re.IGNORECASE,
)
ASSIGNED = re.compile(
    r"(?<![a-z0-9_-])[a-z0-9_-]{0,40}?(?:password|passwd|passphrase|pwd|secret|api[_-]?key|access[_-]?key|auth[_-]?token|"
    r"access[_-]?token|secret[_-]?key)[\"']?[ \t]{0,3}(?:=|:|\bis\b)[ \t]{0,3}([^\s\"'`,;<>(){}\[\]]{6,})",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class _Rule:
    """A detector, what its matches are called, and words of which one stands in every text that it finds something in.

    `whole`: the match is the secret, else its last group is.
    """

    kind: Kind
    detector: RegexBasedDetector
    signs: tuple[str, ...]
    whole: bool = True

    def matches(self, text: str) -> Iterator[Finding]:
        """Spans in this text."""
        if not any(sign in text for sign in self.signs):
            return
        for pattern in self.detector.denylist:
            for match in pattern.finditer(text):
                start, end = match.span(0 if self.whole or not match.lastindex else match.lastindex)
                if self._meant(text, start, end=end):
                    yield Finding(self.kind, start, end)

    def _meant(self, text: str, start: int, *, end: int) -> bool:
        if self.whole:
            return _begins(text, start) and _has_digit(text[start:end])
        return not is_templated_secret(text[start:end])


class Credentials:
    """Finds secrets."""

    def __init__(self) -> None:
        self._entropy = Base64HighEntropyString(limit=ENTROPY_BITS)
        self._rules = (
            _Rule("API_KEY", AWSKeyDetector(), ("AKIA", "ASIA", "A3T", "ABIA", "ACCA")),
            _Rule("API_KEY", AWSKeyDetector(), ("aws", "AWS"), whole=False),
            _Rule("API_KEY", AzureStorageKeyDetector(), ("AccountKey=",)),
            _Rule("API_KEY", ArtifactoryDetector(), ("AKC", "AP")),
            _Rule("API_KEY", IbmCloudIamDetector(), ("ibm", "iam", "cloud", "IBM"), whole=False),
            _Rule("API_KEY", MailchimpDetector(), ("-us",)),
            _Rule("API_KEY", OpenAIDetector(), ("T3BlbkFJ",)),
            _Rule("API_KEY", SendGridDetector(), ("SG.",)),
            _Rule("API_KEY", SquareOAuthDetector(), ("sq0csp-",)),
            _Rule("API_KEY", StripeDetector(), ("k_live_",)),
            _Rule("API_KEY", TwilioKeyDetector(), ("AC", "SK")),
            _Rule("TOKEN", DiscordBotTokenDetector(), ("M", "N", "O")),
            _Rule("TOKEN", GitHubTokenDetector(), ("ghp_", "gho_", "ghu_", "ghs_", "ghr_")),
            _Rule("TOKEN", GitLabTokenDetector(), ("gl", "GR1348941")),
            _Rule("TOKEN", PypiTokenDetector(), ("pypi-",)),
            _Rule("TOKEN", SlackDetector(), ("xox", "hooks.slack.com")),
            _Rule("TOKEN", TelegramBotTokenDetector(), (":",)),
            _Rule("PASSWORD", BasicAuthDetector(), ("://",), whole=False),
        )

    def __call__(self, text: str, /) -> Iterator[Finding]:
        """Spans of secrets; they may overlap."""
        for rule in self._rules:
            yield from rule.matches(text)
        yield from _shaped(text)
        yield from self._random(text)
        if NAMED.search(text):
            yield from _assigned(text)

    def _random(self, text: str) -> Iterator[Finding]:
        """Quoted strings that are too mixed to be words, a path or an identifier of several."""
        for match in self._entropy.regex.finditer(text):
            start, end = match.span(2)
            value = text[start:end]
            long = end - start >= LEAST_RANDOM and _is_mixed(value) and not is_sequential_string(value)
            if long and self._entropy.calculate_shannon_entropy(value) > ENTROPY_BITS:
                yield Finding("TOKEN", start, end)


def _shaped(text: str) -> Iterator[Finding]:
    """What tells itself by its first letters."""
    if "PRIVATE KEY" in text:
        yield from (Finding("PRIVATE_KEY", *match.span()) for match in PRIVATE_KEY.finditer(text))
    for match in KEY.finditer(text):
        if _has_digit(match.group()):
            yield Finding("API_KEY", *match.span())
    yield from (Finding("TOKEN", *match.span()) for match in HUB.finditer(text))
    for match in JWT.finditer(text):
        if JwtTokenDetector.is_formally_valid(match.group().rpartition(".")[0]):
            yield Finding("TOKEN", *match.span())
    for match in BEARER.finditer(text):
        if _has_digit(match.group(1)):
            yield Finding("TOKEN", *match.span(1))


def _assigned(text: str) -> Iterator[Finding]:
    """Values beside a name such as `password`, with quotes and without."""
    place = 0
    for line in text.splitlines(keepends=True):
        for start, end in _values(line):
            yield Finding("PASSWORD", place + start, place + end)
        place += len(line)


def _values(line: str) -> Iterator[tuple[int, int]]:
    """Spans. The patterns of others see a piece at a time: some take the square of what they are shown."""
    begins = list(_windows(line))
    for begin in begins:
        piece = line[begin : begin + WINDOW]
        for pattern, group in QUOTES_REQUIRED_DENYLIST_REGEX_TO_GROUP.items():
            yield from ((begin + start, begin + end) for start, end in _secrets(pattern, piece, group=group))
    if begins:
        yield from _secrets(ASSIGNED, line, group=1)


def _secrets(pattern: re.Pattern[str], text: str, *, group: int) -> Iterator[tuple[int, int]]:
    return (match.span(group) for match in pattern.finditer(text) if _is_secret(match.group(group)))


def _windows(line: str) -> Iterator[int]:
    """Where pieces begin that hold a name, with what may stand before it."""
    end = 0
    for match in NAMED.finditer(line):
        if match.end() + WINDOW // 2 > end:
            begin = max(0, match.start() - WINDOW // 4)
            end = begin + WINDOW
            yield begin


def _is_secret(value: str) -> bool:
    """A value that somebody would have to keep: one word with a digit, no variable, no call, no placeholder."""
    if len(value) < LEAST_ASSIGNED or re.search(r"\s|\(|^\$|^%", value):
        return False
    letters = any(character.isalpha() for character in value)
    return letters and _has_digit(value) and not is_templated_secret(value) and not is_potential_uuid(value)


def _is_mixed(value: str) -> bool:
    """Capitals, small letters and digits, none of them once only, and no long run of one kind as words have it."""
    counts = [sum(map(test, value)) for test in (str.isupper, str.islower, str.isdigit)]
    words = re.search(r"[a-z]{8}|[A-Z]{8}|\d{8}|[a-z]{4}.*[^a-z][a-z]{4}", value)
    return min(counts) > 1 and not words and not is_potential_uuid(value)


def _begins(text: str, start: int) -> bool:
    """Whether a match is not the tail of a longer word."""
    return start == 0 or not (text[start - 1].isalnum() or text[start - 1] == "_") or not text[start].isalnum()


def _has_digit(value: str) -> bool:
    return any(character.isdigit() for character in value)
