"""What a study can ask of a design: the metrics, by name, with unit, meaning and better side."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from hardwire.models.catalogue import did_you_mean
from hardwire.models.errors import InputError
from hardwire.simulator.datapath import OPERATIONS

Better = Literal["max", "min"]


@dataclass(frozen=True)
class Metric:
    """A number that a design has. ``better`` is the side that a search prefers by default."""

    unit: str
    meaning: str
    better: Better


AREA_BLOCKS = (
    "rom", "sram", "matrix_adders", "attention", "lora", "vector_units", "sampling", "overhead",
    "io", "total",
)  # fmt: skip

HEADLINE: dict[str, Metric] = {
    "decode_tokens_per_s_user": Metric("tokens/s", "decode rate of one user", "max"),
    "decode_tokens_per_s_chip": Metric("tokens/s", "decode rate of all users", "max"),
    "token_s": Metric("s", "mean decode step of a user", "min"),
    "ttft_s": Metric("s", "mean time to first token", "min"),
    "prefill_tokens_per_s": Metric("tokens/s", "prompt tokens of all users", "max"),
    "power_w": Metric("W", "card power while decoding", "min"),
    "energy_j_per_token": Metric("J", "card energy per decoded token", "min"),
    "power_throttle": Metric("", "share of the rate that the power limit leaves", "max"),
    "area_mm2.total": Metric("mm2", "area of all blocks", "min"),
    "die_mm2": Metric("mm2", "area of the die as stated", "min"),
    "transistors": Metric("", "transistors of all blocks", "min"),
    "die_cost_usd": Metric("USD", "cost of a good die", "min"),
    "usd_per_million_tokens": Metric("USD", "card and electricity per million tokens", "min"),
    "sram.kv_bytes": Metric("B", "KV cache of all users", "min"),
    "sram.adapter_bytes": Metric("B", "resident adapters", "min"),
    "sram.free_bytes": Metric("B", "SRAM left; negative by what is lacking", "max"),
    "sram.max_context_tokens": Metric("tokens", "context that fits for these users", "max"),
    "sram.max_users": Metric("users", "users of this context that fit", "max"),
}
"""Metrics that every stored point has."""

DETAIL: dict[str, Metric] = {
    **{
        f"breakdown_s.{operation}": Metric("s", f"decode time in {operation}", "min")
        for operation in OPERATIONS
    },
    **{
        f"area_mm2.{block}": Metric("mm2", f"area of {block.replace('_', ' ')}", "min")
        for block in AREA_BLOCKS
        if block != "total"
    },
    "free_rank": Metric("", "highest rank at no cost on the adapter's targets", "max"),
    "die_margin_mm2": Metric("mm2", "die area less the area of all blocks", "max"),
    "prefill_power_throttle": Metric("", "share of the prefill rate that the limit leaves", "max"),
}
"""Metrics that are stored where a study names them."""

CLOSED_FORM: dict[str, Metric] = {**HEADLINE, **DETAIL}


def check_metrics(names: Iterable[str], known: dict[str, Metric], where: str) -> tuple[str, ...]:
    """The names as given.

    Raises
    ------
    InputError
        On the first one that is no metric; the message names the nearest ones.
    """
    chosen = tuple(names)
    for name in chosen:
        if name not in known:
            raise InputError(f"{where}: '{name}' is no metric{did_you_mean(str(name), known)}")
    return chosen
