"""Model folders and lines to encode: the demo tier, and two styles of templates written out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

DEMO = Path(__file__).parents[3] / "models" / "demo" / "weights" / "large"

CHATML = """{%- for message in messages %}
    {%- if loop.first and message.role != 'system' %}
        {{- '<|im_start|>system\\nBe brief.<|im_end|>\\n' }}
    {%- endif %}
    {{- '<|im_start|>' + message.role + '\\n' }}
    {%- if message.content %}{{- message.content }}{%- endif %}
    {%- for call in message.tool_calls or [] %}
        {{- '<tool_call>' + (call.function | tojson) + '</tool_call>' }}
    {%- endfor %}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
LLAMA = """{{- bos_token }}
{%- if tools %}
    {{- '<|start_header_id|>system<|end_header_id|>\\n\\n' + (tools | tojson(indent=2)) + '<|eot_id|>' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role not in ['system', 'user', 'assistant', 'tool'] %}
        {{- raise_exception('no such role') }}
    {%- endif %}
    {%- if loop.index0 > 40 %}{%- break %}{%- endif %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
THINKING = """{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' }}
    {%- if message.role == 'assistant' and loop.last %}{{- '<think></think>' }}{%- endif %}
    {{- message.content + '<|im_end|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""


def chatml(folder: Path) -> Path:
    """A model with a ChatML template in a file of its own, and no BOS."""
    _copy(folder, {"eos_token": "<|im_end|>"}, extra=("<|im_start|>", "<|im_end|>"))
    (folder / "chat_template.jinja").write_text(CHATML)
    return folder


def llama(folder: Path) -> Path:
    """A model whose template writes the BOS, which its tokenizer writes as well; a token is spelled as an object."""
    extra = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
    bos = {"__type": "AddedToken", "content": "<|begin_of_text|>", "normalized": False, "special": True}
    _copy(folder, {"eos_token": "<|eot_id|>", "bos_token": bos, "chat_template": LLAMA}, extra=extra)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    number = tokenizer.token_to_id("<|begin_of_text|>")
    tokenizer.post_processor = TemplateProcessing(
        single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", number)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def with_template(folder: Path, template: str) -> Path:
    """The ChatML model with another template."""
    chatml(folder)
    (folder / "chat_template.jinja").write_text(template)
    return folder


def _copy(folder: Path, config: dict[str, Any], *, extra: tuple[str, ...]) -> None:
    folder.mkdir(parents=True)
    shutil.copy(DEMO / "tokenizer.json", folder)
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<|pad|>", **config})
    )
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_special_tokens(list(extra))
    tokenizer.save(str(folder / "tokenizer.json"))


def line(**fields: Any) -> bytes:
    """A line as a file holds it."""
    return json.dumps(fields, ensure_ascii=False).encode() + b"\n"


def said(*turns: str, system: str | None = None) -> list[dict[str, Any]]:
    """Messages of a user and an assistant by turns."""
    roles = ("user", "assistant")
    first = [] if system is None else [{"role": "system", "content": system}]
    return [*first, *({"role": roles[index % 2], "content": text} for index, text in enumerate(turns))]
