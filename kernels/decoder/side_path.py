"""Adapters beside linear layers: their images, and what they add to a batch's products."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from hardwire.kernels.decoder.layer_weights import LayerWeights
from hardwire.kernels.lowrank.batch import LowRankBatch
from hardwire.kernels.lowrank.lowrank import LowRankImage
from hardwire.kernels.rom.product import apply_all
from hardwire.kernels.rom.rom import RomMatrix
from hardwire.models.adapter.config import Place
from hardwire.models.language_model import LanguageModel, LatentAttention

_Halves: TypeAlias = list[tuple[NDArray[np.float32], NDArray[np.float32]]]


def heads_of_pair(
    a: NDArray[np.float32], b: NDArray[np.float32], latent: LatentAttention
) -> tuple[_Halves, _Halves]:
    """A and B of `kv_b_proj`, cut into pairs beside each head's matrices, see `LatentImage`.

    Returns
    -------
    Of the keys, (rank, nope_dim) and (kv_rank, rank) for each head; and of the values, (rank,
    kv_rank) and (value_dim, rank).
    """
    heads = b.reshape(-1, latent.nope_dim + latent.value_dim, len(a))
    turned = np.ascontiguousarray(a.T)
    keys = [(np.ascontiguousarray(rows[: latent.nope_dim].T), turned) for rows in heads]
    return keys, [(a, rows[latent.nope_dim :]) for rows in heads]


@dataclass(frozen=True, eq=False)
class LatentImage:
    """An adapter of `kv_b_proj`, cut into heads as the absorbed form of latent attention needs it.

    Beside a head's turned matrix of keys run that head's rows of B turned, and then A turned;
    beside its matrix of values runs A, and then its rows of B.
    """

    rank: int
    keys: tuple[LowRankImage, ...]
    values: tuple[LowRankImage, ...]

    @classmethod
    def pack(
        cls,
        a: NDArray[np.float32],
        b: NDArray[np.float32],
        scale: float,
        fmt: str,
        latent: LatentAttention,
    ) -> LatentImage:
        """Pack A (rank, kv_rank) and B (heads · (nope_dim + value_dim), rank), as `LowRankImage`.

        Raises
        ------
        ValueError
            If the format is unknown or cannot hold a weight.
        """
        keys, values = (
            tuple(LowRankImage.pack(down, up, scale, fmt) for down, up in pairs)
            for pairs in heads_of_pair(a, b, latent)
        )
        return cls(len(a), keys, values)

    @property
    def nbytes(self) -> int:
        """Bytes of all heads' images."""
        return sum(image.nbytes for image in (*self.keys, *self.values))


@dataclass(frozen=True, eq=False)
class FusedImage:
    """An adapter of an expert's gate and up in one matrix: one A, and each one's rows of B."""

    rank: int
    gate: LowRankImage
    up: LowRankImage

    @classmethod
    def pack(
        cls,
        a: NDArray[np.float32],
        b: NDArray[np.float32],
        scale: float,
        fmt: str,
        *,
        in_turn: bool,
    ) -> FusedImage:
        """Pack A (rank, hidden) and B (2 · intermediate, rank), rows of gate and up in turn or not.

        Raises
        ------
        ValueError
            As `LowRankImage.pack`.
        """
        half = len(b) // 2
        gate, up = (b[0::2], b[1::2]) if in_turn else (b[:half], b[half:])
        packed = (LowRankImage.pack(a, rows, scale, fmt) for rows in (gate, up))
        return cls(len(a), *packed)

    @property
    def nbytes(self) -> int:
        """Bytes of both images, A counted in each."""
        return self.gate.nbytes + self.up.nbytes


Image = LowRankImage | LatentImage | FusedImage


