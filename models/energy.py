"""Energy per token and power, closed form: what the chip takes while it waits, and per token.

Power is idle power plus energy per token times tokens per second. Registers of units that work are
clocked for the cycles that the timing model gives; while they wait, by ``power.idle_clock_share``.
Since a unit works in proportion to the rate, what work adds to the clock is energy per token, and
one line holds at any load, issue and number of users.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hardwire.models.area import area, logic_area
from hardwire.models.chip import Chip
from hardwire.models.fabric import (
    LOGIT_BITS,
    TOPK_PLACES,
    kv_multiplier,
    registers,
    registers_per_unit,
)
from hardwire.models.language_model import LanguageModel, LayerKind
from hardwire.models.rom import (
    ACTIVATION_BITS,
    EMBEDDING_BITS,
    PRODUCT_BITS,
    RomFormat,
    RomMatrix,
    adder_bits,
    head_matrix,
    rescales,
    rom_bits,
    rom_formats,
    used_matrices,
)
from hardwire.models.sram import kv_bytes_on

OPS_PER_ELEMENT = 4
"""Floating-point operations per element of a norm, RoPE or SiLU·mul pass (square, scale, gain,
add; rotate; exponential and product), and per exponential of the softmax (subtract, scale, look up,
correct), counted by hand from the formulas."""

RESULT_BITS = 24
"""A product of 12 bits, summed over up to 2^12 inputs: what an output sends over the die."""

TOKEN_BITS = 32
"""What the number of a token takes on the host link: in as part of a prompt, out as a result."""

PJ_PER_WEIGHT_USE = (0.6, 1.3)
"""Energy of a whole chip for one weight multiplied into one token, of five published hardwired
chips and designs of 5 to 7 nm; shown beside the model's, and used for nothing."""

PICO, FEMTO = 1e-12, 1e-15


@dataclass(frozen=True)
class Activity:
    """What one token makes the chip do.

    ``context_tokens`` it attends to, mean over layers; for how many cycles it keeps units of each
    block busy, summed over the units (``unit_cycles``, by the blocks of
    ``hardwire.models.fabric.units``); what its adapter multiplies, reads, and moves over buses of
    the side paths' own (bits times mm); and whether it is ``sampled``, which takes the LM head.
    Prompt tokens before the last are not.
    """

    context_tokens: Any
    unit_cycles: Mapping[str, Any]
    adapter_macs: Any = 0
    adapter_bytes: Any = 0
    adapter_bit_mm: Any = 0
    sampled: bool = True


@dataclass(frozen=True)
class PowerReport:
    """Power of one chip and its card at a token rate. Watts and joules.

    ``throttle`` is the share of the unconstrained rate that the card's power limit allows.
    ``idle_blocks_w`` is what the chip takes while it waits, ``blocks_j`` dynamic energy per token,
    both by block: ``chip_w`` is the sum of the first and of the second times ``tokens_per_s``, the
    rate that the limit leaves. ``idle_w`` is the card's power at rest, and ``energy_j_per_token``
    the card's while it decodes without a pause.
    """

    idle_blocks_w: dict[str, Any]
    blocks_j: dict[str, Any]
    dynamic_j_per_token: Any
    static_w: Any
    chip_w: Any
    card_w: Any
    idle_w: Any
    energy_j_per_token: Any
    throttle: Any
    tokens_per_s: Any

    def energy_j_at(self, utilization: Any) -> Any:
        """Card energy per token where it decodes for a share of the time and waits for the rest."""
        with np.errstate(divide="ignore"):
            return self.energy_j_per_token + np.divide(
                self.idle_w * (1 / utilization - 1), self.tokens_per_s
            )


def card_power_by_part(chip: Chip, report: PowerReport) -> dict[str, Any]:
    """Power of a card by where it goes, in watts: the sum is ``report.card_w``."""
    moved = {block: joule * report.tokens_per_s for block, joule in report.blocks_j.items()}
    board = chip.power.board_w
    return {
        **report.idle_blocks_w,
        **moved,
        "regulators": report.card_w - board - report.chip_w,
        "board": board,
    }


