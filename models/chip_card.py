"""The sections of a chip file on what is around its blocks: rest of the die, card and cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hardwire.models.parameters import quantity


@dataclass(frozen=True)
class Floorplan:
    """What the blocks do not explain."""

    io_mm2: Any = quantity("mm2", 0, 1000, "host link PHY, pads, PLLs")
    overhead_share: Any = quantity("", 0, 2, "routing, control, redundancy: share of the blocks")
    defect_tolerant_share: Any = quantity(
        "", 0, 1, "share of the die in which a defect is repaired, and costs no die"
    )


@dataclass(frozen=True)
class Power:
    """From chip to card."""

    regulator_efficiency: Any = quantity("", 0.3, 1, "of the card's voltage regulators")
    board_w: Any = quantity("W", 0, 1000, "card beside the chip: link, fan, controller")
    limit_w: Any = quantity("W", 1, 100000, "card power limit; throughput is capped at it")
    junction_c: Any = quantity("C", -40, 150, "junction temperature, which leakage grows with")
    idle_clock_share: Any = quantity("", 0, 1, "share of its clock that waiting hardware gets")
    idle_toggle: Any = quantity("", 0, 1, "share of ROM adders that toggle while they wait")


@dataclass(frozen=True)
class Cost:
    """From die to tokens."""

    package_test_usd: Any = quantity("USD", 0, 100000, "package and test per chip")
    board_usd: Any = quantity("USD", 0, 100000, "rest of the card")
    variant_mask_share: Any = quantity(
        "",
        0,
        1,
        "share of a mask set's price that is of masks with weights, anew for each die that holds "
        "other ones",
    )
    lifetime_years: Any = quantity("year", 0.1, 30, "depreciation")
    utilization: Any = quantity("", 0.001, 1, "share of the lifetime spent decoding")
    pue: Any = quantity("", 1, 3, "power usage effectiveness of the data centre")
    electricity_usd_per_kwh: Any = quantity("USD/kWh", 0, 10, "price of electricity")
