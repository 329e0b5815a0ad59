"""Tables of docs/area-power-cost.md: area by block, and where the watts of a card go.

The text of the page is written by hand, the tables between its markers are not.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hardwire.experiments.shared.marked import with_tables
from hardwire.experiments.shared.style import block_name
from hardwire.models import Chip, LanguageModel
from hardwire.models.breakdown import Breakdown, block_power
from hardwire.models.energy import card_power_by_part
from hardwire.models.fabric import registers
from hardwire.models.peak import peak_power
from hardwire.models.published import published
from hardwire.simulator.belief.draws import draw_breakdown, draw_chips, interval
from hardwire.simulator.closed_form import predict

PAGE = "area-power-cost.md"

LOADS = {"hc1": (1024, 1024), "roma": (1024, 2)}
"""Prompt and output of one user by chip: what rates were published for."""

CONSTANTS = {
    "logic_leakage": "`logic_leakage_w_per_mm2`",
    "sram_leakage": "`sram_leakage_mw_per_mib`",
    "rom_leakage": "`rom_leakage_mw_per_mbit`",
    "clock_spine": "`clock_spine_pj_per_mm2`",
    "waiting_matrix_adders": "`flop_clock_fj`, `idle_clock_share`, `registers_per_output`",
    "waiting_attention": "as above, `mac_int8_registers`",
    "waiting_lora": "as above",
    "waiting_vector_units": "as above, `fp16_registers`",
    "waiting_broadcast": "as above",
    "waiting_sampling": "as above, `compare_registers`",
    "toggling_adders": "`idle_toggle`",
    "working_registers": "`flop_clock_fj`, `flop_data_fj`, duty of the timing model",
    "rom_read": "`rom_read_pj_per_byte`",
    "select": "`select_fj`",
    "multiply": "`multiply_4x8_fj`",
    "accumulate": "`adder_fj_per_bit`, `glitch_factor`",
    "rescale": "`fp16_op_pj`, twice for 32 weights",
    "broadcast": "`wire_fj_per_bit_mm`",
    "die_wires": "as above, over the die",
    "kv": "`sram_pj_per_byte`",
    "attention": "`mac_int8_pj`",
    "softmax": "`fp16_op_pj`",
    "vector": "as above",
    "topk": "`adder_fj_per_bit`",
    "lora": "`mac_int8_pj`, `sram_pj_per_byte`",
    "lora_bus": "`wire_fj_per_bit_mm`",
    "host_link": "`link.pj_per_bit`",
    "regulators": "`regulator_efficiency`",
    "board": "`board_w`",
}
"""What the watts of a part come from, in the order of the table."""


BREAKDOWN_CONSTANTS = {
    "leakage": "`logic_leakage_w_per_mm2`; of the buffer `sram_leakage_mw_per_mib`",
    "clock_spine": "`clock_spine_pj_per_mm2`",
    "registers": "`flop_clock_fj`, `flop_data_fj`; of neurons `registers_per_neuron`",
    "held": "`held_bits`, `held_bytes_per_cycle`, as the buffer",
    "wires": "`net_ff`, `serial_bits`",
    "adders": "`adder_fj_per_bit`, `glitch_factor`, `serial_bits`",
    "products": "`fp16_op_pj`, `multiply_energy`",
    "sums": "`fp16_op_pj`, `sum_bits`",
    "exponentials": "`fp16_op_pj`, four operations each",
    "lanes": "`fp16_op_pj`, `lanes`",
    "reads_and_writes": "`sram_pj_per_byte`, `ports_at_work`",
    "signals": "`pj_per_bit`, `gb_per_s`",
    "buffers": "`sram_pj_per_byte`, `buffer_passes`",
}
"""The same of a chip that is known by its blocks."""


def render(text: str) -> str:
    """The page with its tables written anew.

    Raises
    ------
    KeyError
        If it has a place for a table that there is not.
    """
    return with_tables(text, _WRITERS)


def _power() -> str:
    """Watts by part of both chips, and between which of them nine draws in ten lie."""
    found = {name: _watts(name) for name in LOADS}
    lines = [
        "| Part | Comes from | HC1, W | 90% interval | ROMA, W | 90% interval |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for part in (*CONSTANTS, "card"):
        cells = [found[name].get(part, ("–", "–")) for name in LOADS]
        name, source = part.replace("_", " "), CONSTANTS.get(part, "the sum")
        row = [f"**{name}**" if part == "card" else name, source]
        lines.append("| " + " | ".join([*row, *cells[0], *cells[1]]) + " |")
    return "\n".join(lines) + "\n"


def _watts(name: str) -> dict[str, tuple[str, str]]:
    chip = Chip.open(name)
    model, (prompt, output) = LanguageModel.by_name(chip.model), LOADS[name]
    one, many = (
        _parts(given, predict(given, model, prompt=prompt, output=output).power)
        for given in (chip, draw_chips(chip))
    )
    return {
        part: (_number(float(watts)), " … ".join(map(_number, interval(many[part]))))
        for part, watts in one.items()
    }


def _parts(chip: Chip, report: Any) -> dict[str, Any]:
    return card_power_by_part(chip, report) | {"card": report.card_w}


def _number(watts: float) -> str:
    if watts < 0.005:
        return "0"
    return f"{watts:.2f}" if watts < 1 else f"{watts:.1f}" if watts < 100 else f"{watts:,.0f}"


def _area() -> str:
    """Transistors, registers and mm² of HC1 by block."""
    chip = Chip.open("hc1")
    model = LanguageModel.by_name(chip.model)
    found = predict(chip, model, prompt=1024, output=1024)
    die = float(chip.die.area_mm2)
    lines = [f"| HC1 | Transistors | Area | Of {die:g} mm² |", "|---|---:|---:|---:|"]
    blocks = sorted(found.area_mm2.items(), key=lambda item: -float(item[1]))
    for block, mm2 in [item for item in blocks if item[0] != "total"]:
        count = found.transistors.get(block)
        number = "–" if count is None else f"{float(count) / 1e9:.3g}e9"
        lines.append(
            f"| {block_name(block)} | {number} | {float(mm2):.2f} mm² | {float(mm2) / die:.1%} |"
        )
    total, mm2 = float(found.transistors["total"]), float(found.area_mm2["total"])
    lines.append(
        f"| **total** | **{total / 1e9:.1f}e9** | **{mm2:.1f} mm²** | **{mm2 / die:.1%}** |"
    )
    lines.append(f"| published | {float(chip.die.transistors) / 1e9:g}e9 | {die:g} mm² | |")
    return "\n".join(lines) + "\n"


def _registers() -> str:
    """Registers by block of both chips, in millions."""
    found = {
        name: registers(chip, LanguageModel.by_name(chip.model))
        for name, chip in ((name, Chip.open(name)) for name in LOADS)
    }
    lines = ["| Block | HC1, million bits | ROMA |", "|---|---:|---:|"]
    for block in found["hc1"]:
        cells = [f"{float(np.round(found[name][block] / 1e6, 3)):.3g}" for name in LOADS]
        lines.append("| " + " | ".join([block_name(block), *cells]) + " |")
    cells = [f"**{sum(found[name].values()) / 1e6:.3g}**" for name in LOADS]
    lines.append("| " + " | ".join(["**all**", *cells]) + " |")
    return "\n".join(lines) + "\n"


REGISTERS_PER_OUTPUT = (24, 39, 54, 89, 120)
"""What the page weighs: the accumulator, two ways to cut the tree, the middle, the high end."""


def _register_choice() -> str:
    """HC1 with more registers behind each output: area, the ROM that would fit it, and power."""
    chip = Chip.open("hc1")
    model = LanguageModel.by_name(chip.model)
    rows = []
    for number in REGISTERS_PER_OUTPUT:
        tried = chip.with_values({"rom.registers_per_output": number})
        found = predict(tried, model, prompt=1024, output=1024)
        blocks, plan = found.area_mm2, tried.floorplan
        room = (float(chip.die.area_mm2) - plan.io_mm2) / (1 + plan.overhead_share)
        beside = (blocks["total"] - blocks["io"]) / (1 + plan.overhead_share) - blocks["rom"]
        density = float(tried.rom.density_mbit_per_mm2 * blocks["rom"] / (room - beside))
        rows.append(
            [
                f"{number}",
                f"{float(blocks['total']):.1f} mm²",
                f"{density:.1f} Mb/mm²",
                f"{float(found.power.idle_blocks_w['waiting_matrix_adders']):.0f} W",
                f"{float(found.idle_w):.0f} W",
                f"{float(found.power_w):.0f} W",
            ]
        )
    head = ["Registers of an output", "Blocks", "ROM that fits the die", "Waiting", "Card, idle"]
    lines = ["| " + " | ".join([*head, "Card"]) + " |", "|---:|---:|---:|---:|---:|---:|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _peak() -> str:
    """Watts by part of both chips if every unit worked in every cycle."""
    found = {}
    for name in LOADS:
        chip = Chip.open(name)
        model = LanguageModel.by_name(chip.model)
        one, many = (peak_power(given, model) for given in (chip, draw_chips(chip)))
        one["card"], many["card"] = sum(one.values()), sum(many.values())
        found[name] = {
            part: (_number(float(watts)), " … ".join(map(_number, interval(many[part]))))
            for part, watts in one.items()
        }
    lines = [
        "| Part, all at once | HC1, W | 90% interval | ROMA, W | 90% interval |",
        "|---|---:|---:|---:|---:|",
    ]
    select, *rest = (list(of) for of in found.values())
    for part in (part for of in rest for part in of if part not in select):
        select.insert(select.index("select"), part)  # what another chip does instead
    for part in select:
        cells = [cell for name in LOADS for cell in found[name].get(part, ("–", "–"))]
        name = part.replace("_", " ")
        lines.append("| " + " | ".join([f"**{name}**" if part == "card" else name, *cells]) + " |")
    return "\n".join(lines) + "\n"


def _breakdown() -> str:
    """Watts by block and contributor of HNLPU at full activity, beside what is published."""
    one = Breakdown.open("hnlpu")
    found, drawn = block_power(one), block_power(draw_breakdown(one))
    rows = {
        row.conditions["block"]: row.value
        for row in published("hnlpu")
        if row.metric == "block_power_w"
    }
    lines = [
        "| Block | Part | Comes from | W | 90% interval | Published, W |",
        "|---|---|---|---:|---:|---:|",
    ]
    for block, parts in found.items():
        watts = [("", sum(parts.values()), sum(drawn[block].values()))]
        watts += [(name, watt, drawn[block][name]) for name, watt in parts.items()]
        for name, watt, many in watts:
            number, span = _number(float(watt)), " … ".join(map(_number, interval(many)))
            if name:
                part = name.replace("_", " ")
                cells = ["", part, BREAKDOWN_CONSTANTS[name], number, span, ""]
            else:
                cells = [
                    f"**{block_name(block)}**",
                    "",
                    "the sum",
                    number,
                    span,
                    f"{rows[block]:g}",
                ]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


_WRITERS = {
    "area": _area,
    "registers": _registers,
    "power": _power,
    "register_choice": _register_choice,
    "peak": _peak,
    "breakdown": _breakdown,
}
