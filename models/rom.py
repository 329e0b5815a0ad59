"""The ROM matrices of a model: what is cast in silicon, grouped as the datapath visits it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hardwire.models.language_model import EXPERT, FUSED, HEAD, SHARED, LanguageModel, LayerKind
from hardwire.models.whole import ceil_div

if TYPE_CHECKING:
    from hardwire.models.chip import Chip

ACTIVATION_BITS = 8
"""Bits of an activation, with its sign: on a bus, and in the ROM kernels."""

SCALE_BITS = 16
"""Bits of a weight scale in the ROM kernels: a float16."""

PRODUCT_BITS = 12
"""Width of the lines of a product of an activation and a weight of up to 4 bits."""

EMBEDDING_BITS = 16
"""Of an element of an embedding that the host holds: a float16, as the decoder's."""

ARRAY, ROUTED_ARRAY = "array", "routed array"
"""Names of the array that all layers share; the latter has routers in it, too."""

ROUTER_BITS = 6
"""Bits of a router's weight, the widest of the ROM kernels: an error of it sends a token to other
experts, and a router has a ten-thousandth of a layer's weights. At fewer than 6, by so many bits as
the layers have, KL divergence from float32 is up to a fifth larger (docs/arithmetic.md)."""

ROUTER = "router"
"""Name of the matrix whose outputs choose experts."""

LATENT_KEYS, LATENT_VALUES = "latent_keys", "latent_values"
"""Names of the heads' matrices of latent attention: queries to the latent, the latent to values."""


@dataclass(frozen=True)
class RomMatrix:
    """Matrices that share one broadcast of their input.

    Attributes
    ----------
    targets : PEFT names of the linear layers inside, in the order of their outputs.
    copies : arrays of this shape in a layer, each with weights of its own: experts, or heads.
    uses : how many of them a token is multiplied by.
    side_paths : places beside them for low-rank products; one beside each chosen expert.
    """

    name: str
    in_features: int
    out_features: int
    targets: tuple[str, ...]
    copies: int = 1
    uses: int = 1
    side_paths: int = 1

    @property
    def weights(self) -> int:
        """Weights of one array."""
        return self.in_features * self.out_features


@dataclass(frozen=True, eq=False)
class RomFormat:
    """How weights lie in ROM and how their products are summed.

    Kernels, area and energy take their widths from here. Fields may be arrays over designs.

    Attributes
    ----------
    code_bits : of a weight's code, mean over the weights.
    group : inputs of an output that share a scale. From the length of a row on, the row has one.
    scale_bits : of a scale, with its zero point where there is one.
    ternary : codes stand for -1, 0 and 1. They are stored in 2 bits: five of them fit a byte, but
        the weights of a hardwired matrix are all read at once, where they lie, and a decoder for
        each five costs more than the 2 bits that they would save. An activation is then passed,
        negated or held back, and never multiplied.
    """

    code_bits: Any
    group: Any
    scale_bits: Any = SCALE_BITS
    ternary: bool = False

    @classmethod
    def of(cls, chip: Chip, matrix: RomMatrix) -> RomFormat:
        """The format of a matrix on a chip."""
        return rom_formats(chip)(matrix)

    def groups(self, in_features: int) -> Any:
        """Scales of one output."""
        return ceil_div(in_features, self.group)

    def bits_of_scales(self, matrix: RomMatrix) -> Any:
        """Bits of all scales of a matrix."""
        return matrix.out_features * self.groups(matrix.in_features) * self.scale_bits

    def stored_bits(self, matrix: RomMatrix) -> Any:
        """Bits of all codes and scales of a matrix."""
        return matrix.weights * self.code_bits + self.bits_of_scales(matrix)

    @property
    def product_bits(self) -> Any:
        """Of a code times an activation, both signed: 127 · 2^(b - 1) at most; ternary, 127."""
        return ACTIVATION_BITS if self.ternary else self.code_bits + (ACTIVATION_BITS - 1)

    @property
    def line_bits(self) -> Any:
        """Lines of all products of an activation that a cell may select (US 2025/0123802): with
        each of ``2^b`` weights; ternary, the activation and its negative, for 0 has no line."""
        if self.ternary:
            return 2 * ACTIVATION_BITS
        return np.exp2(self.code_bits) * np.maximum(PRODUCT_BITS, self.product_bits)

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


