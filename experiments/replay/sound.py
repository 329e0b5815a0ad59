"""Whether the chip on a server's cards could be made, and run in full on its share of power."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from hardwire.models.area import BYTES_PER_MIB
from hardwire.models.chip import Chip
from hardwire.models.language_model import LanguageModel
from hardwire.models.server import Server
from hardwire.models.server_of_systems import SystemServer
from hardwire.models.sram import kv_bytes_on
from hardwire.models.system.budget import budgets
from hardwire.simulator.closed_form import predict
from hardwire.simulator.obstacles import obstacles
from hardwire.simulator.serving.load.workload import Workload

SOUND: dict[str, Any] = {"fits_die": True, "power_capped": False, "obstacles": []}
"""Of a server that is built."""

ON_PAPER = "on paper"
"""How tables mark figures of a chip that cannot be made."""


def soundness_of_dies(server: SystemServer) -> dict[str, Any]:
    """The same of a server of systems: whether each die holds what is placed on it."""
    found = [one.obstacle for one in budgets(server.system, users=0).values()]
    in_the_way = [f"{server.system.name}: {words}" for words in found if words is not None]
    return SOUND | {"fits_die": not in_the_way, "obstacles": in_the_way}


def soundness(
    server: Server, chip: Chip, workload: Workload, power_limit_w: float | None
) -> dict[str, Any]:
    """What stands in the way of a server's chip, by the names that ``hardwire run --json`` has.

    Power is judged with a card full of requests of the workload's median lengths.

    Parameters
    ----------
    chip : on the cards.
    power_limit_w : of the server, instead of its own.
    """
    if len(workload) == 0:
        return SOUND
    model = LanguageModel.open(chip.model)
    share, own = server.card_limit_w(power_limit_w), float(chip.power.limit_w)
    card = dataclasses.replace(
        chip,
        power=dataclasses.replace(chip.power, limit_w=min(own, share)),
        datapath=dataclasses.replace(chip.datapath, issue=server.issue or chip.datapath.issue),
    )
    prompt = int(np.median(workload.prompt))
    output = max(int(np.median(workload.output)), 2)
    # Cards keep the pages of whole contexts, also of layers with a window.
    whole = (prompt + output) * kv_bytes_on(card, model)
    fitting = card.sram.capacity_mib * BYTES_PER_MIB // whole
    users = int(max(min(server.machine.users_per_card, fitting), 1))
    found = predict(card, model, prompt=prompt, output=output, users=users)
    in_the_way = obstacles(
        card,
        model,
        found.area_mm2,
        found.power,
        found.prefill_power,
        sram_bytes=0,
        server=server if share < own else None,
    )
    return {
        "fits_die": bool(found.fits_die),
        "power_capped": bool(found.power_capped),
        "obstacles": [str(one) for one in in_the_way],
    }
