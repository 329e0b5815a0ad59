"""A chip known by its blocks alone: areas and powers at full activity, by what they consist of.

Not every published chip can be timed here. Where a publication counts the units of its blocks, they
are priced by the constants of a process: what leaks, what the clock drives, what a use takes, as
``hardwire.models.energy`` does it for a chip that is timed. Everything takes numbers or arrays.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from hardwire.models import catalogue
from hardwire.models.chip import process_of
from hardwire.models.description import FileKind, read_description
from hardwire.models.energy import FEMTO, OPS_PER_ELEMENT, PICO
from hardwire.models.parameters import Parameter, count, declared, quantity
from hardwire.models.process import Process

BITS_PER_MIBIT = 1 << 20
WIDE, NARROW = 32, 16
"""Widths, in bits, between which the sums of floating-point adders are priced."""


@dataclass(frozen=True)
class Operation:
    """How the chip is run."""

    clock_ghz: Any = quantity("GHz", 0.001, 20, "clock")
    supply_v: Any = quantity("V", 0.3, 1.5, "supply voltage")
    junction_c: Any = quantity("C", -40, 150, "junction temperature")
    idle_clock_share: Any = quantity("", 0, 1, "share of its clock that a waiting register gets")


@dataclass(frozen=True)
class Neurons:
    """Weights as wires to counters of one-bit adders, which get an input bit by bit."""

    area_mm2: Any = quantity("mm2", 0, 1e6, "area of the block")
    weights: Any = quantity("", 1, 1e13, "weights on the chip")
    uses_per_s: Any = quantity("/s", 0, 1e18, "weights multiplied into tokens per second")
    inputs: Any = count("", 1, 1 << 20, "inputs of a neuron")
    serial_bits: Any = count("bit", 1, 64, "bits of an input, one in a cycle")
    transistors_per_weight: Any = quantity("", 0.1, 1000, "transistors of the block per weight")
    net_ff: Any = quantity("fF", 0.01, 1000, "capacitance of the wire of a weight")
    registers_per_neuron: Any = quantity("", 1, 100000, "registers, in bits, of a neuron")


@dataclass(frozen=True)
class VectorUnit:
    """Attention and all that is not a product with weights, in floating point.

    Energies are multiples of a 16-bit operation of the process, transistors of its 16-bit unit.
    """

    area_mm2: Any = quantity("mm2", 0, 1e6, "area of the block")
    kv_heads_per_cycle: Any = quantity(
        "", 1, 1e6, "heads of K and V that are attended to in a cycle"
    )
    head_dim: Any = count("", 1, 4096, "elements of a head")
    queries_per_kv_head: Any = count("", 1, 4096, "query heads to a head of K and V")
    sum_bits: Any = quantity("bit", NARROW, WIDE, "width of sums")
    multiply_energy: Any = quantity("", 0.01, 100, "energy of a 16-bit product")
    add16_energy: Any = quantity("", 0.01, 100, "energy of a 16-bit addition")
    add32_energy: Any = quantity("", 0.01, 100, "energy of a 32-bit addition")
    multiply_transistors: Any = quantity("", 0.01, 100, "transistors of a 16-bit multiplier")
    add16_transistors: Any = quantity("", 0.01, 100, "transistors of a 16-bit adder")
    add32_transistors: Any = quantity("", 0.01, 100, "transistors of a 32-bit adder")
    held_bits: Any = quantity("bit", 0, 1e12, "SRAM for scores, queries and residuals")
    held_bytes_per_cycle: Any = quantity("B", 0, 1e9, "bytes of it written and read in a cycle")
    lanes: Any = quantity("", 0, 1e6, "lanes for norms and activations")


@dataclass(frozen=True)
class Buffer:
    """SRAM in banks that work at the same time."""

    area_mm2: Any = quantity("mm2", 0, 1e6, "area of the block")
    banks: Any = count("", 1, 1 << 30, "banks")
    bank_bytes: Any = count("B", 1, 1 << 30, "bytes of a bank")
    port_bits: Any = count("bit", 1, 1 << 16, "width of a port")
    ports_at_work: Any = quantity("", 0, 8, "ports of a bank that work in each cycle")


@dataclass(frozen=True)
class Links:
    """Links to other chips, busy each way."""

    area_mm2: Any = quantity("mm2", 0, 1e6, "area of the block")
    links: Any = count("", 0, 1024, "links")
    gb_per_s: Any = quantity("GB/s", 0.001, 10000, "rate of a link, each way")
    pj_per_bit: Any = quantity("pJ", 0.01, 1000, "energy of a bit, sender and receiver")
    buffer_passes: Any = quantity("", 0, 100, "times that a byte is written to or read from SRAM")


@dataclass(frozen=True)
class MemoryInterface:
    """The chip's end of stacked memory, at its full rate."""

    area_mm2: Any = quantity("mm2", 0, 1e6, "area of the block")
    stacks: Any = count("", 0, 1024, "stacks")
    gb_per_s: Any = quantity("GB/s", 0.001, 100000, "rate of a stack")
    pj_per_bit: Any = quantity("pJ", 0.01, 1000, "energy of a bit, the chip's end")


