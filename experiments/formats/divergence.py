"""How far logits and the distributions that they stand for are from exact ones."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hardwire.experiments.run.kernels import decibels

_ROWS = 64  # of logits that are float64 at a time


@dataclass(frozen=True)
class Divergence:
    """Error of logits and of their distribution over the tokens of a text.

    Attributes
    ----------
    logits_sqnr_db
        Power of the exact logits, each token's mean taken off as softmax does not see it, over the
        power of the error, likewise.
    kl_nats, kl_p99_nats
        Kullback-Leibler divergence of the distribution from the exact one: mean over the tokens,
        and the 99th percentile.
    same_top
        Share of tokens after which the most likely token is the same.
    """

    logits_sqnr_db: float
    kl_nats: float
    kl_p99_nats: float
    same_top: float


def kl_nats(exact: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
    """Kullback-Leibler divergence of softmax(other) from softmax(exact), token by token.

    Parameters
    ----------
    exact, other
        (tokens, vocab) logits.

    Returns
    -------
    (tokens,) sum of p ln(p / q) in nats, 0 or more.
    """
    found = np.empty(len(exact))
    for begin in range(0, len(exact), _ROWS):
        part = slice(begin, begin + _ROWS)
        p, log_p = _softmax(exact[part])
        _, log_q = _softmax(other[part])
        found[part] = np.maximum(np.einsum("tv,tv->t", p, log_p - log_q), 0)
    return found


def entropy_nats(logits: NDArray[np.float32], scale: float = 1.0) -> float:
    """Entropy of softmax(scale · logits), mean over the tokens, in nats."""
    total = 0.0
    for begin in range(0, len(logits), _ROWS):
        p, log_p = _softmax(logits[begin : begin + _ROWS], scale)
        total -= float(np.einsum("tv,tv->", p, log_p))
    return total / len(logits)


def scale_to_entropy(logits: NDArray[np.float32], nats: float) -> float:
    """The factor on logits at which the mean entropy of their softmax is `nats`, by bisection.

    Raises
    ------
    ValueError
        If the entropy is not between 0 and ln(vocab).
    """
    if not 0 < nats < math.log(logits.shape[1]):
        raise ValueError(f"an entropy must be between 0 and {math.log(logits.shape[1])}")
    low, high = -10.0, 10.0  # of the factor's natural logarithm, for logits of unit spread
    spread = float(logits.std(axis=1).mean())
    for _ in range(24):
        middle = (low + high) / 2
        if entropy_nats(logits, math.exp(middle) / spread) > nats:
            low = middle
        else:
            high = middle
    return math.exp((low + high) / 2) / spread


def divergence(exact: NDArray[np.float32], other: NDArray[np.float32]) -> Divergence:
    """Compare logits (tokens, vocab) with the exact ones."""
    signal = noise = 0.0
    for begin in range(0, len(exact), _ROWS):
        part = slice(begin, begin + _ROWS)
        wanted = _centred(exact[part])
        signal += float(np.square(wanted).sum())
        noise += float(np.square(_centred(other[part]) - wanted).sum())
    kl = kl_nats(exact, other)
    return Divergence(
        decibels(signal, noise),
        float(kl.mean()),
        float(np.percentile(kl, 99)),
        float((exact.argmax(axis=1) == other.argmax(axis=1)).mean()),
    )


def _centred(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    values = logits.astype(np.float64)
    return values - values.mean(axis=1, keepdims=True)


def _softmax(
    logits: NDArray[np.float32], scale: float = 1.0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Softmax of scale · logits, token by token, and its natural logarithm."""
    logs = logits.astype(np.float64)
    logs -= logs.max(axis=1, keepdims=True)
    logs *= scale
    p = np.exp(logs)
    sums = p.sum(axis=1, keepdims=True)
    p /= sums
    logs -= np.log(sums)
    return p, logs
