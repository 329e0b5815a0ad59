"""The ROM matrices of a model: what is cast in silicon, grouped as the datapath visits it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hardwire.models.language_model import HEAD, LanguageModel

if TYPE_CHECKING:
    from hardwire.models.chip import Chip

ACTIVATION_BITS = 8
"""Bits of an activation, with its sign: on a bus, and in the ROM kernels."""

SCALE_BITS = 16
"""Bits of a weight scale in the ROM kernels: a float16."""


@dataclass(frozen=True)
class RomMatrix:
    """Matrices that share one broadcast of their input.

    ``targets`` are the PEFT names of the linear layers inside, in the order of their outputs.
    """

    name: str
    in_features: int
    out_features: int
    targets: tuple[str, ...]

    @property
    def weights(self) -> int:
        return self.in_features * self.out_features


@dataclass(frozen=True)
class RomFormat:
    """How weights lie in ROM and how their products are summed.

    Kernels, area and energy take their widths from here. Fields may be arrays over designs.

    Attributes
    ----------
    code_bits : of a weight's code, mean over the weights.
    group : inputs of an output that share a scale. From the length of a row on, the row has one.
    scale_bits : of a scale, with its zero point where there is one.
    """

    code_bits: Any
    group: Any
    scale_bits: Any = SCALE_BITS

    @classmethod
    def of(cls, chip: Chip) -> RomFormat:
        """The format of a chip's ROM."""
        return cls(chip.rom.bits_per_weight, chip.rom.scale_group, chip.rom.scale_bits)

    def groups(self, in_features: int) -> Any:
        """Scales of one output."""
        return -(-in_features // self.group)

    def bits_of_scales(self, matrix: RomMatrix) -> Any:
        """Bits of all scales of a matrix."""
        return matrix.out_features * self.groups(matrix.in_features) * self.scale_bits

    def stored_bits(self, matrix: RomMatrix) -> Any:
        """Bits of all codes and scales of a matrix."""
        return matrix.weights * self.code_bits + self.bits_of_scales(matrix)

    @property
    def product_bits(self) -> Any:
        """Of a code times an activation, both signed: 127 · 2^(b - 1) at most."""
        return self.code_bits + (ACTIVATION_BITS - 1)

    def sum_bits(self, in_features: int) -> Any:
        """Of the sum of a group's products: 15 for 32 inputs of 3 bits, 18 for 32 of 6."""
        longest = np.minimum(self.group, in_features)
        return self.product_bits + np.ceil(np.log2(longest))

    def tree_bits(self, lanes: Any) -> Any:
        """Full-adder bits of the tree that adds the products of all lanes for one output.

        Each level is a bit wider than the one before it: with ``L`` lanes and products of ``p``
        bits, ``Σ L / 2^l · (p + l)`` over the levels ``l = 1 … log2 L``.
        """
        return (lanes - 1) * self.product_bits + 2 * lanes - 2 - np.log2(lanes)


def layer_matrices(model: LanguageModel) -> tuple[RomMatrix, ...]:
    """The four matrix groups of one decoder layer, in order of execution."""
    q_width = model.heads * model.head_dim
    kv_width = model.kv_heads * model.head_dim
    return (
        RomMatrix("qkv", model.hidden, q_width + 2 * kv_width, ("q_proj", "k_proj", "v_proj")),
        RomMatrix("o", q_width, model.hidden, ("o_proj",)),
        RomMatrix("gate_up", model.hidden, 2 * model.intermediate, ("gate_proj", "up_proj")),
        RomMatrix("down", model.intermediate, model.hidden, ("down_proj",)),
    )


def head_matrix(model: LanguageModel) -> RomMatrix:
    """The LM head."""
    return RomMatrix(HEAD, model.hidden, model.vocab, (HEAD,))


def rom_matrices(model: LanguageModel) -> tuple[tuple[int, RomMatrix], ...]:
    """All matrices that a token is multiplied by, and how many there are of each."""
    layers = ((model.layers, matrix) for matrix in layer_matrices(model))
    return (*layers, (1, head_matrix(model)))


def rom_weights(model: LanguageModel) -> int:
    """Weights in ROM: the linear layers, the LM head and, where it is another matrix, the
    embedding. Norm gains and biases are a few hundred kB and left out."""
    return sum(count * matrix.weights for count, matrix in _stored(model))


def rom_bits(chip: Chip, model: LanguageModel) -> Any:
    """Bits of these weights and of their scales."""
    fmt = RomFormat.of(chip)
    return sum(count * fmt.stored_bits(matrix) for count, matrix in _stored(model))


def rom_transistors(chip: Chip, model: LanguageModel) -> Any:
    """Transistors of the ROM: those of its weights, and one for each bit of a scale."""
    fmt = RomFormat.of(chip)
    scales = sum(count * fmt.bits_of_scales(matrix) for count, matrix in _stored(model))
    return rom_weights(model) * chip.rom.transistors_per_weight + scales


def _stored(model: LanguageModel) -> tuple[tuple[int, RomMatrix], ...]:
    head = () if model.tied_embeddings else ((1, head_matrix(model)),)
    return (*rom_matrices(model), *head)


def adder_bits(chip: Chip, model: LanguageModel) -> Any:
    """Full-adder bits behind the ROM: a tree and an accumulator as wide as the group's sum, for
    each output that accumulates in parallel."""
    fmt, limit = RomFormat.of(chip), chip.datapath.outputs_per_pass
    made = arrays(chip, model)
    outputs = [count * np.minimum(limit, matrix.out_features) for count, matrix in made]
    sums = sum(
        width * fmt.sum_bits(matrix.in_features)
        for width, (_, matrix) in zip(outputs, made, strict=True)
    )
    return sum(outputs) * fmt.tree_bits(chip.datapath.lanes) + sums


def rescale_units(chip: Chip, model: LanguageModel) -> Any:
    """Multipliers and adders that bring the sums of groups to the scale of their output.

    A group is complete after ``group / lanes`` cycles, so many outputs take turns at one unit.
    Where a row has one scale, its sum waits to be read out: as wide as vector units read, and at
    the LM head as wide as top-k scans.
    """
    fmt, path = RomFormat.of(chip), chip.datapath
    units: Any = 0
    for count, matrix in arrays(chip, model):
        outputs = np.minimum(path.outputs_per_pass, matrix.out_features)
        head = matrix.name == HEAD and path.layers == "distinct"
        read = chip.sampling.topk_logits_per_cycle if head else path.vector_lanes
        needed = np.minimum(read, outputs)
        several = fmt.group < matrix.in_features
        if np.any(several):
            paced = np.maximum(needed, outputs * path.lanes / fmt.group)
            needed = np.where(several, paced, needed)[()]
        units = units + count * needed
    return units


def rescales(chip: Chip, matrix: RomMatrix) -> Any:
    """Sums of a matrix that one token brings to the scale of their output."""
    return matrix.out_features * RomFormat.of(chip).groups(matrix.in_features)


def arrays(chip: Chip, model: LanguageModel) -> tuple[tuple[int, RomMatrix], ...]:
    """The arrays with outputs of their own, and how many there are of each: the matrices, or one
    that is as wide and as long as the widest and the longest of them."""
    matrices = rom_matrices(model)
    if chip.datapath.layers == "distinct":
        return matrices
    longest = max(matrix.in_features for _, matrix in matrices)
    widest = max(matrix.out_features for _, matrix in matrices)
    return ((1, RomMatrix("array", longest, widest, ())),)
