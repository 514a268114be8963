"""`penstock router`: what the profile's policy would decide about a prompt and why; training is `router_training.py`.

Local: asks no stack.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from models.catalog import Catalog
from models.types import GenerationRequest, Plan, Principal
from router.policies import build_policy
from router.router import Router
from router.types import Contribution
from serving.commands.options import JsonOption, ProfileOption, StateOption, profile_of, state_of
from serving.commands.router_tasks import app as tasks
from serving.commands.router_training import app as training
from serving.commands.terminal import out, print_json
from serving.fleet import fleet_of
from serving.settings import Settings, load_settings

app = typer.Typer(help="How requests find their tier.", no_args_is_help=True)
app.add_typer(training)
app.add_typer(tasks)

ANYBODY = Principal(key_id="-", org="-", user="-", role="inference")


@dataclass(frozen=True, slots=True)
class Explanation:
    """The plan for a prompt, and each feature's part in it."""

    profile: str
    plan: Plan
    contributions: Sequence[Contribution]

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {
            "profile": self.profile,
            **asdict(self.plan),
            "contributions": [part._asdict() for part in self.contributions],
        }


@app.callback()
def router() -> None:
    """How requests find their tier."""


@app.command()
def explain(
    text: Annotated[str, typer.Argument(help="The prompt.", show_default=False)],
    model: Annotated[str, typer.Option(help="What the client would ask for.")] = "auto",
    *,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
    state_dir: StateOption = None,
) -> None:
    """Show which tier a prompt would go to, each feature's points, and every card that falls away."""
    state = state_of(state_dir)
    settings = load_settings(profile_of(profile, state))
    found = explained(text, model, settings=settings, catalog=Catalog.load(state.cards))
    if as_json:
        print_json(found.to_json())
    else:
        _show(found)


def explained(text: str, model: str, *, settings: Settings, catalog: Catalog) -> Explanation:
    """Run the same policy and plan that the gateway runs, for a caller without limits."""
    policy = build_policy(settings.router)
    cards = {engine.card: catalog.card(engine.card) for engine in settings.engines}
    chosen = Router(policy, fleet_of(cards, settings.tiers), default=settings.tiers.default)
    request = GenerationRequest(
        id="explain",
        kind="chat",
        model=model,
        body={"messages": [{"role": "user", "content": text}]},
        stream=False,
        include_usage=False,
        text=text,
        received=0.0,
    )
    return Explanation(settings.profile, chosen.plan(request, ANYBODY), policy.explain(request))


def _show(found: Explanation) -> None:
    console, plan = out(), found.plan
    if found.contributions:
        table = Table("feature", "value", "weight", "points", "seen", box=None)
        for part in found.contributions:
            style = "dim" if part.points == 0 else ""
            cells = (f"{part.value:.2f}", f"{part.weight:+.2f}", f"{part.points:+.2f}", escape(part.reason))
            table.add_row(part.feature, *cells, style=style)
        console.print(table)
    console.print(f"\n[bold]{plan.route.policy}[/bold]: {escape(plan.route.reason)}")
    for place, attempt in enumerate(plan.attempts, start=1):
        console.print(f"  {place}. {attempt.card} [dim](tier {attempt.tier})[/dim]")
    for item in plan.dropped:
        console.print(f"  [dim]– {item.card}: {escape(item.reason)}[/dim]")