def rom_formats(chip: Chip) -> Callable[[RomMatrix], RomFormat]:
    """The format of each matrix of a chip: one object for all that have the same.

    An array that all layers share has cells for the widest of its codes.
    """
    rom = chip.rom
    ternary = bool(rom.alphabet == "ternary")
    layers = RomFormat(rom.bits_per_weight, rom.scale_group, rom.scale_bits, ternary)
    own = np.maximum(rom.bits_per_weight, ROUTER_BITS)[()]
    router = RomFormat(own, rom.scale_group, rom.scale_bits)
    others = {ROUTER: router, ROUTED_ARRAY: router}
    given = ~np.isnan(rom.head_bits)
    if np.any(given):
        bits = np.where(given, rom.head_bits, rom.bits_per_weight)[()]
        others[HEAD] = RomFormat(bits, rom.scale_group, rom.scale_bits)
        for array, least in ((ARRAY, rom.bits_per_weight), (ROUTED_ARRAY, own)):
            others[array] = RomFormat(np.maximum(bits, least), rom.scale_group, rom.scale_bits)
    return lambda matrix: others.get(matrix.name, layers)


def layer_matrices(model: LanguageModel, kind: LayerKind | None = None) -> tuple[RomMatrix, ...]:
    """The matrix groups of one decoder layer of a kind, in order of execution.

    Parameters
    ----------
    kind : one of ``model.layer_kinds``; by default the first, the only one of most dense models.
    """
    kind = kind or model.layer_kinds[0]
    return (*_attention_matrices(model), *_mlp_matrices(model, kind))


def _attention_matrices(model: LanguageModel) -> tuple[RomMatrix, ...]:
    """Grouped-query attention, or latent attention in its absorbed form.

    There, a head's matrix from the latent to keys is multiplied into its query and that to values
    behind its weighted sum, so that heads attend to the latent itself (DeepSeek-V2, arXiv
    2405.04434, section 2.1.2). Each is an array per head, of ``kv_b_proj``'s weights.
    """
    latent, hidden = model.latent, model.hidden
    if latent is None:
        q_width = model.heads * model.head_dim
        kv_width = model.kv_heads * model.head_dim
        qkv = RomMatrix("qkv", hidden, q_width + 2 * kv_width, ("q_proj", "k_proj", "v_proj"))
        return qkv, RomMatrix("o", q_width, hidden, ("o_proj",))
    heads = {"copies": model.heads, "uses": model.heads}
    first = model.query_width if latent.query_rank is None else latent.query_rank
    of_latents = ("kv_a_proj_with_mqa",)
    queries: tuple[RomMatrix, ...]
    if latent.query_rank is None:
        queries = (RomMatrix("qkv_a", hidden, first + model.kv_width, ("q_proj", *of_latents)),)
    else:
        queries = (
            RomMatrix("qkv_a", hidden, first + model.kv_width, ("q_a_proj", *of_latents)),
            RomMatrix("q_b", latent.query_rank, model.query_width, ("q_b_proj",)),
        )
    return (
        *queries,
        RomMatrix(LATENT_KEYS, latent.nope_dim, latent.kv_rank, ("kv_b_proj",), **heads),
        RomMatrix(LATENT_VALUES, latent.kv_rank, latent.value_dim, ("kv_b_proj",), **heads),
        RomMatrix("o", model.attended_width, hidden, ("o_proj",)),
    )


def _mlp_matrices(model: LanguageModel, kind: LayerKind) -> tuple[RomMatrix, ...]:
    """A dense MLP, or router and experts, with the MLP beside them that every token meets."""
    if not kind.experts:
        return _gated(model, "", model.intermediate)
    experts = model.experts
    assert experts is not None
    router = RomMatrix(ROUTER, model.hidden, experts.count, (), side_paths=0)
    shared = _gated(model, SHARED, experts.shared_intermediate) if experts.shared else ()
    return (router, *_gated(model, EXPERT, experts.intermediate), *shared)


def _gated(model: LanguageModel, prefix: str, width: int) -> tuple[RomMatrix, ...]:
    """Gate and up, which share their input, and down, of one MLP or of each expert."""
    name = {SHARED: "shared_"}.get(prefix, "")
    many = {}
    if prefix == EXPERT:
        assert model.experts is not None
        active = model.experts.active
        many = {"copies": model.experts.count, "uses": active, "side_paths": active}
    first: tuple[str, ...] = (f"{prefix}gate_proj", f"{prefix}up_proj")
    if prefix == EXPERT:
        first = (*first, FUSED)
    last = (f"{prefix}down_proj",)
    return (
        RomMatrix(f"{name}gate_up", model.hidden, 2 * width, first, **many),
        RomMatrix(f"{name}down", width, model.hidden, last, **many),
    )


def head_matrix(model: LanguageModel) -> RomMatrix:
    """The LM head."""
    return RomMatrix(HEAD, model.hidden, model.vocab, (HEAD,))


