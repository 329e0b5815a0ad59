"""The verdict of a system of dies as an architect reads it: a few tables for the terminal."""

from __future__ import annotations

import math
from collections import Counter

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from hardwire.experiments.shared.style import BAD, CAUSE_COLORS, CAUSE_NAMES, WARNING
from hardwire.experiments.shared.tables import (
    QUIET,
    bar,
    count,
    large,
    mib,
    plain_table,
    si,
    styled,
    text_table,
)
from hardwire.experiments.system.answer import CLOSED_FORM, SystemAnswer

PAPER = ", on paper"


def render(answer: SystemAnswer) -> RenderableType:
    """All tables of an answer, one under the other."""
    return Group(headline(answer), details(answer))


def details(answer: SystemAnswer) -> RenderableType:
    """The tables below the headline."""
    return Group(_rates(answer), _latency(answer), _dies(answer), _links(answer), _costs(answer))


def headline(answer: SystemAnswer, title: str = "") -> RenderableType:
    """What fits, how fast it is and what it takes, in a few lines."""
    text = Text()
    wrong = answer.obstacles
    if wrong:
        others = f", as do {len(wrong) - 1} more dies" if len(wrong) > 1 else ""
        text.append(f"Does not fit: {wrong[0]}{others}\n", style=f"bold {BAD}")
    plural = "s" * (answer.users > 1)
    text.append(
        f"{count(answer.decode_tokens_per_s_user)} tokens/s for one user, "
        f"{count(answer.decode_tokens_per_s_system)} for {count(answer.users)} user{plural}",
        style="" if wrong else "bold",
    )
    if wrong:
        text.append(" (on paper)")
    if answer.throttle < 1:
        text.append(f"\nPower limits of the cards hold it to {answer.throttle:.0%}", style=WARNING)
    spilled = max(one.spilled_bytes for one in answer.found.values())
    if spilled:
        text.append(
            f"\n{mib(spilled)} of keys and values of a die lie in the memory beside it; the time "
            "to read them there is not modelled",
            style=WARNING,
        )
    idle = answer.power.idle_share(answer.decode_tokens_per_s_system)
    text.append(
        f"\n{answer.dies} die{'s' * (answer.dies > 1)}, {answer.power_w:,.0f} W, of which "
        f"{idle:.0%} is there without a token"
    )
    text.append(f"\n{answer.system.title}")
    adapter = f", {answer.adapters} × {answer.adapter.name}" if answer.adapter else ""
    text.append(
        f"\n{answer.system.model.name}, {count(answer.prompt)} + {count(answer.output)} tokens, "
        f"{count(answer.users)} user{plural}{adapter}, "
        f"{answer.engine}{' engine' * (answer.engine != CLOSED_FORM)}",
        style=QUIET,
    )
    title = title or f"hardwire · {answer.system.name}"
    return Panel(text, title=Text(title), title_align="left", expand=False)


def _rates(answer: SystemAnswer) -> RenderableType:
    table = plain_table("Rates" + PAPER * (not answer.fits), "", "")
    table.add_row("Decode, one user, tok/s", count(answer.decode_tokens_per_s_user))
    table.add_row("Decode, system, tok/s", count(answer.decode_tokens_per_s_system))
    table.add_row("Time to first token", si(float(answer.unlimited.ttft_s), "s", 4))
    table.add_row("Users of this length that fit", count(answer.max_users))
    unit, held = answer.unlimited.critical_unit, si(float(answer.unlimited.critical_s), "s")
    said = f"Bound by {unit}, which each token holds for {held}."
    if answer.in_flight == 1:
        said = f"One token is in flight; of its units it holds {unit} longest, {held}."
    bound = Text(said, style=QUIET)
    return Group("", table, bound)


def _latency(answer: SystemAnswer) -> RenderableType:
    parts = {cause: float(value) for cause, value in answer.unlimited.latency_s.items()}
    total = sum(parts.values())
    table = plain_table("Where a token's time goes", "", "time", "share")
    table.add_column("", justify="left", no_wrap=True)
    for cause, seconds in parts.items():
        if seconds:
            share = seconds / total
            cells = (f"{seconds * 1e6:,.2f} µs", f"{share:.1%}", bar(share, CAUSE_COLORS[cause]))
            table.add_row(CAUSE_NAMES[cause], *cells)
    table.add_row(styled("Token", "bold"), styled(f"{total * 1e6:,.2f} µs", "bold"), "")
    return Group("", table)


