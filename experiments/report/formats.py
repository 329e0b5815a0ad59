"""The report of ``hardwire formats``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hardwire.experiments.formats.view import (
    adapters_finding,
    base_finding,
    decibels,
    kv_name,
    nats,
)
from hardwire.experiments.report.charts import Bar, Line, bars, plot
from hardwire.experiments.report.page import Block, Page, Section, Table, without_folder
from hardwire.experiments.shared.style import FORMAT_COLORS
from hardwire.experiments.shared.tables import count

Data = Mapping[str, Any]

WORDS = (
    ("against float32", "weights or KV cache in one format, all else in float32; adapters: the "
     "image in SRAM against one in float32, on a float32 base"),
    ("stored bits", "per weight or element of the KV cache, scales and padding included"),
    ("SQNR", "power of the exact values over that of the error, in dB: more is better; ∞ where "
     "nothing is lost"),
    ("KL", "divergence of the distribution of the next token, mean over the text, and the 99th "
     "percentile, in nats"),
    ("same token", "share of the text after which the most likely token is the same"),
)  # fmt: skip

ERRORS = ("Logits, dB", "KL, nats", "KL, p99", "Same token")


def formats_page(data: Data) -> Page:
    """The page of a measurement of number formats; ``data`` is ``formats.json``."""
    model = without_folder(data["model"])
    who = without_folder(data["adapter"]) if data["adapter"] else "Random adapters"
    weights = "random weights" if data["random_weights"] else "its own weights"
    return Page(
        title=f"{model} · number formats",
        verdict=base_finding(data),
        good=None,
        lines=[
            f"{model}, {weights}, {count(data['tokens'])} random tokens, seed {data['seed']}",
            f"In float32 the next token has an entropy of {data['entropy_nats']:.2f} nats",
            f"{who}: {data['adapter_strength']:.0%} of the norm of a linear layer's output",
        ],
        sections=[
            _base(data),
            _together(data),
            _adapters(data, who),
            Section("Definitions", [Block(table=Table(("Word", "Meaning"), WORDS, wide=True))]),
        ],
        warnings=["Random weights stand in for real ones: the order of the formats is worth more "
                  "than the values."] if data["random_weights"] else [],
    )  # fmt: skip


def _base(data: Data) -> Section:
    """Each format of the weights, and each of the KV cache, alone."""
    exact = data["base"][0]
    rows: list[tuple[str, str, float, Data]] = [
        (row["weights"], "weights", row["weight_bits"], row)
        for row in data["base"][1:]
        if row["kv_bits"] == exact["kv_bits"]
    ]
    rows += [
        (f"{kv_name(row['kv_bits'], _kv_format(row))} KV", "kv", row["kv_stored_bits"], row)
        for row in data["base"][1:]
        if row["weights"] == exact["weights"]
    ]
    drawn = [
        Bar(name, row["logits_sqnr_db"], f"{decibels(row['logits_sqnr_db'])} dB",
            FORMAT_COLORS[kind])
        for name, kind, _, row in rows
        if row["logits_sqnr_db"] is not None
    ]  # fmt: skip
    caption = "SQNR of the logits, dB"
    table = Table(
        ("Format", "Stored bits", "Products, dB", *ERRORS),
        [
            (
                name, f"{bits:.2f}", _db(row["product_sqnr_db"]) if kind == "weights" else "–",
                *_errors(row),
            )
            for name, kind, bits, row in rows
        ],
    )  # fmt: skip
    return Section(
        "Weights and KV cache, each alone",
        [
            Block(caption=caption, text=_spread(drawn), chart=bars(drawn, alt=caption)),
            Block(table=table),
        ],
    )


def _kv_format(row: Data) -> str:
    """What a result without it, of before FP8, had at 32 bits, and any integer below them."""
    found: str = row.get("kv_format") or ("float32" if row["kv_bits"] == 32 else "int8")
    return found


def _together(data: Data) -> Section:
    caches = dict.fromkeys((row["kv_bits"], _kv_format(row)) for row in data["base"])
    names = [f"{kv_name(bits, fmt)} KV" for bits, fmt in caches]
    rows = [
        (weights, *(nats(row["kl_nats"]) for row in data["base"] if row["weights"] == weights))
        for weights in dict.fromkeys(row["weights"] for row in data["base"])
    ]
    return Section(
        "Weights and KV cache together",
        [Block(caption="Mean KL, nats", table=Table(("", *names), rows))],
    )


def _adapters(data: Data, who: str) -> Section:
    """Each format of an adapter's image by rank."""
    by_format: dict[str, dict[int, Data]] = {}
    for row in data["adapters"]:
        by_format.setdefault(row["adapter_format"], {})[row["rank"]] = row
    ranks = sorted({rank for rows in by_format.values() for rank in rows})
    lines = [
        Line(fmt, [_value(rows.get(rank)) for rank in ranks], FORMAT_COLORS[fmt])
        for fmt, rows in by_format.items()
        if fmt in FORMAT_COLORS
    ]
    caption = "SQNR of the logits by rank, dB"
    blocks = []
    if len(ranks) > 1:
        chart = plot(
            ranks, lines, x_label="rank", y_label="SQNR of the logits, dB", log_x=True, dots=True,
            x_range=(ranks[0], ranks[-1]),
            alt=caption,
        )  # fmt: skip
        blocks.append(Block(caption=caption, text=_in_nats(data), chart=chart))
    table = Table(
        ("Format", "Rank", "Stored bits", "Product, dB", *ERRORS),
        [
            (
                row["adapter_format"], count(row["rank"]), f"{row['adapter_bits']:.2f}",
                _db(row["product_sqnr_db"]), *_errors(row),
            )
            for row in data["adapters"]
        ],
    )  # fmt: skip
    return Section(who, [*blocks, Block(table=table)])


def _spread(drawn: Sequence[Bar]) -> str:
    """The least and the most that is left of the signal."""
    if not drawn:
        return ""
    least, most = (pick(drawn, key=lambda bar: bar.value) for pick in (min, max))
    return f"From {least.text} with {least.name} to {most.text} with {most.name}."


def _in_nats(data: Data) -> str:
    found = adapters_finding(data)
    return f"Mean KL of {found} nats." if found else ""


def _value(row: Data | None) -> float:
    found = None if row is None else row["logits_sqnr_db"]
    return float("nan") if found is None else float(found)


def _errors(row: Data) -> Sequence[str]:
    return (
        _db(row["logits_sqnr_db"]), nats(row["kl_nats"]), nats(row["kl_p99_nats"]),
        f"{row['same_top']:.0%}",
    )  # fmt: skip


def _db(value: float | None) -> str:
    """Decibels; None, as JSON has the infinite, where nothing is lost."""
    return decibels(float("inf") if value is None else value)