def pj_per_weight_use(report: PowerReport, model: LanguageModel) -> Any:
    """Energy of the whole chip per weight of a decoded token; see ``PJ_PER_WEIGHT_USE``."""
    return report.chip_w / (report.tokens_per_s * weight_uses(model)) / PICO


def weight_uses(model: LanguageModel, *, sampled: bool = True) -> int:
    """Weights that one token is multiplied by: the linear layers, and where sampled the LM head."""
    body = sum(times * matrix.weights for times, matrix in used_matrices(model))
    return body + head_matrix(model).weights * sampled


def token_energy(chip: Chip, model: LanguageModel, activity: Activity) -> dict[str, Any]:
    """Dynamic energy of one token by block, in joules.

    ROM: every weight and scale is read once, every product selected or formed and added, by
    ``glitch_factor`` more than one change a result; each group's sum is rescaled once. The
    products of an activation with the weight alphabet, or the activation alone where cells do not
    select, run along the matrix on wires of ``area / broadcast_pitch``; inputs and results cross
    the die once. Attention: K and V of every past token read once, one multiply-accumulate per
    query head and element, one exponential per head and token. A latent is read once for keys and
    values. Of experts, only the chosen ones work. Registers: what their clock takes
    in cycles of work above those of waiting, and new data in each. The token's number crosses the
    host link once. Energies grow with the square of the supply voltage, but for the link's.
    """
    process = chip.process
    shares = [(matrix, times) for times, matrix in used_matrices(model)]
    if activity.sampled:
        shares.append((head_matrix(model), 1))

    def total(per_matrix: Any) -> Any:
        return sum(times * per_matrix(matrix) for matrix, times in shares)

    scaling = process.energy_factor(chip.datapath.supply_v)
    pico, femto = scaling * PICO, scaling * FEMTO
    selects = chip.rom.product == "select"
    fmt, lanes = rom_formats(chip), chip.datapath.lanes
    # Behind each output, a tree adds up the lanes and an accumulator the passes.
    sum_bits = total(lambda m: m.weights * fmt(m).sum_bits(m.in_features))
    tree_bits, broadcast, products = 0, 0, 0
    line_mm = line_mm_per_bit(chip)
    for one in {fmt(matrix): None for matrix, _ in shares}:
        used, driven = (
            sum(times * size(m) for m, times in shares if fmt(m) is one)
            for size in (lambda m: m.weights, lambda m: m.in_features * m.weights)
        )
        tree_bits = tree_bits + used * one.tree_bits(lanes)
        lines = one.line_bits if selects else ACTIVATION_BITS
        broadcast = broadcast + driven * (lines * (one.code_bits * line_mm))
        products = products + used * product_fj(chip, one)
    added_bits = (tree_bits + sum_bits) / lanes

    def crossing_bits(matrix: RomMatrix) -> int:
        return matrix.in_features * ACTIVATION_BITS + matrix.out_features * RESULT_BITS

    attended = model.layers * model.heads * activity.context_tokens
    elements = sum(len(kind.layers) * vector_elements(model, kind) for kind in model.layer_kinds)
    elements = elements + 2 * model.hidden * activity.sampled  # the final norm
    if model.scaled_embedding:
        elements = elements + model.hidden
    # A cap is a second function of each score; a sink is a score without a key.
    scores = attended * (1 if model.attention_softcap is None else 2)
    if model.sinks:
        scores = scores + model.layers * model.heads
    row_bits = model.hidden * EMBEDDING_BITS if chip.rom.embedding == "host" else 0
    adder, wire, fp16 = process.adder_fj_per_bit, process.wire_fj_per_bit_mm, process.fp16_op_pj
    held = 1 - chip.power.idle_toggle  # what toggles at all times is charged as waiting
    found = {
        "rom_read": total(lambda m: fmt(m).stored_bits(m))
        / 8
        * (process.rom_read_pj_per_byte * pico),
        "select" if selects else "multiply": products * femto,
        "accumulate": added_bits * (adder * process.glitch_factor * (held * femto)),
        "rescale": total(lambda m: rescales(chip, m)) * 2 * (fp16 * pico),
        "broadcast": broadcast * (wire * femto),
        "die_wires": total(crossing_bits) * np.sqrt(chip.die.area_mm2) * (wire * femto),
        "kv": (
            kv_bytes_on(chip, model)
            * (activity.context_tokens + 1)
            * (process.sram_pj_per_byte * pico)
        ),
        "attention": attended * model.score_products * (kv_multiplier(chip).pj * pico),
        "softmax": scores * OPS_PER_ELEMENT * (fp16 * pico),
        "lora": (
            activity.adapter_macs * process.mac_int8_pj
            + activity.adapter_bytes * process.sram_pj_per_byte
        )
        * pico,
        "lora_bus": activity.adapter_bit_mm * (wire * femto),
        "vector": elements * OPS_PER_ELEMENT * (fp16 * pico),
        "host_link": (TOKEN_BITS + row_bits) * (chip.link.pj_per_bit * PICO),
    }
    compared = routing_bits(model)
    if activity.sampled:
        compared = compared + model.vocab * TOPK_PLACES * LOGIT_BITS
    if activity.sampled or compared:
        found["topk"] = compared * (adder * femto)
    each = registers_per_unit(chip, model)
    clocked = sum(cycles * each[block] for block, cycles in activity.unit_cycles.items())
    working = process.flop_clock_fj * (1 - chip.power.idle_clock_share) + process.flop_data_fj
    return {**found, "working_registers": clocked * (working * femto)}


