"""Keys of points: 128-bit hashes of everything that decides a result, for arrays of points.

A key is the sum, modulo 2^64 twice, of one pseudo-random number per pair of setting and value. So
what is the same for all points is added once, and a point has the same key in every study that
contains it, whichever settings are its axes there.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

KEY = np.dtype([("high", np.uint64), ("low", np.uint64)])
"""One key."""


@functools.cache
def program_version() -> str:
    """Version of the program, and a digest of the sources that decide a result."""
    root = Path(__file__).resolve().parents[2]
    digest = hashlib.sha256()
    files = [
        root / f"experiments/{name}.py"
        for name in (
            "replay/replay",
            "replay/config",
            "system/answer",
            "system/many",
            "system/plan",
        )
    ]
    files.append(root / "experiments/shared/inputs.py")
    for package in ("models", "simulator", "kernels"):
        files += (root / package).rglob("*.py")
    files += (root / "simulator").rglob("*.yaml")  # presets of workloads
    for name in ("design", "keys", "metrics", "fidelity*", "inputs", "system_settings", "store"):
        files += (root / "experiments/sweep").glob(f"{name}.py")
    files.sort()
    for file in files:
        digest.update(file.relative_to(root).as_posix().encode())
        digest.update(file.read_bytes())
    return f"{version('hardwire')}+{digest.hexdigest()[:12]}"


def point_keys(settings: Mapping[str, Any], points: int) -> np.ndarray:
    """Keys of points.

    Parameters
    ----------
    settings : by name, a number or word, or an array of shape ``(points,)``.
    points : how many.

    Returns
    -------
    Array of dtype ``KEY``, shape ``(points,)``.
    """
    keys = np.zeros(points, KEY)
    with np.errstate(over="ignore"):
        for name, value in settings.items():
            seeds = _seeds(name)
            bits = _bits(value)
            for field, seed in zip(KEY.names or (), seeds, strict=True):
                keys[field] += _mix(_mix(bits + seed) ^ seed)
    return keys


def _seeds(name: str) -> np.ndarray:
    digest = hashlib.blake2b(name.encode(), digest_size=16).digest()
    return np.frombuffer(digest, np.uint64)


def _bits(value: Any) -> np.ndarray:
    """64 bits for a value: those of a float, or a hash of a word."""
    array = np.asarray(value)
    if array.dtype.kind in "US":
        words, code = np.unique(array, return_inverse=True)
        hashed = [hashlib.blake2b(str(word).encode(), digest_size=8).digest() for word in words]
        return np.frombuffer(b"".join(hashed), np.uint64)[code].reshape(array.shape)
    # Adding 0 makes -0 the same as 0, and a whole number is the same as an integer or a float.
    return (array.astype(np.float64) + 0.0).view(np.uint64)


def _mix(x: np.ndarray) -> np.ndarray:
    """A bijection of 64 bits that spreads every bit over all (finalizer of SplitMix64)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
