"""The base model's weights as a decoder holds them: matrices packed in one of several formats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hardwire.kernels.decoder.checkpoint import Weights
from hardwire.kernels.decoder.dense import DenseMatrix
from hardwire.kernels.rom.rom import Mix, RomMatrix
from hardwire.kernels.rom.ternary import Ternary
from hardwire.models.language_model import TARGETS, LanguageModel, module_path

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


class Matrix(Protocol):
    """A matrix in any format."""

    @property
    def nbytes(self) -> int:
        """Bytes as stored."""

    def apply(self, x: NDArray[np.float32], threads: int = 1) -> NDArray[np.float32]:
        """(tokens, out_features) from (tokens, in_features)."""


@dataclass(frozen=True, eq=False)
class LayerWeights:
    """One decoder layer: matrices and biases by target, gains of the norms.

    `q_norm` and `k_norm` are None where the model does not norm its heads, `attention_norm` and
    `mlp_norm` where it norms nothing before the o and the down projection.
    """

    matrices: dict[str, Matrix]
    biases: dict[str, NDArray[np.float32]]
    input_norm: NDArray[np.float32]
    post_norm: NDArray[np.float32]
    q_norm: NDArray[np.float32] | None
    k_norm: NDArray[np.float32] | None
    attention_norm: NDArray[np.float32] | None
    mlp_norm: NDArray[np.float32] | None


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
        shapes = model.tensors()

        def matrix(name: str, fmt: str) -> Matrix:
            out_features, in_features = shapes[name]
            if fmt == "float32":
                return DenseMatrix.from_blocks((out_features, in_features), source.blocks(name))
            cells, group = rom_cells(fmt)
            if fmt == f"{TERNARY}/{TENSOR}":
                total = sum(np.abs(b).sum(dtype=np.float64) for b in source.blocks(name))
                cells = Ternary(float(total / (out_features * in_features)))
            inputs = min(group, -(-in_features // 32) * 32)
            return RomMatrix.stack([RomMatrix.pack(b, cells, inputs) for b in source.blocks(name)])

        def vector(name: str) -> NDArray[np.float32] | None:
            return source.read(name) if name in shapes else None

        def layer(index: int) -> LayerWeights:
            paths = {target: module_path(index, target) for target in TARGETS}
            biases = {target: vector(f"{path}.bias") for target, path in paths.items()}
            prefix = f"model.layers.{index}"
            return LayerWeights(
                {target: matrix(f"{path}.weight", layers_fmt) for target, path in paths.items()},
                {target: bias for target, bias in biases.items() if bias is not None},
                source.read(f"{prefix}.input_layernorm.weight"),
                source.read(f"{prefix}.post_attention_layernorm.weight"),
                vector(f"{prefix}.self_attn.q_norm.weight"),
                vector(f"{prefix}.self_attn.k_norm.weight"),
                vector(f"{prefix}.self_attn.attn_sub_norm.weight"),
                vector(f"{prefix}.mlp.ffn_sub_norm.weight"),
            )

        embed = "model.embed_tokens.weight"
        exact = fmt == "float32"
        embedding = np.empty(shapes[embed], np.float32 if exact else np.float16)
        begin = 0
        for block in source.blocks(embed):
            embedding[begin : begin + len(block)] = block
            begin += len(block)
        head = matrix(embed if model.tied_embeddings else "lm_head.weight", head_fmt)
        layers = tuple(layer(index) for index in range(model.layers))
        return cls(embedding, layers, source.read("model.norm.weight"), head)

    @property
    def nbytes(self) -> int:
        """Bytes of the matrices and of the embedding table, as stored."""
        matrices = [matrix for layer in self.layers for matrix in layer.matrices.values()]
        return sum(matrix.nbytes for matrix in (*matrices, self.head)) + self.embedding.nbytes
