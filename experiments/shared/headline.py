"""A run's answer in a few words, from the object of ``--json``: for terminal and report alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hardwire.experiments.shared.tables import count

Data = Mapping[str, Any]

FREE = 5e-5
"""Changes of a rate below this are none."""

CANNOT_BE_MADE = "cannot be made"

LARGER_DIE = "on paper: of a die as large as the blocks"
"""What is said beside a cost where the blocks do not fit the die as stated."""


def problem(data: Data) -> str:
    """What stands in the way of the design, in one line with by how much; empty where nothing."""
    asked = data["adapter_detail"] or data
    total, die = data["area_mm2"]["total"], data["die_area_mm2"]
    parts = []
    if not data["fits_die"] and total <= die:
        parts.append(f"{CANNOT_BE_MADE}: a die of {die:,g} mm² exceeds the reticle")
    elif not data["fits_die"]:
        times = f", {total / die:.1f} dies" if total > 1.5 * die else ""
        parts.append(
            f"does not fit: the blocks take {total - die:,.1f} mm² more than the die of "
            f"{die:,g} mm²{times}"
        )
    held = [
        f"{what} to {asked[key]:.0%}"
        for what, key in (("decode", "power_throttle"), ("prefill", "prefill_power_throttle"))
        if asked[key] < 1
    ]
    if held:
        limit = f"the power limit of {data['power_limit_w']:g} W"
        parts.append(f"{limit} holds {' and '.join(held)} of its rate")
    text = "; ".join(parts)
    return text[:1].upper() + text[1:]


def sound_mark(fits_die: Any, power_capped: Any) -> str:
    """What a row of a table of designs says of one that is not sound."""
    words = [] if fits_die else ["does not fit the die"]
    return ", ".join([*words, *(["held by the power limit"] if power_capped else [])])


def mark(data: Data) -> str:
    """What follows the title of a table of rates or costs that are not those of a sound design."""
    if not data["fits_die"]:
        return ", on paper: does not fit the die"
    if not data["power_capped"]:
        return ""
    decodes = (data["adapter_detail"] or data)["power_throttle"] == 1
    return f", {'prefill ' if decodes else ''}held by the power limit"


def change(data: Data) -> str:
    """What the adapter does to the decode rate, or empty without one."""
    detail = data["adapter_detail"]
    if detail is None:
        return ""
    gained = detail["decode_tokens_per_s_user"] / data["decode_tokens_per_s_user"] - 1
    return "at no cost" if abs(gained) < FREE else f"{gained:+.1%}"


def free_rank(rank: int, interval: Sequence[float]) -> str:
    """The highest rank that adds no cycle, with its interval."""
    low, high = interval
    most = f"up to {rank}" if rank else "none"
    return f"{most} on the same targets ({low:.0f} … {high:.0f})"


def answer(data: Data) -> str:
    """The decode rate that was asked for, and what an adapter makes of it."""
    detail = data["adapter_detail"]
    rate = count((detail or data)["decode_tokens_per_s_user"])
    who = "for one user" if data["users"] == 1 else f"per user of {data['users']}"
    text = f"{rate} tokens/s {who}"
    if detail is not None:
        cost = change(data)
        base = count(data["decode_tokens_per_s_user"])
        cost = f" {cost}" if cost.startswith("at") else f" ({cost}; base {base})"
        text += f" with {data['adapter']}{cost}"
    return text if data["fits_die"] else f"On paper {text}"


def against_target(data: Data) -> tuple[str, str, str]:
    """The distance to the target, its name, and whether it is inside the interval.

    Empty where there is no target, or where the design has none to reach: one that cannot be made,
    or that is above the target only at a rate that the power limit cuts.
    """
    target = data["target_tokens_per_s"]
    key = "decode_tokens_per_s_user"
    rate = (data["adapter_detail"] or data)[key]
    if target is None or not data["fits_die"] or (data["obstacles"] and rate >= target):
        return "", "", ""
    gap = rate / target - 1
    low, high = data["interval"][key if data["adapter_detail"] is None else f"adapter_{key}"]
    inside = ", inside the interval" if low <= target <= high else ""
    return f"{abs(gap):.1%} {'above' if gap >= 0 else 'short of'}", count(target), inside


def only_of_some(data: Data) -> str:
    """A sentence on the draws that no interval is of; empty where all draws run."""
    share = data["interval_draws_share"]
    if share == 1:
        return ""
    return (
        f"In {1 - share:.0%} of the draws idle power alone is above the limit: the intervals are "
        "of the others."
    )