def used_matrices(model: LanguageModel) -> tuple[tuple[int, RomMatrix], ...]:
    """The matrices of all decoder layers, and how many of each a token is multiplied by."""
    return tuple(
        (len(kind.layers) * matrix.uses, matrix)
        for kind in model.layer_kinds
        for matrix in layer_matrices(model, kind)
    )


def rom_matrices(model: LanguageModel) -> tuple[tuple[int, RomMatrix], ...]:
    """All matrices, LM head included, and how many arrays there are of each."""
    layers = (
        (len(kind.layers) * matrix.copies, matrix)
        for kind in model.layer_kinds
        for matrix in layer_matrices(model, kind)
    )
    return (*layers, (1, head_matrix(model)))


def rom_weights(chip: Chip, model: LanguageModel) -> int:
    """Weights in ROM: the linear layers, the LM head and, where it is another matrix and not in the
    host, the embedding. Norm gains and biases are a few hundred kB and left out."""
    return sum(count * matrix.weights for count, matrix in _stored(chip, model))


def rom_bits(chip: Chip, model: LanguageModel) -> Any:
    """Bits of these weights and of their scales."""
    fmt = rom_formats(chip)
    return sum(count * fmt(matrix).stored_bits(matrix) for count, matrix in _stored(chip, model))


def rom_transistors(chip: Chip, model: LanguageModel) -> Any:
    """Transistors of the ROM: those of its weights, and one for each bit of a scale."""
    fmt, stored = rom_formats(chip), _stored(chip, model)
    scales = sum(count * fmt(matrix).bits_of_scales(matrix) for count, matrix in stored)
    return rom_weights(chip, model) * chip.rom.transistors_per_weight + scales


def _stored(chip: Chip, model: LanguageModel) -> tuple[tuple[int, RomMatrix], ...]:
    alone = not model.tied_embeddings and chip.rom.embedding == "rom"
    embedding = ((1, head_matrix(model)),) if alone else ()
    return (*rom_matrices(model), *embedding)


def adder_bits(chip: Chip, model: LanguageModel) -> Any:
    """Full-adder bits behind the ROM: a tree and an accumulator as wide as the group's sum, for
    each output that accumulates in parallel."""
    fmt, limit = rom_formats(chip), chip.datapath.outputs_per_pass
    bits: Any = 0
    widths: dict[RomFormat, Any] = {}  # outputs that share a width of their trees
    for count, matrix in arrays(chip, model):
        outputs = count * np.minimum(limit, matrix.out_features)
        bits = bits + outputs * fmt(matrix).sum_bits(matrix.in_features)
        widths[fmt(matrix)] = widths.get(fmt(matrix), 0) + outputs
    return bits + sum(n * f.tree_bits(chip.datapath.lanes) for f, n in widths.items())


def rescale_units(chip: Chip, model: LanguageModel) -> Any:
    """Multipliers and adders that bring the sums of groups to the scale of their output.

    A group is complete after ``group / lanes`` cycles, so many outputs take turns at one unit.
    Where a row has one scale, its sum waits to be read out: as wide as vector units read, and at
    the LM head as wide as top-k scans.
    """
    path, group = chip.datapath, chip.rom.scale_group
    units: Any = 0
    for count, matrix in arrays(chip, model):
        outputs = np.minimum(path.outputs_per_pass, matrix.out_features)
        head = matrix.name == HEAD and path.layers == "distinct"
        read = chip.sampling.topk_logits_per_cycle if head else path.vector_lanes
        needed = np.minimum(read, outputs)
        several = group < matrix.in_features
        if np.any(several):
            paced = np.maximum(needed, outputs * path.lanes / group)
            needed = np.where(several, paced, needed)[()]
        units = units + count * needed
    return units


def rescales(chip: Chip, matrix: RomMatrix) -> Any:
    """Sums of a matrix that one token brings to the scale of their output."""
    return matrix.out_features * RomFormat.of(chip, matrix).groups(matrix.in_features)


def arrays(chip: Chip, model: LanguageModel) -> tuple[tuple[int, RomMatrix], ...]:
    """The arrays with outputs of their own, and how many there are of each: the matrices, or one
    that is as wide and as long as the widest and the longest of them."""
    matrices = rom_matrices(model)
    if chip.datapath.layers == "distinct":
        return matrices
    longest = max(matrix.in_features for _, matrix in matrices)
    widest = max(matrix.out_features for _, matrix in matrices)
    name = ARRAY if model.experts is None else ROUTED_ARRAY
    return ((1, RomMatrix(name, longest, widest, ())),)
