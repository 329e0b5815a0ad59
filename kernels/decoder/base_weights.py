"""The base model's weights as a decoder holds them: matrices packed in one of several formats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hardwire.kernels.decoder.checkpoint import Weights
from hardwire.kernels.decoder.dense import DenseMatrix
from hardwire.kernels.rom.rom import Mix, RomMatrix
from hardwire.models.language_model import TARGETS, LanguageModel, module_path

ROM_BITS: dict[str, int | Mix] = {"rom3": 3, "rom3+6": Mix(3, 6), "rom4": 4, "rom6": 6}
"""Cell bits in the formats of the hardwired product (`hardwire.kernels.rom.rom`), fewest first.

In "rom3+6" each matrix has a sixth of its rows at 6 bits: 3.5 bits per cell. The rows are chosen
within each block that a source yields (`hardwire.kernels.decoder.checkpoint.BLOCK_BYTES`), as no
more of a matrix is ever in float32: every block has its sixth, not only the matrix as a whole.
"""

WEIGHT_FORMATS = ("float32", *ROM_BITS, "rom3+6/row", "rom4/128")
"""Formats of the base's matrices that are compared; the last two are those of HC1 and of ROMA.

Behind a stroke stands the number of inputs that share a scale, a multiple of 32, or "row" for one
scale per output; without it they are 32.
"""

ROW = 65536
"""Inputs of a group that no row exceeds."""


def rom_cells(fmt: str) -> tuple[int | Mix, int]:
    """Cell bits and inputs that share a scale, of a format such as "rom4" or "rom3+6/row".

    Raises
    ------
    ValueError
        If there is no such format.
    """
    name, stroke, group = fmt.partition("/")
    inputs = 32 if not stroke else ROW if group == "row" else int(group) if group.isdigit() else 0
    if name not in ROM_BITS or inputs % 32 or not 32 <= inputs <= ROW:
        raise ValueError(
            f"weights must be one of {', '.join(WEIGHT_FORMATS)}, or /N for scales of N inputs, a "
            f"multiple of 32, not {fmt!r}"
        )
    return ROM_BITS[name], inputs


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
        bits, group = (32, 32) if fmt == "float32" else rom_cells(fmt)
        shapes = model.tensors()

        def matrix(name: str) -> Matrix:
            out_features, in_features = shapes[name]
            if fmt == "float32":
                return DenseMatrix.from_blocks((out_features, in_features), source.blocks(name))
            inputs = min(group, -(-in_features // 32) * 32)
            return RomMatrix.stack([RomMatrix.pack(b, bits, inputs) for b in source.blocks(name)])

        def vector(name: str) -> NDArray[np.float32] | None:
            return source.read(name) if name in shapes else None

        def layer(index: int) -> LayerWeights:
            paths = {target: module_path(index, target) for target in TARGETS}
            biases = {target: vector(f"{path}.bias") for target, path in paths.items()}
            prefix = f"model.layers.{index}"
            return LayerWeights(
                {target: matrix(f"{path}.weight") for target, path in paths.items()},
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
        head = matrix(embed if model.tied_embeddings else "lm_head.weight")
        layers = tuple(layer(index) for index in range(model.layers))
        return cls(embedding, layers, source.read("model.norm.weight"), head)

    @property
    def nbytes(self) -> int:
        """Bytes of the matrices and of the embedding table, as stored."""
        matrices = [matrix for layer in self.layers for matrix in layer.matrices.values()]
        return sum(matrix.nbytes for matrix in (*matrices, self.head)) + self.embedding.nbytes
