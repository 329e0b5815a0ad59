"""Whether a run fits a chip: its adapter, the KV cache of its users, its length. Or why not."""

from __future__ import annotations

import numpy as np

from hardwire.models.adapter.adapter import Adapter
from hardwire.models.adapter.base import check_base, head_obstacle
from hardwire.models.area import BYTES_PER_MIB
from hardwire.models.chip import Chip
from hardwire.models.errors import InputError
from hardwire.models.language_model import EXPERT, LanguageModel
from hardwire.models.sram import SramBudget, sram_budget
from hardwire.simulator.datapath import adapter_room
from hardwire.simulator.obstacles import clock_obstacle


def check_fit(
    chip: Chip,
    model: LanguageModel,
    adapter: Adapter | None,
    *,
    prompt: int,
    output: int,
    users: int,
) -> SramBudget:
    """The SRAM budget of a run, or one sentence on why it cannot be."""
    check_clock(chip)
    context = prompt + output
    if context > model.max_position:
        raise InputError(f"prompt and output: {context:,} tokens exceed {model.limit()}")
    size = 0
    if adapter is not None:
        obstacle = adapter_obstacle(chip, model, adapter)
        if obstacle is not None:
            raise InputError(f"{adapter.name}: {obstacle}")
        size = adapter_room(chip, model, adapter)
    budget = sram_budget(chip, model, users=users, context_tokens=context, adapter_bytes=size)
    if budget.free_bytes < 0:
        beside = f" beside an adapter of {size / BYTES_PER_MIB:,.1f} MiB" if size else ""
        raise InputError(
            f"{chip.name}: sram.capacity_mib: {users} × {context:,} tokens of KV cache{beside} "
            f"lack {-budget.free_bytes / BYTES_PER_MIB:,.1f} MiB of {chip.sram.capacity_mib:g}; "
            f"what fits is {int(budget.max_context_tokens):,} tokens for {users} user(s), "
            f"{int(budget.max_users)} user(s) of this length, or "
            f"{np.ceil((budget.kv_bytes + size) / BYTES_PER_MIB):,.0f} MiB"
        )
    return budget


def check_clock(chip: Chip) -> None:
    """Refuse a chip whose clock is above what its pipeline reaches at its supply voltage.

    Raises
    ------
    InputError
        With the largest clock, and what would help.
    """
    if obstacle := clock_obstacle(chip):
        raise InputError(f"{chip.name}: datapath.clock_ghz: {obstacle}")


def adapter_obstacle(chip: Chip, model: LanguageModel, adapter: Adapter) -> str | None:
    """Why an adapter cannot be used on a chip at all, or None."""
    check_base(adapter, model)
    if obstacle := head_obstacle(chip, adapter.targets):
        return obstacle
    if adapter.max_rank > chip.formats.max_rank:
        return (
            f"rank {adapter.max_rank} exceeds what {chip.name} takes "
            f"(formats.max_rank: 1 to {chip.formats.max_rank})"
        )
    size = adapter_room(chip, model, adapter)
    budget = sram_budget(chip, model, users=1, context_tokens=1, adapter_bytes=size)
    if budget.free_bytes < 0:
        return (
            f"{size / BYTES_PER_MIB:,.1f} MiB and one token of KV cache lack "
            f"{-budget.free_bytes / BYTES_PER_MIB:,.1f} MiB of SRAM (sram.capacity_mib: "
            f"{chip.sram.capacity_mib:g}){_of_experts(model, adapter)}"
        )
    return None


def _of_experts(model: LanguageModel, adapter: Adapter) -> str:
    """How many of an adapter's weights are beside experts, and why they are so many."""
    beside = [module for module in adapter.modules if module.target.startswith(EXPERT)]
    if not beside or model.experts is None:
        return ""
    weights = sum(module.parameters for module in beside)
    layers = len({module.layer for module in beside})
    rest = adapter.parameters - weights
    each = weights / (layers * model.experts.count)
    return (
        f": {layers} layers × {model.experts.count} experts × {each:,.0f} weights are "
        f"{weights / 1e9:.3g}e9, and {rest / 1e6:.3g}e6 beside all else; attention alone may fit"
    )