def vector_elements(model: LanguageModel, kind: LayerKind) -> int:
    """Elements that vector units take per token in a layer of a kind: two passes of each norm,
    RoPE, the gate, and of experts the scores and the sum of what they give."""
    hidden, latent = model.hidden, model.latent
    if latent is None:
        elements = 4 * hidden + (model.heads + model.kv_heads) * model.head_dim
    else:
        elements = 4 * hidden + (model.heads + 1) * latent.rope_dim
        elements += 2 * (latent.kv_rank + (latent.query_rank or 0))
    if model.post_norms:
        elements += 4 * hidden
    elements += model.mlp_width(kind)
    if kind.experts and model.experts is not None:
        elements += model.experts.count + model.summed_experts * hidden
    return elements + (hidden + model.intermediate if model.sub_norm else 0)


def routing_bits(model: LanguageModel) -> int:
    """Bits that are compared to choose a token's experts: each score with a sorted list."""
    if model.experts is None:
        return 0
    layers = model.layers - len(model.dense_layers)
    return layers * model.experts.count * model.experts.active * LOGIT_BITS


def line_mm_per_bit(chip: Chip) -> Any:
    """Length of a broadcast line to a bit of ROM: its mm² over the pitch of the lines."""
    return 1 / (1e6 * chip.rom.density_mbit_per_mm2 * chip.rom.broadcast_pitch_mm)


def product_fj(chip: Chip, fmt: RomFormat) -> Any:
    """Energy of a weight's product, fJ: a selected line to its adder, or a multiplication.

    A ternary product is an activation or its negative: fewer lines where cells select, and where
    they are read, a row of gates as wide as an activation, taken as that of an adder.
    """
    process = chip.process
    if chip.rom.product == "select":
        share = ACTIVATION_BITS / PRODUCT_BITS if fmt.ternary else 1
        return process.select_fj * share
    return ACTIVATION_BITS * process.adder_fj_per_bit if fmt.ternary else process.multiply_4x8_fj


def transfer_energy(chip: Chip, moved_bytes: Any) -> dict[str, Any]:
    """Energy of bytes that move between host memory and SRAM, in joules, by where it goes.

    Each bit crosses the host link, and each byte is written to SRAM, or read from it.
    """
    scaling = chip.process.energy_factor(chip.datapath.supply_v)
    return {
        "host_link": moved_bytes * 8 * (chip.link.pj_per_bit * PICO),
        "sram_transfers": moved_bytes * (chip.process.sram_pj_per_byte * PICO * scaling),
    }


