"""Rotary position embedding (RoPE), half-split as in Hugging Face, with Llama 3's scaling."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardwire.models.errors import InputError
from hardwire.models.language_model import rope_fields, rope_kind


@dataclass(frozen=True)
class Llama3Scaling:
    """Llama 3's change of the frequencies for contexts longer than those of pre-training.

    Wavelengths (in tokens) above `original_positions / low_freq_factor` are stretched by `factor`,
    those below `original_positions / high_freq_factor` are kept, and those between are blended.
    Source: Hugging Face transformers, `modeling_rope_utils._compute_llama3_parameters`.
    """

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_positions: int


@dataclass(frozen=True)
class Rope:
    """Rotary embedding: pair i of a head of d elements turns by `theta ** (-2 i / d)` per token.

    Half-split: elements i and i + d / 2 of a head are a pair.
    """

    theta: float = 10_000.0
    scaling: Llama3Scaling | None = None

    @classmethod
    def from_config(cls, config: Mapping[str, Any], where: str) -> Rope:
        """Read the rotary embedding of a Hugging Face config.json.

        Parameters
        ----------
        config
            The file's content. Both layouts are read: `rope_theta` with `rope_scaling`, and the
            `rope_parameters` of transformers 5. Where both are there, `rope_scaling` wins, and
            what it does not say is not taken from `rope_parameters`.
        where
            Begins error messages, normally the file's path.

        Raises
        ------
        InputError
            If a field is missing or out of range, or the kind of scaling is neither `default` nor
            `llama3`.
        """
        field, scaling = rope_fields(config, where)
        share = scaling.get("partial_rotary_factor", config.get("partial_rotary_factor"))
        if share not in (None, 1):
            raise InputError(f"{where}: partial_rotary_factor: must be 1, the whole head is turned")
        theta = scaling.get("rope_theta", config.get("rope_theta", 10_000.0))
        _check_positive(theta, f"{where}: rope_theta")
        kind = rope_kind(scaling)
        if kind == "default":
            return cls(float(theta))
        if kind != "llama3":
            raise InputError(f"{where}: {field}: must be default or llama3, not {kind!r:.40}")
        # Where the original context is not said, transformers takes the whole one.
        scaling = {
            "original_max_position_embeddings": config.get("max_position_embeddings"),
            **scaling,
        }
        keys = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
        for key in keys:
            _check_positive(scaling.get(key), f"{where}: {field}.{key}")
        factor, low, high, original = (float(scaling[key]) for key in keys)
        if low >= high:
            raise InputError(
                f"{where}: {field}.low_freq_factor: must be below high_freq_factor {high:g}, "
                f"not {low:g}"
            )
        return cls(float(theta), Llama3Scaling(factor, low, high, int(original)))

    def inverse_frequencies(self, head_dim: int) -> NDArray[np.float32]:
        """Radians per token of each pair, (head_dim / 2,)."""
        exponents = np.arange(0, head_dim, 2) / head_dim
        plain = 1.0 / self.theta**exponents
        if self.scaling is None:
            return plain.astype(np.float32)
        s = self.scaling
        turns = s.original_positions * plain / (2 * math.pi)  # in the original context
        share = (turns - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor)
        kept = np.clip(share, 0.0, 1.0)
        scaled: NDArray[np.float64] = (1 - kept) * plain / s.factor + kept * plain
        return scaled.astype(np.float32)

    def rotations(
        self, positions: NDArray[np.int64], head_dim: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Cosine and sine by which each pair turns, each (tokens, head_dim / 2) in float32.

        The angle is the float32 product of position and frequency, as in the reference: far from
        the start, a more exact angle would turn elsewhere.
        """
        angles = np.multiply.outer(
            positions.astype(np.float32), self.inverse_frequencies(head_dim)
        ).astype(np.float64)
        return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


LLAMA_3_1_ROPE = Rope(500_000.0, Llama3Scaling(8.0, 1.0, 4.0, 8192))
"""As in meta-llama/Llama-3.1-8B's config.json."""


def rotate(x: NDArray[np.float32], cos: NDArray[np.float32], sin: NDArray[np.float32]) -> None:
    """Turn every head in place: `a cos - b sin` and `b cos + a sin` for each pair (a, b).

    Parameters
    ----------
    x
        (tokens, heads, head_dim) float32.
    cos, sin
        (tokens, head_dim / 2) float32, from `Rope.rotations`.
    """
    half = x.shape[2] // 2
    a, b = x[:, :, :half].copy(), x[:, :, half:].copy()
    c, s = cos[:, None, :], sin[:, None, :]
    x[:, :, :half] = a * c - b * s
    x[:, :, half:] = b * c + a * s


def _check_positive(value: Any, where: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise InputError(f"{where}: must be a positive number, not {value!r:.40}")