SECTIONS: dict[str, type] = {
    "operation": Operation,
    "neurons": Neurons,
    "vector_unit": VectorUnit,
    "buffer": Buffer,
    "links": Links,
    "memory_interface": MemoryInterface,
}

BREAKDOWN = FileKind("breakdown", SECTIONS, references={"process": "process"})
"""What may stand in a breakdown file."""

DECLARED = declared(SECTIONS)
"""Unit, bounds and meaning of each parameter of a breakdown, by ``section.name``."""


@dataclass(frozen=True)
class Breakdown:
    """A breakdown file, resolved. Fields of its sections may hold arrays.

    Attributes
    ----------
    parameters : of the file and of its process, the latter as ``process.NAME``.
    """

    name: str
    title: str
    process_name: str
    process: Process
    operation: Operation
    neurons: Neurons
    vector_unit: VectorUnit
    buffer: Buffer
    links: Links
    memory_interface: MemoryInterface
    parameters: dict[str, Parameter]

    @classmethod
    def open(cls, name: str | os.PathLike[str]) -> Breakdown:
        """Read a breakdown file: of the catalogue, or a path.

        Raises
        ------
        InputError
            As ``read_description``.
        """
        found = read_description(catalogue.locate("breakdown", name), BREAKDOWN)
        process, of_process = process_of(found.references["process"])
        return cls(
            name=found.name,
            title=found.title,
            process_name=found.references["process"],
            process=process,
            parameters={**found.parameters, **of_process},
            **found.sections,
        )


def block_power(chip: Breakdown) -> dict[str, dict[str, Any]]:
    """Watts by block and contributor, every unit at work as its section says.

    Leakage and the clock's spine go by the area of a block as stated; registers that wait get
    ``operation.idle_clock_share`` of their clock. No wire between two blocks is in either.
    """
    return {
        "neurons": _neurons(chip),
        "vector_unit": _vector_unit(chip),
        "buffer": _buffer(chip),
        "links": _links(chip),
        "memory_interface": _memory_interface(chip),
    }


def neurons_mm2(chip: Breakdown) -> Any:
    """Area of the neurons from their transistors, in mm²."""
    neurons = chip.neurons
    return neurons.weights * neurons.transistors_per_weight / _per_mm2(chip)


def vector_unit_mm2(chip: Breakdown) -> Any:
    """Area of the vector unit from its arithmetic, registers and SRAM, in mm².

    Its SRAM is as dense as the banks of the buffer.
    """
    unit, process = chip.vector_unit, chip.process
    sums = _between(unit.sum_bits, unit.add16_transistors, unit.add32_transistors)
    fp16 = process.fp16_transistors
    counted = (
        _macs(unit) * (unit.multiply_transistors + sums) * fp16
        + (unit.lanes + _exponentials(unit) * OPS_PER_ELEMENT) * fp16
        + _registers(chip) * process.flop_transistors
    )
    banks = chip.buffer
    per_bit = banks.area_mm2 / (banks.banks * banks.bank_bytes * 8)
    return counted / _per_mm2(chip) + unit.held_bits * per_bit


def _neurons(chip: Breakdown) -> dict[str, Any]:
    """Each bit of a use passes one wire and one one-bit adder; wires change every other time."""
    block, process, square = chip.neurons, chip.process, _square(chip)
    bits_per_s = block.uses_per_s * block.serial_bits
    wire_j = block.net_ff * FEMTO * chip.operation.supply_v**2 / 4
    adder_j = process.adder_fj_per_bit * process.glitch_factor * FEMTO * square
    registers = block.weights / block.inputs * block.registers_per_neuron
    duty = bits_per_s / block.weights / _hz(chip)
    share = chip.operation.idle_clock_share
    clocked = process.flop_clock_fj * (duty + (1 - duty) * share) + process.flop_data_fj * duty
    return {
        **_standing(chip, block.area_mm2),
        "registers": registers * clocked * FEMTO * square * _hz(chip),
        "wires": bits_per_s * wire_j,
        "adders": bits_per_s * adder_j,
    }