def swap_energy(chip: Chip, image_bytes: Any) -> Any:
    """Card energy of an adapter that is loaded from host memory, in joules."""
    return sum(transfer_energy(chip, image_bytes).values()) / chip.power.regulator_efficiency


def idle_power(
    chip: Chip, model: LanguageModel, blocks: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Power of the chip while it waits, by block, in watts.

    Leakage of logic, SRAM and ROM grows with voltage and by e for each ``leakage_efold_k`` of
    temperature. The clock's spine is never gated; registers get ``power.idle_clock_share`` of their
    clock. In ``power.idle_toggle`` of the matrices all adders work in every cycle, for nothing.

    Parameters
    ----------
    blocks : ``area`` of the same chip and model, where it is at hand.
    """
    process, power = chip.process, chip.power
    blocks = blocks or area(chip, model)
    leaking = process.leakage_factor(chip.datapath.supply_v, power.junction_c)
    hz = chip.datapath.clock_ghz * 1e9
    per_s = process.energy_factor(chip.datapath.supply_v) * hz
    sram_mib = chip.sram.capacity_mib * 8
    rom_mbit = rom_bits(chip, model) / 1e6
    waiting = power.idle_clock_share * process.flop_clock_fj * FEMTO * per_s
    adders = adder_bits(chip, model)
    return {
        "logic_leakage": logic_area(blocks) * (process.logic_leakage_w_per_mm2 * leaking),
        "sram_leakage": sram_mib * (process.sram_leakage_mw_per_mib * 1e-3 * leaking),
        "rom_leakage": rom_mbit * (process.rom_leakage_mw_per_mbit * 1e-3 * leaking),
        "clock_spine": blocks["total"] * (process.clock_spine_pj_per_mm2 * PICO * per_s),
        **{
            f"waiting_{block}": number * waiting for block, number in registers(chip, model).items()
        },
        "toggling_adders": (
            adders
            * (power.idle_toggle * process.adder_fj_per_bit * process.glitch_factor)
            * (FEMTO * per_s)
        ),
    }


def power(
    chip: Chip,
    model: LanguageModel,
    activity: Activity,
    tokens_per_s: Any,
    idle: dict[str, Any] | None = None,
) -> PowerReport:
    """Power at an unconstrained chip rate, after the card's limit has capped it.

    Parameters
    ----------
    tokens_per_s : rate of the chip if power were free.
    idle : ``idle_power`` of the same chip and model, where it is at hand.

    Returns
    -------
    PowerReport
        ``energy_j_per_token`` is card energy: regulator losses and board included.
    """
    blocks = token_energy(chip, model, activity)
    dynamic_j = sum(blocks.values())
    if idle is None:
        idle = idle_power(chip, model)
    static_w = sum(idle.values())
    efficiency = chip.power.regulator_efficiency
    budget_w = (chip.power.limit_w - chip.power.board_w) * efficiency - static_w
    throttle = np.clip(budget_w / (dynamic_j * tokens_per_s), 0.0, 1.0)
    rate = tokens_per_s * throttle
    chip_w = static_w + dynamic_j * rate
    card_w = chip_w / efficiency + chip.power.board_w
    with np.errstate(divide="ignore"):
        per_token = np.where(rate > 0, card_w / np.maximum(rate, 1e-300), np.inf)
    return PowerReport(
        idle_blocks_w=idle,
        blocks_j=blocks,
        dynamic_j_per_token=dynamic_j,
        static_w=static_w,
        chip_w=chip_w,
        card_w=card_w,
        idle_w=static_w / efficiency + chip.power.board_w,
        energy_j_per_token=per_token[()],
        throttle=throttle,
        tokens_per_s=rate,
    )


def static_power(chip: Chip, model: LanguageModel) -> Any:
    """Power of the chip while it waits, in watts: the sum of ``idle_power``."""
    return sum(idle_power(chip, model).values())
