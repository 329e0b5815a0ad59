"""A plan as tables: the choice, what else was tried, and the verdict of the best."""

from __future__ import annotations

from rich.console import Group, RenderableType

from hardwire.experiments.shared.tables import count, plain_table
from hardwire.experiments.system import view
from hardwire.experiments.system.plan import Plan

GOALS = {
    "rate": "the highest rate of one user",
    "dies": "the fewest dies",
    "usd": "the least cost of a token",
}


def render(plan: Plan) -> RenderableType:
    """All tables of a plan, one under the other."""
    chip = plan.system.dies[0].chip.name
    fewest = min(one.dies for one in plan.options)
    title = f"hardwire plan · {plan.system.model.name} on dies of {chip}"
    return Group(view.headline(plan.best, title), _options(plan, fewest), view.details(plan.best))


def _options(plan: Plan, fewest: int) -> RenderableType:
    table = plain_table(
        f"Placements that fit, by {GOALS[plan.objective]}; the fewest dies are {fewest}",
        "stages × dies", "dies", "one user, tok/s", "system, tok/s", "power", "USD/M tokens",
    )  # fmt: skip
    for one in plan.options:
        stages = one.system.placement.stages
        table.add_row(
            f"{len(stages)} × {len(stages[0].dies)}",
            count(one.dies),
            count(one.decode_tokens_per_s_user),
            count(one.decode_tokens_per_s_system),
            f"{one.power_w:,.0f} W",
            f"{one.usd_per_million_tokens:,.4f}",
        )
    return Group("", table)