def _dies(answer: SystemAnswer) -> RenderableType:
    """A line for each die, or for several in a row that hold as much."""
    table = plain_table(
        "Dies", "", "layers", "weights", "blocks of the die", "KV, adapters of SRAM", "idle",
        "power", "yield",
    )  # fmt: skip
    data = answer.to_dict()["by_die"]
    runs: list[tuple[list[str], tuple[str | Text, ...]]] = []
    for name, one in data.items():
        layers = one["layers"]
        number = layers[1] - layers[0] + 1 if layers else 0
        full = f"{one['area_mm2']['total']:,.0f} of {one['die_mm2']:,.0f} mm²"
        taken = f"{mib(one['kv_bytes'] + one['adapter_bytes'])} of {mib(one['sram_bytes'])}"
        row: tuple[str | Text, ...] = (
            str(number) if number else "–",
            large(one["weights"], 3),
            styled(full, BAD) if one["over_mm2"] > 0 else full,
            styled(taken, BAD) if one["over_bytes"] > 0 else taken,
            f"{one['idle_w']:,.0f} W",
            f"{one['power_w']:,.0f} W",
            f"{one['yield']:.0%}",
        )
        if runs and list(map(str, runs[-1][1])) == list(map(str, row)):
            runs[-1][0].append(name)
        else:
            runs.append(([name], row))
    for names, row in runs:
        who = names[0] if len(names) == 1 else f"{names[0]} … {names[-1]} ({len(names)})"
        table.add_row(who, *row)
    return Group("", table)


def _links(answer: SystemAnswer) -> RenderableType:
    """Links by kind: how many, what the busiest carries, what they take."""
    system = answer.system
    if not system.links:
        return Text("")
    table = plain_table(
        "Links", "", "links", "each way", "latency", "busiest, bytes a token", "busy", "idle"
    )
    kinds = Counter(link.kind.name for link in system.links)
    for name, number in kinds.items():
        own = [i for i, link in enumerate(system.links) if link.kind.name == name]
        kind = system.links[own[0]].kind
        sent = {at: size for at, size in answer.sent.items() if at[0] in own}
        busiest = max(sent, key=lambda at: sent[at]) if sent else None
        table.add_row(
            name,
            count(number),
            f"{float(kind.bandwidth) / 1e9:,.0f} GB/s",
            si(float(kind.latency_s), "s"),
            count(sent[busiest]) if busiest else "0",
            f"{answer.link_share(*busiest):.1%}" if busiest else "0%",
            f"{sum(answer.power.link_idle_w[i] for i in own):,.0f} W",
        )
    return Group("", table)


def _costs(answer: SystemAnswer) -> RenderableType:
    table = text_table("Power and cost", "", "")
    links = sum(answer.power.link_idle_w.values())
    energy, token = answer.energy_j_per_token, answer.usd_per_million_tokens
    table.add_row("Power at this load", f"{answer.power_w:,.0f} W")
    table.add_row(
        "At rest", f"{answer.power.idle_w:,.0f} W: cards and their dies "
        f"{answer.power.idle_w - links:,.0f}, links {links:,.0f}",
    )  # fmt: skip
    table.add_row("Energy of a token", si(energy, "J"))
    cards = f"{answer.cards_usd:,.0f} USD" if math.isfinite(answer.cards_usd) else "cannot be made"
    table.add_row("Cards", f"{cards}: dies, package and test, boards")
    masks = answer.masks_usd
    table.add_row(
        "Masks",
        f"{masks['total'] / 1e6:,.1f} M USD: shared {masks['shared'] / 1e6:,.1f}, "
        f"{answer.variants} variants {masks['variants'] / 1e6:,.1f}",
    )
    usd = f"{token:,.4f} USD" if math.isfinite(token) else "–"
    table.add_row("A million tokens", f"{usd}: cards and electricity, waiting included; no masks")
    return Group("", table)
