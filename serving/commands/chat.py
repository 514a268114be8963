"""`penstock chat`: talk to a running stack, and see which tier answered, why, and how fast."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

import httpx2
import orjson
import typer
from rich.markup import escape

from models.errors import PenstockError
from serving.commands.options import JsonOption, StateOption, environment, state_of
from serving.commands.target import Target, target_of
from serving.commands.terminal import err, print_json, write

SILENCE_S = 120.0


class ChatFailed(PenstockError):
    """The stack refused or broke off; the text is the stack's own."""

    default_code = "chat_failed"


@dataclass(slots=True)
class Reply:
    """One answer and how it came about."""

    text: str = ""
    model: str | None = None
    tier: str | None = None
    route: str | None = None
    request_id: str | None = None
    finish_reason: str | None = None
    usage: dict[str, Any] | None = None
    ttft_ms: float | None = None
    latency_ms: float = 0.0


@dataclass(slots=True)
class Conversation:
    """The messages so far with one model of one stack."""

    client: httpx2.Client
    model: str
    messages: list[dict[str, str]] = field(default_factory=list)

    def ask(self, text: str, heard: Callable[[str], None]) -> Reply:
        """Send one message; `heard` gets the answer piece by piece. A failed turn leaves the conversation as it was."""
        messages = [*self.messages, {"role": "user", "content": text}]
        body = {
            "model": self.model,
            "messages": messages,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        reply, started = Reply(), time.perf_counter()
        with self.client.stream("POST", "/v1/chat/completions", json=body) as answer:
            _require_success(answer)
            _read_headers(reply, answer.headers)
            for event in _events(answer.iter_lines()):
                if piece := _take(reply, event):
                    reply.ttft_ms = reply.ttft_ms or (time.perf_counter() - started) * 1000
                    reply.text += piece
                    heard(piece)
        reply.latency_ms = (time.perf_counter() - started) * 1000
        self.messages = [*messages, {"role": "assistant", "content": reply.text}]
        return reply


def chat(
    model: Annotated[str, typer.Option(help="A card, or auto: the router picks the tier.")] = "auto",
    system: Annotated[str | None, typer.Option(help="System message.")] = None,
    *,
    once: Annotated[str | None, typer.Option(help="Ask this, print the answer, end.")] = None,
    as_json: JsonOption = False,
    state_dir: StateOption = None,
) -> None:
    """Chat with a running stack: the one of the state folder, or of PENSTOCK_URL with PENSTOCK_API_KEY."""
    target = target_of(state_of(state_dir), environment())
    with open_client(target) as client:
        conversation = Conversation(client, model)
        if system is not None:
            conversation.messages.append({"role": "system", "content": system})
        try:
            if as_json:
                print_json(asdict(conversation.ask(once or typer.get_text_stream("stdin").read(), _nobody)))
            elif once is not None:
                _turn(conversation, once)
            else:
                _talk(conversation)
        except httpx2.HTTPError as error:
            raise ChatFailed(f"{target.url} does not answer.", detail=str(error)) from error


def open_client(target: Target) -> httpx2.Client:
    """An HTTP client for a stack. A stack on this machine is never asked through a proxy."""
    host = httpx2.URL(target.url).host
    return httpx2.Client(
        base_url=target.url,
        headers={"Authorization": f"Bearer {target.key}"},
        timeout=httpx2.Timeout(SILENCE_S, connect=5.0),
        trust_env=host not in ("127.0.0.1", "localhost", "::1"),
    )


def _talk(conversation: Conversation) -> None:
    err().print(f"[dim]Model {escape(conversation.model)}. Ctrl-D ends.[/dim]")
    while True:
        try:
            text = err().input("[bold]> [/bold]")
        except EOFError:
            return
        if not text.strip():
            continue
        try:
            _turn(conversation, text)
        except ChatFailed as error:
            err().print(f"[red]{escape(error.public)}[/red]")


def _turn(conversation: Conversation, text: str) -> None:
    reply = conversation.ask(text, write)
    write("\n")
    facts = [reply.model, f"tier {reply.tier}" if reply.tier else None, reply.route]
    facts += [f"first token {reply.ttft_ms:.0f} ms" if reply.ttft_ms else None, f"{reply.latency_ms:.0f} ms in all"]
    err().print(f"[dim]{escape(' · '.join(fact for fact in facts if fact))}[/dim]")


def _nobody(_piece: str) -> None:
    """With --json the pieces are not shown."""


def _events(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """The JSON of each `data:` line. A stream that ends without its end mark has broken off."""
    for line in lines:
        if line == "data: [DONE]":
            return
        if line.startswith("data: "):
            yield _parsed(line.removeprefix("data: "))
    raise ChatFailed("The stream broke off.")


def _parsed(line: str) -> dict[str, Any]:
    try:
        event: dict[str, Any] = orjson.loads(line)
    except ValueError as error:
        raise ChatFailed("The stream holds something that is no JSON.") from error
    return event


def _take(reply: Reply, event: Mapping[str, Any]) -> str:
    """Note what an event says; its piece of the answer, or nothing."""
    if error := event.get("error"):
        raise ChatFailed(error["message"])
    reply.model = event.get("model") or reply.model
    reply.usage = event.get("usage") or reply.usage
    if not event.get("choices"):
        return ""
    choice = event["choices"][0]
    reply.finish_reason = choice.get("finish_reason") or reply.finish_reason
    return choice.get("delta", {}).get("content") or ""


def _require_success(answer: httpx2.Response) -> None:
    if answer.status_code == 200:
        return
    raw = answer.read()
    try:
        message = orjson.loads(raw)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = f"The stack answered with status {answer.status_code}."
    raise ChatFailed(message)


def _read_headers(reply: Reply, headers: Mapping[str, str]) -> None:
    reply.tier, reply.route = headers.get("x-penstock-tier"), headers.get("x-penstock-route")
    reply.request_id = headers.get("x-request-id")
