"""The report of ``hardwire run --system`` and of ``hardwire plan``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hardwire.experiments.report.charts import Bar, bars
from hardwire.experiments.report.page import (
    Block,
    Page,
    Section,
    Table,
    configuration_section,
    provenance_section,
)
from hardwire.experiments.shared.style import CAUSE_COLORS, CAUSE_NAMES
from hardwire.experiments.shared.tables import count, large, mib, si

Data = Mapping[str, Any]


def system_page(data: Data, configuration: Data | None) -> Page:
    """The page of a system of dies.

    Parameters
    ----------
    data : ``system.json``.
    configuration : ``configuration.json``, or None.
    """
    users = data["users"]
    verdict = (
        f"{count(data['decode_tokens_per_s_user'])} tokens/s for one user, "
        f"{count(data['decode_tokens_per_s_system'])} for {count(users)} user{'s' * (users > 1)}"
    )
    lines = [
        data["title"],
        f"{data['dies']} dies of {' and '.join(data['chips'])}, {data['power_w']:,.0f} W, of which "
        f"{data['idle_share']:.0%} is there without a token",
        f"{count(data['prompt'])} + {count(data['output'])} tokens, {data['engine']}",
    ]
    sections = [_latency(data)]
    if "options" in data:
        sections.append(_options(data))
    return Page(
        title=f"{data['system']} · {data['dies']} dies",
        verdict=verdict if data["fits"] else f"On paper {verdict}: does not fit its dies",
        good=None if data["fits"] else False,
        lines=lines,
        obstacles=data["obstacles"],
        sections=[
            *sections, _dies(data), _links(data), _costs(data),
            configuration_section(configuration), provenance_section(configuration),
        ],
    )  # fmt: skip


def _latency(data: Data) -> Section:
    parts = {cause: seconds for cause, seconds in data["latency_s"].items() if seconds}
    total = sum(parts.values())
    rows = [
        Bar(
            CAUSE_NAMES[cause], seconds, f"{seconds * 1e6:,.2f} µs, {seconds / total:.1%}",
            CAUSE_COLORS[cause],
        )
        for cause, seconds in parts.items()
    ]  # fmt: skip
    text = f"A token takes {si(total, 's', 4)}; it holds {data['critical_unit']} longest."
    chart = bars(rows, alt="Time of a token by cause")
    return Section("Where a token's time goes", [Block(text=text, chart=chart)])


def _options(data: Data) -> Section:
    heads = ("Dies", "Of a stage", "One user, tok/s", "System, tok/s", "Power, W", "USD/M tokens")
    rows = [
        (
            count(one["dies"]),
            count(one["dies_of_a_stage"]),
            count(one["decode_tokens_per_s_user"]),
            count(one["decode_tokens_per_s_system"]),
            count(one["power_w"]),
            f"{one['usd_per_million_tokens']:,.4f}",
        )
        for one in data["options"]
    ]
    text = f"Placements that fit, by {data['objective']}, the best first."
    return Section("Placements", [Block(text=text, table=Table(heads, rows))])


def _dies(data: Data) -> Section:
    heads = ("Die", "Layers", "Weights", "Blocks, mm²", "KV and adapters", "Idle, W", "Power, W")
    rows, marked = [], set()
    for number, (name, one) in enumerate(data["by_die"].items()):
        layers = " to ".join(map(str, dict.fromkeys(one["layers"]))) or "–"
        taken = f"{mib(one['kv_bytes'] + one['adapter_bytes'])} of {mib(one['sram_bytes'])}"
        rows.append(
            (
                name, layers, large(one["weights"], 3),
                f"{one['area_mm2']['total']:,.0f} of {one['die_mm2']:,.0f}", taken,
                count(one["idle_w"]), count(one["power_w"]),
            )
        )  # fmt: skip
        if not one["fits"]:
            marked.add(number)
    return Section("Dies", [Block(table=Table(heads, rows, frozenset(marked)))])


def _links(data: Data) -> Section:
    rows = [
        (
            " – ".join(one["ends"]),
            one["kind"],
            count(max(one["bytes_per_token"].values())),
            f"{max(one['busy'].values()):.1%}",
        )
        for one in data["by_link"]
    ]
    table = Table(("Link", "Kind", "Bytes a token, the busier way", "Busy"), rows)
    return Section("Links", [Block(table=table)], folded=True)


def _costs(data: Data) -> Section:
    masks = data["masks_usd"]
    cards, token = data["cards_usd"], data["usd_per_million_tokens"]
    rows = [
        ("Power at this load", f"{data['power_w']:,.0f} W"),
        ("At rest", f"{data['idle_w']:,.0f} W, links {data['links_w']:,.0f} of them"),
        ("Cards", "cannot be made" if cards is None else f"{cards:,.0f} USD"),
        (
            "Masks",
            f"{masks['total'] / 1e6:,.1f} M USD: shared {masks['shared'] / 1e6:,.1f}, "
            f"{data['variants']} variants {masks['variants'] / 1e6:,.1f}",
        ),
        ("A million tokens", "–" if token is None else f"{token:,.4f} USD, no masks"),
    ]
    return Section("Power and cost", [Block(table=Table(("What", "Value"), rows, wide=True))])