def pack_image(
    model: LanguageModel,
    place: Place,
    a: NDArray[np.float32],
    b: NDArray[np.float32],
    scale: float,
    fmt: str,
) -> Image:
    """What a decoder keeps of the adapter of one linear layer.

    Raises
    ------
    ValueError
        As `LowRankImage.pack`.
    """
    if place[1].endswith(".gate_up_proj") and model.experts is not None:
        in_turn = model.experts.stored == "fused"
        return FusedImage.pack(a, b, scale, fmt, in_turn=in_turn)
    if place[1] == "kv_b_proj" and model.latent is not None:
        return LatentImage.pack(a, b, scale, fmt, model.latent)
    return LowRankImage.pack(a, b, scale, fmt)


@dataclass(frozen=True, eq=False)
class ResidentAdapter:
    """An adapter's images, one per linear layer that it changes.

    `version` counts the adapters that a decoder has taken in, so that an adapter that comes back
    under its old name is another one to the KV cache.
    """

    name: str
    version: int
    images: dict[Place, Image]


Adapters = Sequence[ResidentAdapter | None]


def add_low_rank(
    images: Sequence[LowRankImage | None],
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    threads: int,
) -> None:
    """Add to ``y`` (tokens, out) what the image of each token, if any, makes of ``x``."""
    present = list(dict.fromkeys(image for image in images if image is not None))
    if len(images) == 1 and present:
        present[0].apply(x[0], y[0])
    elif present:
        index = {image: number for number, image in enumerate(present)}
        chosen = np.array([index[image] if image else -1 for image in images], np.int64)
        LowRankBatch(present).apply(x, y, chosen, threads)


@dataclass(frozen=True, eq=False)
class LayerProducts:
    """The linear layers of one decoder layer for a batch, with each token's adapter beside.

    Attributes
    ----------
    index, weights
        The layer.
    adapters
        Each token's.
    threads
    """

    index: int
    weights: LayerWeights
    adapters: Adapters
    threads: int

    def of(
        self, target: str, x: NDArray[np.float32], tokens: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        """Product, bias and low-rank product of a linear layer, (tokens, out_features).

        Parameters
        ----------
        target
        x
            (tokens, in_features).
        tokens
            Which of the batch's they are; None for all, in order.
        """
        return self.together((target,), x, tokens)[0]

    def together(
        self,
        targets: Sequence[str],
        x: NDArray[np.float32],
        tokens: NDArray[np.int64] | None = None,
    ) -> list[NDArray[np.float32]]:
        """What `of` gives for each of several linear layers of the same input, to the bit.

        Hardwired matrices round that input once, and share threads as one matrix.
        """
        matrices = [self.weights.matrices[target] for target in targets]
        packed = [matrix for matrix in matrices if isinstance(matrix, RomMatrix)]
        if len(packed) == len(matrices) and len({matrix.group for matrix in packed}) == 1:
            products = apply_all(packed, x, self.threads)
        else:
            products = [matrix.apply(x, self.threads) for matrix in matrices]
        adapters = self.adapters if tokens is None else [self.adapters[token] for token in tokens]
        for target, product in zip(targets, products, strict=True):
            bias = self.weights.biases.get(target)
            if bias is not None:
                np.add(product, bias, out=product)
            images = [self._image(adapter, target) for adapter in adapters]
            add_low_rank(images, x, product, self.threads)
        return products

    def _image(self, adapter: ResidentAdapter | None, target: str) -> LowRankImage | None:
        """What an adapter has beside a linear layer that is multiplied as a whole."""
        if adapter is None:
            return None
        image = adapter.images.get((self.index, target))
        expert, _, half = target.rpartition(".")
        if image is None and expert and half in ("gate_proj", "up_proj"):
            fused = adapter.images.get((self.index, f"{expert}.gate_up_proj"))
            if isinstance(fused, FusedImage):
                return fused.gate if half == "gate_proj" else fused.up
        return image if isinstance(image, LowRankImage) else None

    def latent_images(self, target: str) -> list[LatentImage | None]:
        """What each token's adapter has beside a linear layer that heads have in parts."""
        found = [a.images.get((self.index, target)) if a else None for a in self.adapters]
        return [image if isinstance(image, LatentImage) else None for image in found]
