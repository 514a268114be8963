"""`python -m benchmarks.adapters resolve | release | zipf | throughput --target URL --key KEY --out DIR`.

Each measures one thing on a running stack whose engines load adapters; what it needs live it makes itself, of random
weights, and leaves there. Owns the command line.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress

from benchmarks.adapters import release as releasing
from benchmarks.adapters import resolve as resolving
from benchmarks.adapters import throughput as streaming
from benchmarks.adapters import zipf as asking
from benchmarks.adapters.affinity import CommandSwitch
from benchmarks.adapters.registry import Fleet, Registry, opened
from benchmarks.calls import Address
from benchmarks.load import extra_body
from benchmarks.story import Story
from benchmarks.story import tell as told
from models.catalog import Catalog, ModelStore
from models.catalog.schema import ModelCard
from models.errors import PenstockError

SEED = 20_261_127
LIKE = "adapter-*"
PACKAGES = ("safetensors", "numpy")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

Target = Annotated[str, typer.Option(help="The stack's URL.")]
Key = Annotated[str, typer.Option(envvar="PENSTOCK_API_KEY", help="A key of it with the role engineer or admin.")]
Out = Annotated[Path, typer.Option(help="Folder of the result.")]
State = Annotated[Path, typer.Option(help="The stack's folder, for its cards and its records.")]
Base = Annotated[str, typer.Option(help="The card that adapters are made for.")]
Count = Annotated[int, typer.Option(min=2, help="Live adapters; the missing ones are made first.")]
Rank = Annotated[int, typer.Option(min=1, help="Of the adapters that are made.")]
Seed = Annotated[int, typer.Option(min=0, help="Of weights, texts and intervals.")]
Json = Annotated[bool, typer.Option("--json", help="Print the figures as data.")]


@app.command("resolve")
def resolve(
    target: Target,
    out: Out,
    *,
    key: Key,
    state_dir: State,
    base: Base = "demo-small",
    adapters: Count = 1000,
    rank: Rank = 2,
    blocks: Annotated[int, typer.Option(min=2, help="Of each arm.")] = 10,
    seed: Seed = SEED,
    as_json: Json = False,
) -> None:
    """From the name to the plan: the gateway's own time for calls of adapters and of the base."""
    fleet, address = Fleet(card_of(base, state_dir), adapters, rank, seed), address_of(target, key)
    config = {"target": address.url, "base": base, "rank": rank, "blocks": blocks}
    story = Story(out, resolving, config, {"adapters": adapters}, seed, as_json, PACKAGES)

    async def work(registry: Registry, progress: Progress) -> dict[str, Any]:
        await have(fleet, registry, progress=progress)
        task = progress.add_task("asking", total=2 * adapters)
        order = resolving.ResolveOrder(address, base, fleet.names, blocks, seed)
        records = resolving.CommandRecords(state_dir.absolute())
        return await resolving.measure(order, records=records, heard=lambda: progress.advance(task))

    tell(story, address, work=work)


@app.command("release")
def release(
    target: Target,
    out: Out,
    *,
    key: Key,
    state_dir: State,
    base: Base = "demo-small",
    releases: Annotated[int, typer.Option(min=2, help="Versions, released one after another.")] = 30,
    rank: Rank = 16,
    seed: Seed = SEED,
    as_json: Json = False,
) -> None:
    """What a release to every replica takes over the engines' own load."""
    order, address = releasing.ReleaseOrder(card_of(base, state_dir), releases, rank, seed), address_of(target, key)
    config = {"target": address.url, "base": base, "rank": rank}
    story = Story(out, releasing, config, {"releases": releases}, seed, as_json, PACKAGES)

    async def work(registry: Registry, progress: Progress) -> dict[str, Any]:
        task = progress.add_task("releasing", total=releases + 1)
        return await releasing.measure(order, registry, heard=lambda: progress.advance(task))

    tell(story, address, work=work)


