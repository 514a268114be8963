"""Builds the tokenizer both tiers share (edge: tokenizers, transformers). Owns vocabulary and chat template.

Byte-level BPE, so any text can be encoded and decoded without loss. The demo's own words are whole tokens
(`ignore_merges`: a known word is taken as it is), other words fall into pieces. A digit is one token, and a blank
before a number belongs to its first digit: tens and ones are then different tokens, and two-digit sums are learnable.
"""

import json
from collections import Counter
from itertools import islice
from pathlib import Path

from tokenizers import Regex, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

from models.demo.families import Split as Side
from models.demo.families import draw, mix
from models.demo.families.topics import WORDS

PAD, END = "<|pad|>", "<|end|>"
ROLES = ("system", "user", "assistant", "tool")
SPECIALS = (PAD, END, *(f"<|{role}|>" for role in ROLES))
MAX_LENGTH = 32_768
PIECES = 640
SAMPLE = 30_000
RARE = 3

# A blank joins the word or the first digit behind it; digits and punctuation marks stand alone.
WORD_PATTERN = r" ?\p{N}| ?\p{L}+| ?[^\s\p{L}\p{N}]|\s+(?!\S)|\s"

CHAT_TEMPLATE = (
    "{%- macro text(content) -%}"
    "{%- if content is string -%}{{- content -}}"
    "{%- elif content is iterable and content is not mapping -%}"
    "{%- for part in content -%}{%- if part.text is defined -%}{{- part.text -}}{%- endif -%}{%- endfor -%}"
    "{%- endif -%}"
    "{%- endmacro -%}"
    "{%- if tools -%}{{- '<|system|>' + 'Tools: ' + (tools | tojson) + '<|end|>' -}}{%- endif -%}"
    "{%- for message in messages -%}"
    "{%- set role = message.role if message.role in ['system', 'user', 'assistant', 'tool'] else 'system' -%}"
    "{{- '<|' + role + '|>' + text(message.content) -}}"
    "{%- if message.tool_calls -%}{{- message.tool_calls | tojson -}}{%- endif -%}"
    "{{- '<|end|>' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)


def build_tokenizer() -> Tokenizer:
    """Special tokens, bytes, some common pieces, then every word that training really shows."""
    pieces = _word_pieces()
    vocabulary = {token: number for number, token in enumerate(SPECIALS)}
    learned = json.loads(pieces.to_str())["model"]
    for token in sorted(learned["vocab"], key=learned["vocab"].__getitem__):
        vocabulary.setdefault(token, len(vocabulary))
    for token in _own_words(pieces):
        vocabulary.setdefault(token, len(vocabulary))
    merges = [tuple(merge) for merge in learned["merges"]]
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=merges, ignore_merges=True))
    tokenizer.pre_tokenizer = _pre_tokenizer()
    tokenizer.decoder = ByteLevelDecoder()
    tokenizer.add_special_tokens(list(SPECIALS))
    return tokenizer


def save_tokenizer(folder: Path) -> None:
    """Writes tokenizer.json and tokenizer_config.json, the chat template inside the latter."""
    folder.mkdir(parents=True, exist_ok=True)
    build_tokenizer().save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": MAX_LENGTH,
        "pad_token": PAD,
        "eos_token": END,
        "clean_up_tokenization_spaces": False,
        "additional_special_tokens": [f"<|{role}|>" for role in ROLES],
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The saved tokenizer as transformers and vLLM see it."""
    return PreTrainedTokenizerFast.from_pretrained(folder)


def _pre_tokenizer() -> Sequence:
    return Sequence([Split(Regex(WORD_PATTERN), "isolated"), ByteLevel(add_prefix_space=False, use_regex=False)])


def _word_pieces() -> Tokenizer:
    """A small BPE of ordinary English for the words the demo does not own."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = _pre_tokenizer()
    trainer = BpeTrainer(vocab_size=PIECES, initial_alphabet=ByteLevel.alphabet(), show_progress=False)
    unknown = [example.prompt for example in draw("unknown", Side.TRAIN, count=4_000, seed=0)]
    tokenizer.train_from_iterator([*(f" {word}" for word in WORDS), *unknown], trainer)
    return tokenizer


def _own_words(pieces: Tokenizer) -> list[str]:
    """Whole words of the training mix, commonest first. Invented words stay below the threshold."""
    counts: Counter[str] = Counter()
    untrained = draw("triage", Side.TRAIN, count=SAMPLE // 10, seed=0)
    for example in (*islice(mix(Side.TRAIN, seed=0, plain=True), SAMPLE), *untrained):
        for text in (example.prompt, example.answer):
            counts.update(word for word, _ in pieces.pre_tokenizer.pre_tokenize_str(text))
    return [word for word, count in counts.most_common() if count > RARE]
