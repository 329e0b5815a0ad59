"""Which experts a token goes to, and with which weights: the routers of five families.

All of it is float32 with one rounding per operation and sums in written order, so a token's experts
depend on that token alone. Of equal scores, the expert of lowest number counts as the larger.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hardwire.kernels.decoder.activation import exp_plain
from hardwire.kernels.decoder.norm import sum_lanes
from hardwire.models.language_model import Experts

_ONE = np.float32(1)
_TINY = np.float32(1e-20)
"""What DeepSeek's router adds to the sum by which it divides."""


def route(
    logits: NDArray[np.float32], experts: Experts, correction: NDArray[np.float32] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Experts of each token and their weights.

    Parameters
    ----------
    logits
        (tokens, experts) float32, biases included.
    experts
        The rule. With `softmax`, the scores of all experts are made, the largest taken and, where
        `normalized`, divided by their sum: of gpt-oss, which takes the softmax of the logits of the
        chosen alone, that is the same.
    correction
        (experts,) float32, added to the scores by which experts are chosen, and not to weights.

    Returns
    -------
    chosen
        (tokens, experts per token) int64, the best first.
    weights
        (tokens, experts per token) float32.

    Source: Hugging Face transformers, `MixtralTopKRouter`, `Qwen3MoeTopKRouter`,
    `GptOssTopKRouter` and `DeepseekV3TopkRouter`; DeepSeek-AI, arXiv 2412.19437, section 2.1.2.
    """
    sigmoid = experts.scoring == "sigmoid"
    scores = _ONE / (_ONE + exp_plain(-logits)) if sigmoid else _softmax(logits)
    wanted = scores if correction is None else scores + correction
    if experts.groups > 1:
        wanted = _within_groups(wanted, experts)
    chosen = _largest(wanted, experts.active)
    weights = np.take_along_axis(scores, chosen, axis=1)
    if experts.normalized:
        total = sum_lanes(weights)[:, None]
        weights = weights / (total + _TINY if sigmoid else total)
    return chosen, weights * np.float32(experts.scale)


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    weights = exp_plain(logits - logits.max(axis=1, keepdims=True))
    value: NDArray[np.float32] = weights / sum_lanes(weights)[:, None]
    return value


def _largest(scores: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    return np.argsort(-scores, axis=1, kind="stable")[:, :count].astype(np.int64)


def _within_groups(wanted: NDArray[np.float32], experts: Experts) -> NDArray[np.float32]:
    """Scores of the experts whose group has one of the best sums of two; -inf for the others."""
    grouped = wanted.reshape(len(wanted), experts.groups, -1)
    best = np.sort(grouped, axis=2)[:, :, ::-1]
    kept = _largest(best[:, :, :2].sum(axis=2, dtype=np.float32), experts.active_groups)
    allowed = np.zeros(grouped.shape[:2], bool)
    np.put_along_axis(allowed, kept, True, axis=1)
    return np.where(allowed[:, :, None], grouped, np.float32(-np.inf)).reshape(wanted.shape)
