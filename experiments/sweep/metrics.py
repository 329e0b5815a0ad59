"""What a study can ask of a design: the metrics, by name, with unit, meaning and better side."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from hardwire.experiments.shared.style import BLOCK_NAMES, CAUSE_NAMES
from hardwire.models.catalogue import did_you_mean
from hardwire.models.errors import InputError
from hardwire.simulator.datapath import OPERATIONS
from hardwire.simulator.system.program import CAUSES

Better = Literal["max", "min"]


@dataclass(frozen=True)
class Metric:
    """A number that a design has. ``better`` is the side that a search prefers by default."""

    unit: str
    meaning: str
    better: Better

    @property
    def label(self) -> str:
        """What it means, and its unit, as an axis says it."""
        unit = self.unit.replace("mm2", "mm²")
        return f"{self.meaning}{f', {unit}' if unit else ''}"


AREA_BLOCKS = (
    "rom", "sram", "matrix_adders", "rescale", "attention", "lora", "lora_bus", "vector_units",
    "sampling", "registers", "overhead", "io", "total",
)  # fmt: skip

HEADLINE: dict[str, Metric] = {
    "decode_tokens_per_s_user": Metric("tokens/s", "decode rate of one user", "max"),
    "decode_tokens_per_s_chip": Metric("tokens/s", "decode rate of all users", "max"),
    "token_s": Metric("s", "mean decode step of a user", "min"),
    "ttft_s": Metric("s", "mean time to first token", "min"),
    "prefill_tokens_per_s": Metric("tokens/s", "prompt tokens of all users", "max"),
    "power_w": Metric("W", "card power while decoding", "min"),
    "idle_w": Metric("W", "card power while it waits", "min"),
    "energy_j_per_decode_token": Metric("J", "card energy per decoded token", "min"),
    "energy_j_per_utilized_token": Metric(
        "J", "the same where the card decodes for cost.utilization of the time and waits", "min"
    ),
    "energy_j_per_request": Metric("J", "card energy per request, prompt included", "min"),
    "power_throttle": Metric("", "share of the rate that the power limit leaves", "max"),
    "closed_form_error_bound": Metric("", "what the closed form's times are off by at most", "min"),
    "area_mm2.total": Metric("mm2", "area of all blocks", "min"),
    "die_area_mm2": Metric("mm2", "area of the die as stated", "min"),
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
        f"area_mm2.{block}": Metric(
            "mm2", f"area of {BLOCK_NAMES.get(block, block.replace('_', ' '))}", "min"
        )
        for block in AREA_BLOCKS
        if block != "total"
    },
    "free_rank": Metric("", "highest rank at no cost on the adapter's targets", "max"),
    "die_margin_mm2": Metric("mm2", "die area less the area of all blocks", "max"),
    "prefill_power_throttle": Metric("", "share of the prefill rate that the limit leaves", "max"),
}
"""Metrics that are stored where a study names them."""

CLOSED_FORM: dict[str, Metric] = {**HEADLINE, **DETAIL}

ENGINE_ONLY: dict[str, Metric] = {
    "breakdown_s.waiting": Metric("s", "decode time behind other users' tokens", "min"),
    "breakdown_s.power_cap": Metric("s", "decode time that the power limit adds", "min"),
}

ENGINE: dict[str, Metric] = {**CLOSED_FORM, **ENGINE_ONLY}
"""Rates and times are measured on simulated tokens. Power, energy, cost, area and SRAM are those of
the closed forms, which ``hardwire run`` states too."""

OF_CHIP = ("area_mm2.total", "die_area_mm2", "die_cost_usd")
"""Closed forms of the chip on the cards, stored beside the replay's numbers."""


def _spread(name: str, unit: str, meaning: str, parts: tuple[str, ...]) -> dict[str, Metric]:
    better = "max" if name.startswith(("offered", "served", "utilization")) else "min"
    return {
        f"{name}.{part}": Metric(unit, f"{meaning}, {part}", better)  # type: ignore[arg-type]
        for part in parts
    }


_LATENCY = ("mean", "p50", "p90", "p99")
_USE = ("mean", "max")