def _vector_unit(chip: Breakdown) -> dict[str, Any]:
    unit, process = chip.vector_unit, chip.process
    per_s = _square(chip) * _hz(chip)
    sums = _between(unit.sum_bits, unit.add16_energy, unit.add32_energy)
    fp16 = process.fp16_op_pj * PICO * per_s
    register_fj = process.flop_clock_fj + process.flop_data_fj
    return {
        **_standing(chip, unit.area_mm2),
        "held": (
            _sram_leakage(chip, unit.held_bits)
            + unit.held_bytes_per_cycle * _hz(chip) * _sram_j(chip)
        ),
        "registers": _registers(chip) * register_fj * FEMTO * per_s,
        "products": _macs(unit) * unit.multiply_energy * fp16,
        "sums": _macs(unit) * sums * fp16,
        "exponentials": _exponentials(unit) * OPS_PER_ELEMENT * fp16,
        "lanes": unit.lanes * fp16,
    }


def _buffer(chip: Breakdown) -> dict[str, Any]:
    block = chip.buffer
    bytes_per_cycle = block.banks * block.port_bits / 8 * block.ports_at_work
    return {
        "leakage": _sram_leakage(chip, block.banks * block.bank_bytes * 8),
        "clock_spine": _spine(chip, block.area_mm2),
        "reads_and_writes": bytes_per_cycle * _hz(chip) * _sram_j(chip),
    }


def _links(chip: Breakdown) -> dict[str, Any]:
    block = chip.links
    bytes_per_s = block.links * block.gb_per_s * 1e9
    return {
        **_standing(chip, block.area_mm2),
        "signals": bytes_per_s * 8 * block.pj_per_bit * PICO,
        "buffers": bytes_per_s * block.buffer_passes * _sram_j(chip),
    }


def _memory_interface(chip: Breakdown) -> dict[str, Any]:
    block = chip.memory_interface
    bits_per_s = block.stacks * block.gb_per_s * 8e9
    return {**_standing(chip, block.area_mm2), "signals": bits_per_s * block.pj_per_bit * PICO}


def _standing(chip: Breakdown, mm2: Any) -> dict[str, Any]:
    """Leakage and clock spine of logic."""
    leaking = chip.process.logic_leakage_w_per_mm2 * _leaking(chip)
    return {"leakage": mm2 * leaking, "clock_spine": _spine(chip, mm2)}


def _spine(chip: Breakdown, mm2: Any) -> Any:
    return mm2 * chip.process.clock_spine_pj_per_mm2 * PICO * _square(chip) * _hz(chip)


def _sram_j(chip: Breakdown) -> Any:
    return chip.process.sram_pj_per_byte * PICO * _square(chip)


def _square(chip: Breakdown) -> Any:
    return chip.process.energy_factor(chip.operation.supply_v)


def _leaking(chip: Breakdown) -> Any:
    return chip.process.leakage_factor(chip.operation.supply_v, chip.operation.junction_c)


def _sram_leakage(chip: Breakdown, bits: Any) -> Any:
    return bits / BITS_PER_MIBIT * (chip.process.sram_leakage_mw_per_mib * 1e-3 * _leaking(chip))


def _hz(chip: Breakdown) -> Any:
    return chip.operation.clock_ghz * 1e9


def _per_mm2(chip: Breakdown) -> Any:
    return chip.process.logic_mtransistors_per_mm2 * 1e6


def _exponentials(unit: VectorUnit) -> Any:
    """Of the softmax, in a cycle: one for each query head and head of K."""
    return unit.kv_heads_per_cycle * unit.queries_per_kv_head


def _macs(unit: VectorUnit) -> Any:
    """Products in a cycle: of queries with K, and of what the softmax makes of them with V."""
    return 2 * _exponentials(unit) * unit.head_dim


def _registers(chip: Breakdown) -> Any:
    """Registers of the vector unit: of each product and lane, and what sums are wider."""
    unit, each = chip.vector_unit, chip.process.fp16_registers
    return (_macs(unit) + unit.lanes) * each + _macs(unit) * (unit.sum_bits - NARROW)


def _between(bits: Any, narrow: Any, wide: Any) -> Any:
    """What an addition takes at a width between those that are published."""
    return narrow + (wide - narrow) * (bits - NARROW) / (WIDE - NARROW)
