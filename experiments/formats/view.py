"""The tables of a report on number formats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.text import Text

from hardwire.experiments.shared.tables import QUIET, plain_table

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from hardwire.experiments.formats.divergence import Divergence
    from hardwire.experiments.formats.measure import FormatReport


def render(report: FormatReport) -> RenderableType:
    """The report for a terminal, from 80 columns on."""
    exact = report.base[0]
    weights = _by_bits(
        "Weights, KV cache in float32",
        [
            (row.weights, row.weight_bits, row.product_sqnr_db, row.error)
            for row in report.base
            if row.kv_bits == exact.kv_bits and row.weights != exact.weights
        ],
    )
    cache = _by_bits(
        "KV cache, weights in float32",
        [
            (kv_name(row.kv_bits, row.kv_format), row.kv_stored_bits, None, row.error)
            for row in report.base
            if row.weights == exact.weights and row.kv_bits != exact.kv_bits
        ],
    )
    name = report.adapter or "Adapters"
    rows = {(row.adapter_format, row.rank): row for row in report.adapters}
    products = {at: decibels(row.product_sqnr_db) for at, row in rows.items()}
    logits = {at: decibels(row.error.logits_sqnr_db) for at, row in rows.items()}
    divergences = {at: nats(row.error.kl_nats) for at, row in rows.items()}
    return Group(
        Text(report.title, style="bold"),
        Text(_premises(report), style=QUIET),
        "",
        weights,
        "",
        cache,
        "",
        _both(report),
        "",
        _by_rank(f"{name}: SQNR of the product (dB) by rank", report, products),
        "",
        _by_rank(f"{name}: SQNR of logits (dB) by rank", report, logits),
        "",
        _by_rank(f"{name}: mean KL (nats) by rank", report, divergences),
    )


def base_finding(data: Mapping[str, Any]) -> str:
    """What the coarsest and the finest format of the weights do; ``data`` as of ``to_dict``."""
    exact = data["base"][0]
    rows = [row for row in data["base"] if row["kv_bits"] == exact["kv_bits"] and row["kl_nats"]]
    rows = [row for row in rows if "/" not in row["weights"]]  # with a scale for 32 inputs
    worst, best = (pick(rows, key=lambda row: row["kl_nats"]) for pick in (max, min))
    return (
        f"{_named(worst['weights'])} weights move the output by {worst['kl_nats']:.2g} nats, "
        f"{_named(best['weights'])} by {best['kl_nats']:.2g}"
    )


def adapters_finding(data: Mapping[str, Any]) -> str:
    """What each format of an adapter's image does at most; empty where none does anything."""
    parts = []
    for fmt in dict.fromkeys(row["adapter_format"] for row in data["adapters"]):
        most = max(row["kl_nats"] for row in data["adapters"] if row["adapter_format"] == fmt)
        if most > 0:
            parts.append(f"{fmt} {most:.1g}")
    return f"adapters, at most: {', '.join(parts)}" if parts else ""


def _named(weights: str) -> str:
    return f"{weights.removeprefix('rom')}-bit"


def kv_name(bits: int, fmt: str) -> str:
    """A format of the KV cache: by its bits, where it is not a float32 or FP8."""
    return fmt if fmt in ("float32", "e4m3") else f"{bits}-bit"


def decibels(value: float) -> str:
    """One decimal; ∞ where nothing is lost."""
    return f"{value:.1f}".replace("inf", "∞")


def nats(value: float) -> str:
    """Two significant digits, and 0 only where it is 0."""
    return f"{value:.2g}" if value else "0"


def _premises(report: FormatReport) -> str:
    who = "The adapter adds" if report.adapter else "Random adapters add"
    return (
        f"Against float32, whose next token has an entropy of {report.entropy_nats:.2f} nats.\n"
        f"{who} {report.adapter_strength:.0%} to the norm of a linear layer's output."
    )


def _by_bits(name: str, rows: list[tuple[str, float, float | None, Divergence]]) -> Table:
    with_products = any(product is not None for _, _, product, _ in rows)
    columns = ["stored bits", "products dB"] if with_products else ["stored bits"]
    table = plain_table(name, "", *columns, "logits dB", "KL nats", "KL p99", "same token")
    for label, bits, product, error in rows:
        table.add_row(
            label,
            f"{bits:.2f}",
            *([decibels(product)] if product is not None else []),
            decibels(error.logits_sqnr_db),
            nats(error.kl_nats),
            nats(error.kl_p99_nats),
            f"{error.same_top:.0%}",
        )
    return table


def _both(report: FormatReport) -> Table:
    """Mean KL of each format of the weights with each of the KV cache."""
    caches = dict.fromkeys((row.kv_bits, row.kv_format) for row in report.base)
    names = [f"{kv_name(bits, fmt)} KV" for bits, fmt in caches]
    table = plain_table("Weights and KV cache together, mean KL (nats)", "", *names)
    for weights in dict.fromkeys(row.weights for row in report.base):
        found = [nats(row.error.kl_nats) for row in report.base if row.weights == weights]
        table.add_row(weights, *found)
    return table


def _by_rank(name: str, report: FormatReport, cells: dict[tuple[str, int], str]) -> Table:
    ranks = list(dict.fromkeys(row.rank for row in report.adapters))
    table = plain_table(name, "", "stored bits", *(f"r{rank}" for rank in ranks))
    for fmt in dict.fromkeys(row.adapter_format for row in report.adapters):
        bits = max(row.adapter_bits for row in report.adapters if row.adapter_format == fmt)
        table.add_row(fmt, f"{bits:.2f}", *(cells[fmt, rank] for rank in ranks))
    return table
