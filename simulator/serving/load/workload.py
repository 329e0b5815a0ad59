"""What is asked of a server: requests in order of arrival, each of which may want an adapter."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BASE = -1
"""The adapter of a request that wants the base model alone."""

PREFIX_BLOCK_TOKENS = 512
"""Prompt tokens that one prefix hash stands for, as in the Mooncake traces."""


@dataclass(frozen=True)
class Prefixes:
    """Hashes of the blocks of 512 tokens that prompts begin with.

    Attributes
    ----------
    first : (N + 1,) int64
        Place of each request's first hash; the last entry is the count.
    hashes : (H,) int64
        Equal hashes mean equal text up to and including that block.
    """

    first: NDArray[np.int64]
    hashes: NDArray[np.int64]

    def take(self, order: NDArray[np.int64]) -> Prefixes:
        """The hashes of requests in another order, ``(N,)`` places of this one."""
        counts = np.diff(self.first)[order]
        first = np.zeros(len(counts) + 1, dtype=np.int64)
        np.cumsum(counts, out=first[1:])
        shift = np.repeat(self.first[order] - first[:-1], counts)
        return Prefixes(first, self.hashes[np.arange(first[-1]) + shift])


@dataclass(frozen=True)
class Workload:
    """Requests in order of arrival.

    Attributes
    ----------
    name : where they come from, for tables.
    arrival_s : (N,) float64, seconds from the begin of the workload, never falling.
    prompt, output : (N,) int64, tokens, at least 1.
    adapter : (N,) int32, an index into ``adapters``, or ``BASE``.
    adapters : names of the adapters that the requests may want.
    duration_s : length of the workload, at least the last arrival.
    prefixes : prefix hashes, or None where the source has none.
    skipped : requests of the source that failed there and are left out.
    concurrency : requests in flight of a closed loop, whose next request comes when one ends;
        their arrivals, here all 0, are in the log. None for arrivals as stated.

    prefilled : (N,) int64, leading prompt tokens whose keys and values come with the request, fewer
        than its prompt; None where all are to be computed.

    Raises
    ------
    ValueError
        If the arrays do not belong together or hold a value out of range.
    """

    name: str
    arrival_s: NDArray[np.float64]
    prompt: NDArray[np.int64]
    output: NDArray[np.int64]
    adapter: NDArray[np.int32]
    adapters: tuple[str, ...]
    duration_s: float
    prefixes: Prefixes | None = None
    skipped: int = 0
    concurrency: int | None = None
    prefilled: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        count = len(self.arrival_s)
        if not len(self.prompt) == len(self.output) == len(self.adapter) == count:
            raise ValueError("every request needs an arrival, a prompt, an output and an adapter")
        if self.prefixes is not None and len(self.prefixes.first) != count + 1:
            raise ValueError("prefixes need one entry per request and a last one")
        if self.concurrency is not None and (self.concurrency < 1 or np.any(self.arrival_s)):
            raise ValueError("a closed loop has 1 request in flight or more, and no arrivals yet")
        given = self.prefilled
        if given is not None and (len(given) != count or np.any(given >= self.prompt)):
            raise ValueError("a token at least of every prompt is left to compute")
        if count == 0:
            return
        if not np.isfinite(self.arrival_s).all() or self.arrival_s[0] < 0:
            raise ValueError("arrivals are finite and not negative")
        if (np.diff(self.arrival_s) < 0).any() or self.duration_s < self.arrival_s[-1]:
            raise ValueError("requests come in order of arrival, none after the workload's end")
        if (self.prompt < 1).any() or (self.output < 1).any():
            raise ValueError("prompts and outputs have at least 1 token")
        if (self.adapter < BASE).any() or (self.adapter >= len(self.adapters)).any():
            raise ValueError(f"adapters are numbered from {BASE} to {len(self.adapters) - 1}")

    def __len__(self) -> int:
        return len(self.arrival_s)

    def take(self, places: NDArray[np.int64]) -> Workload:
        """Some of the requests, in rising order, in the same time."""
        return dataclasses.replace(
            self,
            arrival_s=self.arrival_s[places],
            prompt=self.prompt[places],
            output=self.output[places],
            adapter=self.adapter[places],
            prefixes=None if self.prefixes is None else self.prefixes.take(places),
            prefilled=None if self.prefilled is None else self.prefilled[places],
        )

    def then(self, later: Workload) -> Workload:
        """These requests and later ones, of the same load, without prefixes."""
        return dataclasses.replace(
            later,
            arrival_s=np.concatenate((self.arrival_s, later.arrival_s)),
            prompt=np.concatenate((self.prompt, later.prompt)),
            output=np.concatenate((self.output, later.output)),
            adapter=np.concatenate((self.adapter, later.adapter)),
            prefixes=None,
        )

    def closed(self, concurrency: int) -> Workload:
        """The same requests in order, so many in flight: the next comes when one ends."""
        return dataclasses.replace(
            self, arrival_s=np.zeros(len(self)), duration_s=0.0, concurrency=concurrency
        )

    def with_adapters(self, names: tuple[str, ...], adapter: NDArray[np.int32]) -> Workload:
        """The same requests with other adapters."""
        return dataclasses.replace(self, adapters=names, adapter=adapter)

    def describe(self) -> dict[str, Any]:
        """Counts and rates, as plain values."""
        count = len(self)
        return {
            "name": self.name,
            "requests": count,
            "skipped": self.skipped,
            "adapters": len(self.adapters),
            "prompt_tokens": int(self.prompt.sum()),
            "output_tokens": int(self.output.sum()),
            "duration_s": float(self.duration_s),
            "requests_per_s": count / self.duration_s if self.duration_s > 0 else 0.0,
        }
