"""Rotary position embedding (RoPE) as in Hugging Face: plain, or scaled to longer contexts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
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
class LinearScaling:
    """All wavelengths are stretched by `factor` (Chen et al., arXiv 2306.15595)."""

    factor: float


@dataclass(frozen=True)
class YarnScaling:
    """YaRN's change of the frequencies (Peng et al., arXiv 2309.00071).

    Pairs that turn more than `beta_fast` times in the original context are kept, those that turn
    less than `beta_slow` times are stretched by `factor`, and those between are blended along
    their number, in whole numbers where `truncate`. `size` multiplies cosine and sine, and
    `score_size` the scores of DeepSeek's attention.
    Source: Hugging Face transformers, `modeling_rope_utils._compute_yarn_parameters`.
    """

    factor: float
    original_positions: int
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True
    size: float = 1.0
    score_size: float = 1.0

    def kept(self, theta: float, pairs: int) -> NDArray[np.float64]:
        """Share of each pair's own frequency, (pairs,)."""

        def pair_that_turns(times: float) -> float:
            return (
                pairs * math.log(self.original_positions / (times * 2 * math.pi)) / math.log(theta)
            )

        low, high = pair_that_turns(self.beta_fast), pair_that_turns(self.beta_slow)
        if self.truncate:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, 2 * pairs - 1)
        ramp = (np.arange(pairs) - low) / (high - low if high != low else _NO_RAMP)
        value: NDArray[np.float64] = 1 - np.clip(ramp, 0.0, 1.0)
        return value


_NO_RAMP = 0.001  # what transformers divides by where the blend has no width

_THETA = {"bitnet": 500_000.0, "mixtral": 1e6, "gpt_oss": 150_000.0, "gemma3_text": 1e6}
"""Base of the wavelengths where a config does not say it, if not 10,000: `default_theta` of
transformers' config classes."""
_LOCAL_THETA = 10_000.0


@dataclass(frozen=True)
class Rope:
    """Rotary embedding: pair i of a head of d elements turns by `theta ** (-2 i / d)` per token.

    Half-split: elements i and i + d / 2 of a head are a pair.
    """

    theta: float = 10_000.0
    scaling: Llama3Scaling | LinearScaling | YarnScaling | None = None

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
            If a field is missing or out of range, or the kind of scaling is none of `default`,
            `linear`, `llama3` and `yarn`.
        """
        field, scaling = rope_fields(config, where)
        share = scaling.get("partial_rotary_factor", config.get("partial_rotary_factor"))
        if share not in (None, 1):
            raise InputError(f"{where}: partial_rotary_factor: must be 1, the whole head is turned")
        usual = _THETA.get(str(config.get("model_type")), 10_000.0)
        theta = scaling.get("rope_theta", config.get("rope_theta", usual))
        _check_positive(theta, f"{where}: rope_theta")
        kind = rope_kind(scaling)
        if kind == "default":
            return cls(float(theta))
        if kind not in ("linear", "llama3", "yarn"):
            raise InputError(
                f"{where}: {field}: must be default, linear, llama3 or yarn, not {kind!r:.40}"
            )
        # Where the original context is not said, transformers takes the whole one.
        scaling = {
            "original_max_position_embeddings": config.get("max_position_embeddings"),
            **{key: value for key, value in scaling.items() if value is not None},
        }

        def number(key: str) -> float:
            _check_positive(scaling.get(key), f"{where}: {field}.{key}")
            return float(scaling[key])

        factor = number("factor")
        if kind == "linear":
            return cls(float(theta), LinearScaling(factor))
        original = int(number("original_max_position_embeddings"))
        if kind == "yarn":
            return cls(float(theta), _yarn(scaling, number, factor, original))
        low, high = number("low_freq_factor"), number("high_freq_factor")
        if low >= high:
            raise InputError(
                f"{where}: {field}.low_freq_factor: must be below high_freq_factor {high:g}, "
                f"not {low:g}"
            )
        return cls(float(theta), Llama3Scaling(factor, low, high, original))

    @classmethod
    def of_windows(cls, config: Mapping[str, Any], where: str) -> Rope:
        """Read the rotary embedding of the layers that slide: only Gemma 3 has another one there.

        Raises
        ------
        InputError
            As `from_config`.
        """
        if config.get("model_type") != "gemma3_text":
            return cls.from_config(config, where)
        parameters = config.get("rope_parameters")
        own = parameters.get("sliding_attention") if isinstance(parameters, Mapping) else None
        theta = config.get("rope_local_base_freq", _LOCAL_THETA)
        _check_positive(theta, f"{where}: rope_local_base_freq")
        return cls.from_config({"rope_theta": theta, "rope_parameters": own or {}}, where)

    def inverse_frequencies(self, head_dim: int) -> NDArray[np.float32]:
        """Radians per token of each pair, (head_dim / 2,)."""
        exponents = np.arange(0, head_dim, 2) / head_dim
        plain = 1.0 / self.theta**exponents
        s = self.scaling
        if s is None:
            return plain.astype(np.float32)
        if isinstance(s, LinearScaling):
            kept = np.zeros(len(plain))
        elif isinstance(s, YarnScaling):
            kept = s.kept(self.theta, len(plain))
        else:
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
        the start, a more exact angle would turn elsewhere. With YaRN, both are times its `size`.
        """
        angles = np.multiply.outer(
            positions.astype(np.float32), self.inverse_frequencies(head_dim)
        ).astype(np.float64)
        cos, sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
        if isinstance(self.scaling, YarnScaling):
            size = np.float32(self.scaling.size)
            cos, sin = cos * size, sin * size
        return cos, sin

    @property
    def score_size(self) -> float:
        """What scores are multiplied by in DeepSeek's attention: YaRN's, else 1."""
        return self.scaling.score_size if isinstance(self.scaling, YarnScaling) else 1.0


def _yarn(
    scaling: Mapping[str, Any], number: Callable[[str], float], factor: float, original: int
) -> YarnScaling:
    def size(of: float = 1.0) -> float:
        return 0.1 * of * math.log(factor) + 1.0 if factor > 1 else 1.0

    def optional(key: str, default: float) -> float:
        return number(key) if scaling.get(key) else default

    whole, every = optional("mscale", 0.0), optional("mscale_all_dim", 0.0)
    usual = size(whole) / size(every) if whole and every else size()
    return YarnScaling(
        factor,
        original,
        optional("beta_fast", 32.0),
        optional("beta_slow", 1.0),
        bool(scaling.get("truncate", True)),
        optional("attention_factor", usual),
        size(every) ** 2 if every else 1.0,
    )


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


def rotate_pairs(
    x: NDArray[np.float32], cos: NDArray[np.float32], sin: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Turn neighbours: elements 2 i and 2 i + 1 of a head are pair i, as DeepSeek lays them.

    Parameters are those of `rotate`.

    Returns
    -------
    (tokens, heads, head_dim) float32, half-split: the first elements of all pairs come first.
    """
    a, b = x[:, :, 0::2], x[:, :, 1::2]
    c, s = cos[:, None, :], sin[:, None, :]
    return np.concatenate([a * c - b * s, b * c + a * s], axis=2)


def _check_positive(value: Any, where: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise InputError(f"{where}: must be a positive number, not {value!r:.40}")
