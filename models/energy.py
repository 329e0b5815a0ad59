"""Energy per token and power, closed form: activity × energy, plus leakage, plus clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hardwire.models.area import area, logic_area
from hardwire.models.chip import Chip
from hardwire.models.language_model import LanguageModel
from hardwire.models.rom import RomMatrix, head_matrix, layer_matrices
from hardwire.models.sram import kv_bytes_per_token

VECTOR_OPS_PER_ELEMENT = 4
"""Floating-point operations per element of a norm, RoPE or SiLU·mul pass (square, scale, gain,
add; rotate; exponential and product), counted by hand from the formulas."""

PRODUCT_BITS = 12
"""An 8-bit activation times a weight of up to 4 bits."""


@dataclass(frozen=True)
class Activity:
    """What one token makes the chip do.

    ``context_tokens`` it attends to; what its adapter multiplies, reads, and moves over buses of
    the side paths' own (bits times mm); and whether it is ``sampled``, which takes the LM head.
    Prompt tokens before the last are not.
    """

    context_tokens: Any
    adapter_macs: Any = 0
    adapter_bytes: Any = 0
    adapter_bit_mm: Any = 0
    sampled: bool = True


@dataclass(frozen=True)
class PowerReport:
    """Power of one chip and its card at a token rate. Watts and joules.

    ``throttle`` is the share of the unconstrained rate that the card's power limit allows.
    ``blocks_j`` is dynamic energy per token by block.
    """

    blocks_j: dict[str, Any]
    dynamic_j_per_token: Any
    static_w: Any
    chip_w: Any
    card_w: Any
    energy_j_per_token: Any
    throttle: Any


def token_energy(chip: Chip, model: LanguageModel, activity: Activity) -> dict[str, Any]:
    """Dynamic energy of one token by block, in joules.

    ROM: every weight is read and selected once, and one accumulator addition made per weight;
    the products of an activation with the weight alphabet (2^bits of them) run along the matrix
    on wires of ``area / broadcast_pitch``. Attention: K and V of every past token read once, one
    multiply-accumulate per query head and element.
    """
    process = chip.process
    matrices = layer_matrices(model)
    head = head_matrix(model)
    pico, femto = 1e-12, 1e-15

    def total(per_matrix: Any) -> Any:
        body = model.layers * sum(per_matrix(m) for m in matrices)
        return body + per_matrix(head) if activity.sampled else body

    weights = total(lambda m: m.weights)

    def wire_bit_mm(matrix: RomMatrix) -> Any:
        mm2 = matrix.weights * chip.rom.bits_per_weight / 1e6 / chip.rom.density_mbit_per_mm2
        products = np.exp2(chip.rom.bits_per_weight)
        length_mm = mm2 / chip.rom.broadcast_pitch_mm
        return matrix.in_features * products * PRODUCT_BITS * length_mm

    attention_macs = 2 * model.layers * model.heads * model.head_dim * activity.context_tokens
    vector_elements = model.layers * (
        4 * model.hidden + (model.heads + model.kv_heads) * model.head_dim + model.intermediate
    )
    if model.sub_norm:
        vector_elements += model.layers * (model.hidden + model.intermediate)
    return {
        "rom read": weights * chip.rom.bits_per_weight / 8 * process.rom_read_pj_per_byte * pico,
        "accumulate": weights * chip.rom.accumulator_bits * process.adder_fj_per_bit * femto,
        "broadcast": total(wire_bit_mm) * process.wire_fj_per_bit_mm * femto,
        "kv": (
            kv_bytes_per_token(model, chip.formats.kv_bits)
            * (activity.context_tokens + 1)
            * process.sram_pj_per_byte
            * pico
        ),
        "attention": attention_macs * process.mac_int8_pj * pico,
        "lora": (
            activity.adapter_macs * process.mac_int8_pj
            + activity.adapter_bytes * process.sram_pj_per_byte
        )
        * pico,
        "lora_bus": activity.adapter_bit_mm * process.wire_fj_per_bit_mm * femto,
        "vector": vector_elements * VECTOR_OPS_PER_ELEMENT * process.fp16_op_pj * pico,
    }


def static_power(chip: Chip, model: LanguageModel, blocks: dict[str, Any] | None = None) -> Any:
    """Leakage and clock tree in watts. The clock is taken as never gated: nothing says it is.

    Parameters
    ----------
    blocks : ``area`` of the same chip and model, where it is at hand.
    """
    process = chip.process
    blocks = blocks or area(chip, model)
    logic = logic_area(blocks)
    leakage = (
        logic * process.logic_leakage_w_per_mm2
        + blocks["sram"] * process.sram_leakage_w_per_mm2
        + blocks["rom"] * process.rom_leakage_w_per_mm2
    )
    clocked_mm2 = logic + (blocks["sram"] + blocks["rom"]) * process.clock_array_share
    clock = clocked_mm2 * process.clock_pj_per_mm2_cycle * 1e-12 * chip.datapath.clock_ghz * 1e9
    return leakage + clock


def power(
    chip: Chip,
    model: LanguageModel,
    activity: Activity,
    tokens_per_s: Any,
    static_w: Any | None = None,
) -> PowerReport:
    """Power at an unconstrained chip rate, after the card's limit has capped it.

    Parameters
    ----------
    tokens_per_s : rate of the chip if power were free.
    static_w : ``static_power`` of the same chip and model, where it is at hand.

    Returns
    -------
    PowerReport
        ``energy_j_per_token`` is card energy: regulator losses and board included.
    """
    blocks = token_energy(chip, model, activity)
    dynamic_j = sum(blocks.values())
    if static_w is None:
        static_w = static_power(chip, model)
    efficiency = chip.power.regulator_efficiency
    budget_w = (chip.power.limit_w - chip.power.board_w) * efficiency - static_w
    throttle = np.clip(budget_w / (dynamic_j * tokens_per_s), 0.0, 1.0)
    rate = tokens_per_s * throttle
    chip_w = static_w + dynamic_j * rate
    card_w = chip_w / efficiency + chip.power.board_w
    with np.errstate(divide="ignore"):
        per_token = np.where(rate > 0, card_w / np.maximum(rate, 1e-300), np.inf)
    return PowerReport(
        blocks_j=blocks,
        dynamic_j_per_token=dynamic_j,
        static_w=static_w,
        chip_w=chip_w,
        card_w=card_w,
        energy_j_per_token=per_token[()],
        throttle=throttle,
    )
