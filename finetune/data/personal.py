"""Personal data in a text, by the patterns and checksums of Presidio, without its models.

Owns which of Presidio's recognisers are asked, and what of their answers is left out: versions that look like
addresses, numbers that look like telephones. Does not find names of people or places: they need a model.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import cast

import tldextract
from presidio_analyzer import EntityRecognizer, PatternRecognizer
from presidio_analyzer.nlp_engine import NlpArtifacts
from presidio_analyzer.predefined_recognizers import (
    CreditCardRecognizer,
    CryptoRecognizer,
    EmailRecognizer,
    IbanRecognizer,
    IpRecognizer,
    MacAddressRecognizer,
    PhoneRecognizer,
    UsSsnRecognizer,
)

from finetune.data.private import Finding, Kind

LEAST_SCORE = 0.4  # below are patterns that Presidio itself calls weak; a checksum that fits lifts them over it
LEAST_PHONE_DIGITS, MOST_PHONE_DIGITS = 8, 15
SMALL_OCTET = 20
INTERNET = ipaddress.ip_network("2000::/3")
ROLES = {"git", "noreply", "no-reply"}

# A look that costs next to nothing, before a recogniser that costs more.
SIGNS: dict[Kind, re.Pattern[str]] = {
    "EMAIL": re.compile(r"[^\s@]{1,64}@[^\s@]{3,255}"),
    "CARD": re.compile(r"\d{4}[- ]?\d{3}"),
    "IBAN": re.compile(r"[A-Za-z]{2}\d{2}"),
    "SSN": re.compile(r"\d{3}[- .]\d{2}[- .]\d{4}"),
    "IP": re.compile(r"\d\.\d{1,3}\.\d{1,3}\.\d|[0-9A-Fa-f]{4}:[0-9A-Fa-f:]*:"),
    "MAC": re.compile(r"(?:[0-9A-Fa-f]{2}[:-]){5}|(?:[0-9A-Fa-f]{4}\.){2}"),
    "WALLET": re.compile(r"(?:bc1|[13])[a-zA-HJ-NP-Z0-9]{25}"),
    "PHONE": re.compile(r"[+(]{0,2}\d(?:[ ().\-/]{0,3}\d){7,}"),
}
DATE = re.compile(r"(?:19|20)\d\d[-/. ](?:0?[1-9]|1[0-2])\b|\b\d{1,2}[-/.]\d{1,2}[-/.](?:19|20)\d\d")
CARD = re.compile(r"3[47]\d{13}|3[068]\d{12}|(?:4\d|5[1-5]|6[024-9]|35)\d{14}")  # who gives out which numbers
DOTTED = re.compile(r"\d+\.\d+\.\d+\.\d+")
VERSIONED = re.compile(
    r"(?:\b(?:versions?|ver|release|firmware|build|driver|upgraded? to|downgraded? to)[ :]*\S{0,3}|[vV/@=<>~^-] ?)$"
)
NUMBERED = re.compile(
    r"(?:\b(?:order|invoice|isbn|ean|ticket|case|sku|serial|part|tracking|account|item|ref|reference|id|no|nr)\b"
    r"(?: (?:number|no|nr|id))?[ .:#=]*|[#$€£¥])$",
    re.IGNORECASE,
)
BEFORE = 40
LONGEST_PIECE = 320  # of what may be an address; no list of numbers is a telephone
NO_MODEL = cast(NlpArtifacts, None)  # only recognisers with a model look at it


class PersonalData:
    """Finds personal data."""

    def __init__(self) -> None:
        # The recogniser of addresses asks a library that fetches its list of domains: ours has it from its package.
        self._domains = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)
        self._recognisers: tuple[tuple[Kind, EntityRecognizer], ...] = (
            ("EMAIL", PatternRecognizer("EMAIL_ADDRESS", patterns=EmailRecognizer.PATTERNS)),
            ("CARD", CreditCardRecognizer()),
            ("IBAN", IbanRecognizer()),
            ("SSN", UsSsnRecognizer()),
            ("IP", IpRecognizer()),
            ("MAC", MacAddressRecognizer()),
            ("WALLET", CryptoRecognizer()),
            ("PHONE", PhoneRecognizer()),
        )

    def __call__(self, text: str, /) -> Iterator[Finding]:
        """Spans of personal data; they may overlap."""
        for kind, recogniser in self._recognisers:
            if SIGNS[kind].search(text):
                yield from (span for span in _spans(kind, recogniser, text=text) if self._meant(span, text))

    def _meant(self, span: Finding, text: str) -> bool:
        """Whether a match is what it looks like, by what it holds and what stands around it."""
        value, before = text[span.start : span.end], text[max(0, span.start - BEFORE) : span.start]
        match span.kind:
            case "EMAIL":
                return value.partition("@")[0].lower() not in ROLES and bool(self._domains(value).fqdn)
            case "IP":
                return _is_address(value) and not VERSIONED.search(before)
            case "PHONE":
                return _is_phone(value) and not NUMBERED.search(before) and not _runs_on(text, span)
            case "SSN":
                return "-" in value and not _runs_on(text, span)
            case "CARD":
                return bool(CARD.fullmatch(re.sub(r"[- ]", "", value))) and not _runs_on(text, span)
            case "MAC":
                return not _runs_on(text, span)
            case _:
                return True


def _spans(kind: Kind, recogniser: EntityRecognizer, *, text: str) -> Iterator[Finding]:
    for place, piece in _pieces(kind, text):
        for one in recogniser.analyze(piece, recogniser.supported_entities, NO_MODEL):
            if one.score >= LEAST_SCORE:
                yield Finding(kind, place + one.start, place + one.end)


def _pieces(kind: Kind, text: str) -> Iterator[tuple[int, str]]:
    """What to show a recogniser. Two see only what may be theirs: that of telephones takes a millisecond for a page,
    that of addresses the square of a word's length.
    """
    if kind not in ("PHONE", "EMAIL"):
        yield 0, text
        return
    for match in SIGNS[kind].finditer(text):
        if len(match.group()) <= LONGEST_PIECE and not match.group().isdigit():
            yield match.start(), match.group()


def _is_address(value: str) -> bool:
    """An address that the Internet knows; four small numbers are a version more often than an address."""
    address = ipaddress.ip_interface(value.partition("%")[0]).ip
    if isinstance(address, ipaddress.IPv6Address):
        return address in INTERNET and address.is_global
    return address.is_global and any(octet >= SMALL_OCTET for octet in address.packed)


def _is_phone(value: str) -> bool:
    """A number written as people write telephones: with a plus sign, or in groups; no date."""
    digits = sum(character.isdigit() for character in value)
    if not LEAST_PHONE_DIGITS <= digits <= MOST_PHONE_DIGITS:
        return False
    if value.startswith("+"):
        return True
    groups = re.findall(r"\d+", value)
    decimal = value.count(".") == 1 or ("." in value and min(map(len, groups)) < 2)
    return len(groups) > 1 and not (decimal or DATE.search(value) or _is_odd(value))


def _is_odd(value: str) -> bool:
    """Written as no telephone is: half a bracket, four numbers of an address, a fraction."""
    return value.count("(") != value.count(")") or bool(DOTTED.search(value)) or " / " in value


def _runs_on(text: str, span: Finding) -> bool:
    """Whether the match is a piece of something longer: a fingerprint, an identifier, a decimal number."""
    before, after = text[max(0, span.start - 2) : span.start], text[span.end : span.end + 2]
    return bool(re.search(r"[\w][:.\-]$|\w$", before) or re.match(r"[:.\-]\w|\w", after))