REPLAY: dict[str, Metric] = {
    "goodput": Metric("requests/s", "completed requests that met every SLO", "max"),
    "ttft_s.p99": Metric("s", "time to first token, p99", "min"),
    "tpot_s.p99": Metric("s", "time per output token, p99", "min"),
    "server_energy_j_per_output_token": Metric("J", "energy of the server per output token", "min"),
    **_spread("ttft_s", "s", "time to first token", _LATENCY[:3]),
    **_spread("tpot_s", "s", "time per output token", _LATENCY[:3]),
    **_spread("e2e_s", "s", "last output token after arrival", _LATENCY),
    "slo_met": Metric("", "share of all requests that met every SLO", "max"),
    "output_tokens_per_s": Metric("tokens/s", "output tokens served", "max"),
    **{
        f"{side}.{rate}": Metric(unit, f"{side} {words}", "max")
        for side in ("offered", "served")
        for rate, unit, words in (
            ("requests_per_s", "requests/s", "requests"),
            ("output_tokens_per_s", "tokens/s", "output tokens"),
            ("prompt_tokens_per_s", "tokens/s", "prompt tokens"),
        )
    },
    "requests": Metric("", "requests of the workload", "max"),
    "completed": Metric("", "requests completed", "max"),
    "refused": Metric("", "requests that can never be served", "min"),
    "unfinished": Metric("", "requests not ended where the replay stopped", "min"),
    "duration_s": Metric("s", "from the first arrival to the end of the last request", "min"),
    "generated_tokens": Metric("tokens", "output tokens", "max"),
    "prompt_tokens": Metric("tokens", "prompt tokens", "max"),
    "reused_prompt_tokens": Metric("tokens", "prompt tokens found in the KV cache", "max"),
    "swaps": Metric("", "adapter loads", "min"),
    "adapter_hit_rate": Metric("", "adapter resident when its request was let in", "max"),
    "swap_wait_s": Metric("s", "waiting for adapters, all requests", "min"),
    "swap_wait_share": Metric("", "share of the requests' time that waits for adapters", "min"),
    "preemptions": Metric("", "requests that had to make room", "min"),
    **_spread("utilization.compute", "", "busy share of the cards or GPUs", _USE),
    **_spread("utilization.link", "", "busy share of the host links", _USE),
    **_spread("utilization.disk", "", "busy share of the disk", _USE),
    "sram.capacity_bytes": Metric("B", "memory of a card for KV and adapters", "max"),
    "sram.peak_bytes": Metric("B", "KV and adapters at the peak of a card", "min"),
    "sram.mean_bytes": Metric("B", "KV and adapters, mean over cards and time", "min"),
    "sram.peak_kv_bytes": Metric("B", "KV at its peak", "min"),
    "sram.mean_kv_bytes": Metric("B", "KV, mean", "min"),
    "sram.peak_adapter_bytes": Metric("B", "adapters at their peak", "min"),
    "sram.mean_adapter_bytes": Metric("B", "adapters, mean", "min"),
    "server_energy_j": Metric("J", "energy of the whole server", "min"),
    "server_power_w": Metric("W", "mean power of the whole server", "min"),
    "usd": Metric("USD", "share of the purchase, and electricity", "min"),
    "usd_per_million_tokens": Metric("USD", "cost per million output tokens", "min"),
    **{name: CLOSED_FORM[name] for name in OF_CHIP},
}
"""Numbers of ``hardwire.simulator.serving.metrics.summarize``, nested names joined by dots; the
closed forms of the chip. NaN where one is undefined: a percentile of no requests, a GPU's die."""

SYSTEM: dict[str, Metric] = {
    "decode_tokens_per_s_user": HEADLINE["decode_tokens_per_s_user"],
    "decode_tokens_per_s_system": HEADLINE["decode_tokens_per_s_chip"],
    "tokens_per_j": Metric("tokens/J", "decoded tokens per joule of all cards and links", "max"),
    "dies": Metric("", "dies of the system", "min"),
    "token_s": HEADLINE["token_s"],
    "ttft_s": HEADLINE["ttft_s"],
    **{
        f"latency_s.{cause}": Metric("s", f"decode time: {CAUSE_NAMES[cause]}", "min")
        for cause in CAUSES
    },
    "power_w": Metric("W", "power of all cards and links while decoding", "min"),
    "idle_w": Metric("W", "power of all cards and links at rest", "min"),
    "power_throttle": HEADLINE["power_throttle"],
    "variants": Metric("", "dies with masks of their own", "min"),
    "cards_usd": Metric("USD", "all dies with package, test and board", "min"),
    "masks_usd": Metric("USD", "masks, shared ones and those of variants", "min"),
    "usd_per_million_tokens": HEADLINE["usd_per_million_tokens"],
    "max_users": Metric("users", "users of this context that the dies hold", "max"),
}
"""Of systems of several dies, in closed form."""

METRICS: dict[str, dict[str, Metric]] = {
    "closed-form": CLOSED_FORM,
    "engine": ENGINE,
    "replay": REPLAY,
    "system": SYSTEM,
}
"""Metrics of each fidelity, by name."""


def check_metrics(names: Iterable[str], known: dict[str, Metric], where: str) -> tuple[str, ...]:
    """The names as given.

    Raises
    ------
    InputError
        On the first one that is no metric; the message names the nearest ones.
    """
    chosen = tuple(names)
    for name in chosen:
        if isinstance(name, str) and name in known:
            continue
        elsewhere = [fidelity for fidelity, metrics in METRICS.items() if str(name) in metrics]
        if elsewhere:
            raise InputError(
                f"{where}: '{name}' is no metric of this fidelity, but of {' and '.join(elsewhere)}"
            )
        raise InputError(f"{where}: '{name}' is no metric{did_you_mean(str(name), known)}")
    return chosen