@app.command("zipf")
def zipf(
    target: Target,
    out: Out,
    *,
    key: Key,
    state_dir: State,
    profile: Annotated[str, typer.Option(help="The profile that the stack was started with.")],
    base: Base = "demo-small",
    adapters: Count = 1000,
    rank: Rank = 2,
    rounds: Annotated[int, typer.Option(min=1, help="Of both arms.")] = 5,
    requests: Annotated[int, typer.Option(min=10, help="Of one arm in one round.")] = 600,
    clients: Annotated[int, typer.Option(min=1, help="Calls at a time.")] = 8,
    seed: Seed = SEED,
    as_json: Json = False,
) -> None:
    """Zipf's popularity over many adapters: slot hits with affinity and without, on the same engines."""
    card = card_of(base, state_dir)
    fleet, address = Fleet(card, adapters, rank, seed), address_of(target, key, models=adapters)
    body = extra_body(ModelStore(None).resolve(card))
    order = asking.ZipfOrder(address, rounds, requests, requests // 4, clients, 16, 1.0, seed, body)
    config = {"target": address.url, "base": base, "rank": rank, "zipf": order.zipf, "clients": clients}
    config |= {"answer_tokens": order.answer_tokens, "warm_up": order.warm_up}
    counts = {"adapters": adapters, "rounds": rounds, "requests": requests}
    story = Story(out, asking, config, counts, seed, as_json, PACKAGES)

    async def work(registry: Registry, progress: Progress) -> dict[str, Any]:
        await have(fleet, registry, progress=progress)
        task = progress.add_task("asking", total=2 * rounds * (requests + order.warm_up))
        switch = CommandSwitch(profile, state_dir.absolute(), address.url)
        return await asking.measure(order, registry, switch=switch, heard=lambda _: progress.advance(task))

    tell(story, address, work=work)


@app.command("throughput")
def throughput(
    target: Target,
    out: Out,
    *,
    key: Key,
    state_dir: State,
    plain: Annotated[str, typer.Option(help="A card of the same weights with `lora.enabled: false`.")],
    base: Base = "demo-large",
    adapters: Annotated[int, typer.Option(min=1, help="Active ones; as many as the card has slots.")] = 8,
    rank: Rank = 16,
    rounds: Annotated[int, typer.Option(min=1, help="Of every arm.")] = 5,
    requests: Annotated[int, typer.Option(min=10, help="Of one block.")] = 96,
    clients: Annotated[str, typer.Option(help="Calls at a time, with commas.")] = "8,16",
    seed: Seed = SEED,
    as_json: Json = False,
) -> None:
    """Active adapters, and the base alone, against the same engine without LoRA."""
    card = card_of(base, state_dir)
    fleet, address = Fleet(card, adapters, rank, seed), address_of(target, key, models=adapters)
    at_once, body = numbers(clients), extra_body(ModelStore(None).resolve(card))
    order = streaming.ThroughputOrder(address, base, plain, at_once, rounds, requests, 64, seed, body)
    config = {"target": address.url, "base": base, "plain": plain, "rank": rank, "clients": at_once}
    config |= {"answer_tokens": order.answer_tokens}
    counts = {"adapters": adapters, "rounds": rounds, "requests": requests}
    story = Story(out, streaming, config, counts, seed, as_json, PACKAGES)

    async def work(registry: Registry, progress: Progress) -> dict[str, Any]:
        await have(fleet, registry, progress=progress)
        task = progress.add_task("asking", total=rounds * len(at_once) * len(streaming.ARMS) * requests)
        return await streaming.measure(order, heard=lambda _: progress.advance(task))

    tell(story, address, work=work)


def tell(story: Story, address: Address, *, work: Callable[[Registry, Progress], Awaitable[dict[str, Any]]]) -> None:
    """Measure with the stack's registry at hand."""

    async def with_registry(progress: Progress) -> dict[str, Any]:
        async with opened(address) as registry:
            return await work(registry, progress)

    told(story, with_registry)


async def have(fleet: Fleet, registry: Registry, *, progress: Progress) -> None:
    """All adapters of the fleet live."""
    task = progress.add_task(f"releasing what is missing of {fleet.count:,} adapters", total=None)
    await fleet.live(registry, lambda done, all_: progress.update(task, completed=done, total=all_))
    progress.update(task, visible=False)


def address_of(target: str, key: str, *, models: int = 0) -> Address:
    """The stack; with `models` the names of so many adapters."""
    url = target.rstrip("/").removesuffix("/v1")
    names = tuple(f"adapter-{number:04}" for number in range(1, models + 1))
    return Address(url, LIKE if models else "", key, "chat", names)


def card_of(name: str, state_dir: Path) -> ModelCard:
    """A card of the stack's catalog."""
    try:
        return Catalog.load(state_dir / "models.yaml").card(name)
    except PenstockError as error:
        raise typer.BadParameter(error.public, param_hint="--base") from error


def numbers(text: str) -> tuple[int, ...]:
    """Whole numbers with commas."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) for part in parts):
        raise typer.BadParameter(f"Whole numbers with commas, such as 8,16: not {text[:64]!r}.", param_hint="--clients")
    return tuple(map(int, parts))


if __name__ == "__main__":
    app()
