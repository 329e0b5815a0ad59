"""The sections of a chip file that describe its ROM and its SRAM."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from hardwire.models.errors import InputError
from hardwire.models.parameters import choice, count, quantity

TERNARY_BITS = 2
"""Bits of a stored ternary code."""


@dataclass(frozen=True)
class Rom:
    """The mask ROM that holds the base model and multiplies by it."""

    bits_per_weight: Any = quantity(
        "bit", 1, 16, "bits of a weight's code, mean over the model, without its share of a scale"
    )
    transistors_per_weight: Any = quantity("", 0.1, 64, "ROM transistors per weight")
    density_mbit_per_mm2: Any = quantity("Mb/mm2", 1, 500, "ROM density, as read by the chip filed")
    product: Any = choice(
        ("select", "multiply"),
        "a cell selects one of the products that are formed once for all, or is multiplied",
    )
    registers_per_output: Any = quantity("", 1, 100000, "registers, in bits, behind an output")
    broadcast_pitch_mm: Any = quantity("mm", 0.01, 10, "spacing of product lines in a matrix")
    scale_group: Any = count(
        "",
        1,
        65536,
        "inputs of an output that share a scale; 65,536 is more than a row has: one scale per row",
        default=65536,
    )
    scale_bits: Any = count(
        "bit", 0, 64, "bits of a scale, with its zero point where there is one", default=16
    )
    macro_rows: Any = count(
        "",
        1,
        1 << 24,
        "rows of the ROM macros that have the density, where all layers share an array",
        default=8192,
    )
    alphabet: Any = choice(
        ("binary", "ternary"),
        "what a code of the layers stands for: one of 2^bits_per_weight integers, or -1, 0 or 1",
        default="binary",
    )
    head_bits: Any = quantity(
        "bit",
        1,
        16,
        "bits of a code of LM head and embedding; if not given, as of the layers",
        default=math.nan,
    )
    sums: Any = choice(
        ("beside", "within"),
        "adders, accumulators and rescaling take area beside the ROM, or its density has them in "
        "it; beside if not given",
        default="beside",
    )
    embedding: Any = choice(
        ("rom", "host"),
        "embedding in ROM, or in the host, which sends a token's row over the link",
        default="rom",
    )

    def check(self) -> None:
        """Refuse a ternary alphabet in fewer bits than it takes, or for the LM head.

        Raises
        ------
        InputError
            With the field.
        """
        if self.alphabet != "ternary":
            return
        if np.any(np.less(self.bits_per_weight, TERNARY_BITS)):
            raise InputError(
                f"rom.bits_per_weight: must be {TERNARY_BITS} or more where rom.alphabet "
                f"is ternary, not {np.min(self.bits_per_weight):g}"
            )
        if np.any(np.isnan(self.head_bits)):
            raise InputError(
                "rom.head_bits: is missing: rom.alphabet ternary is of the layers, and no "
                "LM head is ternary"
            )


@dataclass(frozen=True)
class Sram:
    """SRAM for KV cache and adapters."""

    capacity_mib: Any = quantity("MiB", 1, 1 << 20, "SRAM for KV cache and adapters")
    density_mbit_per_mm2: Any = quantity(
        "Mb/mm2", 1, 200, "density of SRAM macros of 64-bit words, as deep as stated beside it"
    )
    write_bytes_per_cycle: Any = count("B/cycle", 1, 1 << 20, "write port of a layer's SRAM")
    macro_rows: Any = count(
        "", 16, 1 << 20, "words of the deepest macro, which has the density", default=8192
    )
    macro_bits: Any = count("bit", 8, 4096, "width of a macro's words", default=64)
    ports: Any = choice(
        ("shared", "separate"),
        "KV cache and side paths read through the same port, or each through one of its own",
        default="shared",
    )
