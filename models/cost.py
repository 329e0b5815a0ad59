"""Die cost and cost per million tokens, closed form."""

from __future__ import annotations

from typing import Any

import numpy as np

from hardwire.models.chip import Chip

SECONDS_PER_YEAR = 365.25 * 86400


def murphy_yield(area_mm2: Any, defects_per_cm2: Any) -> Any:
    """Die yield by Murphy's model, ``((1 − e^−x) / x)²`` with ``x = area · D0``.

    B. T. Murphy, "Cost-size optima of monolithic integrated circuits", Proc. IEEE 52 (1964).
    """
    x = np.asarray(area_mm2) / 100 * defects_per_cm2
    return ((-np.expm1(-x)) / x) ** 2


def gross_dies(area_mm2: Any, wafer_diameter_mm: Any) -> Any:
    """Whole dies on a round wafer: ``π(d/2)²/A − πd/√(2A)``, at least 0, not rounded."""
    radius = wafer_diameter_mm / 2
    dies = np.pi * radius**2 / area_mm2 - np.pi * wafer_diameter_mm / np.sqrt(2 * area_mm2)
    return np.maximum(dies, 0.0)


def die_cost_usd(chip: Chip, blocks_mm2: Any) -> Any:
    """Cost of a good die in USD: wafer price over good dies.

    The die is as large as it is stated, or as its blocks need where that is more. Murphy's model
    counts the defects of all of it but for ``floorplan.defect_tolerant_share``.

    Parameters
    ----------
    blocks_mm2 : area of all blocks, the ``total`` of ``hardwire.models.area.area``.

    Returns
    -------
    ``inf`` where that die cannot be made: it exceeds the reticle, or none fits the wafer.
    """
    process = chip.process
    needed_mm2 = np.maximum(chip.die.area_mm2, blocks_mm2)
    critical_mm2 = needed_mm2 * (1 - chip.floorplan.defect_tolerant_share)
    good = gross_dies(needed_mm2, process.wafer_diameter_mm) * murphy_yield(
        critical_mm2, process.defects_per_cm2
    )
    made = (good > 0) & (needed_mm2 <= process.reticle_mm2)
    return np.where(made, process.wafer_usd / np.maximum(good, 1e-300), np.inf)[()]


def usd_per_million_tokens(
    chip: Chip, die_usd: Any, tokens_per_s: Any, energy_j_per_token: Any
) -> Any:
    """Depreciation of the card plus electricity, in USD per million decoded tokens.

    Design, masks, host and staff are not in it: they depend on volume, not on the chip.

    Parameters
    ----------
    die_usd : ``die_cost_usd`` of the chip; infinite where it cannot be made, as is then the result.
    """
    card_usd = die_usd + chip.cost.package_test_usd + chip.cost.board_usd
    busy_s = chip.cost.lifetime_years * SECONDS_PER_YEAR * chip.cost.utilization
    kwh_per_token = energy_j_per_token * chip.cost.pue / 3.6e6
    per_token = card_usd / (busy_s * tokens_per_s) + kwh_per_token * (
        chip.cost.electricity_usd_per_kwh
    )
    return per_token * 1e6


def mask_units(euv_masks: Any, duv_masks: Any, euv_over_duv: Any) -> Any:
    """Cost of masks in units of one DUV mask, an EUV mask costing ``euv_over_duv`` of them."""
    return euv_masks * euv_over_duv + duv_masks


def mask_cost_usd(chip: Chip, variants: Any, *, shared: bool = True) -> dict[str, Any]:
    """Price of masks of dies that differ in their weights alone, in USD.

    Parameters
    ----------
    variants : dies with different weights.
    shared : whether the masks without weights are paid for, too: a re-spin keeps them.

    Returns
    -------
    dict
        ``shared``, ``variants`` and ``total``.
    """
    whole, share = chip.process.mask_set_usd, chip.cost.variant_mask_share
    common = whole * (1 - share) if shared else 0.0
    own = whole * share * variants
    return {"shared": common, "variants": own, "total": common + own}
