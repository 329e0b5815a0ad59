"""The base model's weights as a decoder holds them: matrices packed in one of several formats."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hardwire.kernels.decoder.checkpoint import Weights
from hardwire.kernels.decoder.dense import DenseMatrix
from hardwire.kernels.decoder.layer_weights import LayerPacker, LayerWeights, Matrix
from hardwire.kernels.decoder.layouts import own_tensors
from hardwire.kernels.rom.rom import Mix, RomMatrix
from hardwire.kernels.rom.ternary import Ternary
from hardwire.models.language_model import LanguageModel
from hardwire.models.rom import ROUTER_BITS

ROM_BITS: dict[str, int | Mix] = {"rom3": 3, "rom3+6": Mix(3, 6), "rom4": 4, "rom6": 6}
"""Cell bits in the formats of the hardwired product (`hardwire.kernels.rom.rom`), fewest first.

In "rom3+6" each matrix has a sixth of its rows at 6 bits: 3.5 bits per cell. The rows are chosen
within each block that a source yields (`hardwire.kernels.decoder.checkpoint.BLOCK_BYTES`), as no
more of a matrix is ever in float32: every block has its sixth, not only the matrix as a whole.
"""

TERNARY, TENSOR = "ternary", "tensor"

WEIGHT_FORMATS = ("float32", *ROM_BITS, "rom3+6/row", "rom4/128", f"{TERNARY}/{TENSOR}")
"""Formats of the base's matrices that are compared; the last three are those of HC1, of ROMA, and
of BitNet b1.58.

Behind a stroke stands the number of inputs that share a scale, a multiple of 32, or "row" for one
scale per output; without it they are 32. Ternary weights may have one scale for a "tensor", which
the ROM then holds for each of its outputs. Behind a colon stands the format of the LM head, where
it is another: that of a ternary model, which is none itself, is "rom6/row" if nothing is said.
"""

TERNARY_HEAD = "rom6/row"

ROW = 65536
"""Inputs of a group that no row exceeds."""


def rom_cells(fmt: str) -> tuple[int | Mix | Ternary, int]:
    """Cells and inputs that share a scale, of a format such as "rom4", "rom3+6/row" or "ternary".

    Raises
    ------
    ValueError
        If there is no such format.
    """
    name, stroke, group = fmt.partition("/")
    words = ("row", TENSOR) if name == TERNARY else ("row",)
    inputs = 32 if not stroke else ROW if group in words else int(group) if group.isdigit() else 0
    cells = {**ROM_BITS, TERNARY: Ternary()}
    if name not in cells or inputs % 32 or not 32 <= inputs <= ROW:
        raise ValueError(
            f"weights must be one of {', '.join(WEIGHT_FORMATS)}, or /N for scales of N inputs, a "
            f"multiple of 32, not {fmt!r}"
        )
    return cells[name], inputs


def formats_of_parts(fmt: str) -> tuple[str, str]:
    """Format of the matrices of layers, and of the LM head; see `WEIGHT_FORMATS`."""
    layers, colon, head = fmt.partition(":")
    if not colon:
        head = TERNARY_HEAD if layers.partition("/")[0] == TERNARY else layers
    return layers, head


def router_format(fmt: str) -> str:
    """Format of the routers of experts beside matrices of a format, as `ROUTER_BITS` says."""
    if fmt == "float32":
        return fmt
    stroke, inputs = fmt.partition("/")[1:]
    return f"rom{ROUTER_BITS}{stroke}{'row' if inputs == TENSOR else inputs}"


@dataclass(frozen=True, eq=False)
class BaseWeights:
    """A whole base model, packed.

    Attributes
    ----------
    embedding
        (vocab, hidden): a table that is looked up, not multiplied. float32 with float32 matrices,
        float16 with packed ones.
    layers
    norm
        Gain of the last norm, (hidden,).
    head
        LM head; with tied embeddings, the embedding packed as a matrix.
    """

    embedding: NDArray[np.float32] | NDArray[np.float16]
    layers: tuple[LayerWeights, ...]
    norm: NDArray[np.float32]
    head: Matrix

    @classmethod
    def pack(cls, model: LanguageModel, source: Weights, fmt: str) -> BaseWeights:
        """Read a model tensor by tensor and pack each, a block of rows at a time.

        Parameters
        ----------
        model, source
        fmt
            One of `WEIGHT_FORMATS`, or another of `rom_cells`.

        Raises
        ------
        ValueError
            If the format is unknown.
        InputError
            If a tensor cannot be read.
        """
        layers_fmt, head_fmt = formats_of_parts(fmt)
        for part in {layers_fmt, head_fmt} - {"float32"}:
            rom_cells(part)  # before a matrix is read
        shapes = own_tensors(model)

        def matrix(name: str, fmt: str = layers_fmt) -> Matrix:
            return _packed(lambda: source.blocks(name), shapes[name], fmt)

        packer = LayerPacker(
            model,
            source,
            shapes,
            matrix,
            lambda name: matrix(name, router_format(layers_fmt)),
            lambda whole: _packed(lambda: [whole], whole.shape, layers_fmt),
        )
        embed = "model.embed_tokens.weight"
        exact = fmt == "float32"
        embedding = np.empty(shapes[embed], np.float32 if exact else np.float16)
        begin = 0
        for block in source.blocks(embed):
            embedding[begin : begin + len(block)] = block
            begin += len(block)
        head = matrix(embed if model.tied_embeddings else "lm_head.weight", head_fmt)
        layers = tuple(packer.layer(index) for index in range(model.layers))
        return cls(embedding, layers, packer.needed_norm("model.norm.weight"), head)

    @property
    def nbytes(self) -> int:
        """Bytes of the matrices and of the embedding table, as stored."""
        matrices = [matrix for layer in self.layers for matrix in layer.products.values()]
        return sum(matrix.nbytes for matrix in (*matrices, self.head)) + self.embedding.nbytes


def _packed(
    blocks: Callable[[], Iterable[NDArray[np.float32]]], shape: tuple[int, ...], fmt: str
) -> Matrix:
    """A matrix of a shape in a format, from blocks of its rows; they may be asked for twice."""
    out_features, in_features = shape
    if fmt == "float32":
        return DenseMatrix.from_blocks((out_features, in_features), blocks())
    cells, group = rom_cells(fmt)
    if fmt == f"{TERNARY}/{TENSOR}":
        total = sum(np.abs(block).sum(dtype=np.float64) for block in blocks())
        cells = Ternary(float(total / (out_features * in_features)))
    inputs = min(group, -(-in_features // 32) * 32)
    return RomMatrix.stack([RomMatrix.pack(block, cells, inputs) for block in blocks()])
