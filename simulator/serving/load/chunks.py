"""A synthetic workload part by part: the requests of ``make_workload``, never all at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hardwire.models.errors import InputError
from hardwire.simulator.serving.load.popularity import Independent, Popularity
from hardwire.simulator.serving.load.synthetic import Preset, preset_names, stream
from hardwire.simulator.serving.load.workload import BASE, Workload

CHUNK = 1 << 18
"""Requests of a part, at least, but for the last: what costs by the part is spread over them, and
their columns take some 30 MB."""


@dataclass(frozen=True)
class Chunks:
    """Requests of a preset at its own arrivals, which every iteration gives anew.

    Attributes
    ----------
    preset : Preset
    requests : int
    rate : mean requests/s; None for the preset's own.
    names : of the adapters.
    popularity : who wants which, each request by itself.
    seed : int
    chunk : requests of a part, at least.

    Raises
    ------
    InputError
        If the preset has no arrivals of its own, or who wants which adapter is not drawn for each
        request by itself.
    """

    preset: Preset
    requests: int
    rate: float | None
    names: tuple[str, ...]
    popularity: Popularity
    seed: int = 0
    chunk: int = CHUNK

    def __post_init__(self) -> None:
        if self.preset.gaps is None:
            raise InputError(
                f"stream: {self.preset.name} has no arrivals of its own to come part by part"
            )
        if self.names and not isinstance(self.popularity, Independent):
            raise InputError(
                "stream: adapters are drawn for each request by itself: uniform, zipf or geometric"
            )

    @classmethod
    def of(
        cls,
        source: str,
        requests: int,
        rate: float | None,
        names: Sequence[str],
        popularity: Popularity,
        seed: int,
    ) -> Chunks:
        """The requests of a source by its name.

        Raises
        ------
        InputError
            If the source is no preset, as well.
        """
        if source not in preset_names():
            raise InputError(
                f"stream: {source} is no preset ({', '.join(preset_names())}), whose requests are "
                "drawn part by part"
            )
        return cls(Preset.open(source), requests, rate, tuple(names), popularity, seed)

    def empty(self, duration_s: float = 0.0) -> Workload:
        """The workload without its requests."""
        nothing = np.zeros(0, np.int64)
        return Workload(
            self.preset.name, np.zeros(0), nothing, nothing, nothing.astype(np.int32), self.names,
            duration_s,
        )  # fmt: skip

    def __iter__(self) -> Iterator[Workload]:
        """Parts in order of arrival, each of whole blocks of the preset but for the last."""
        preset, left = self.preset, self.requests
        arrivals = preset.arrival_blocks(stream(self.seed, "arrivals"))
        lengths = preset.length_blocks(stream(self.seed, "lengths"))
        wanted = stream(self.seed, "adapters")
        assert preset.duration_s is not None
        own = preset.requests / preset.duration_s
        factor = own / (own if self.rate is None else self.rate)
        blocks = -(-self.chunk // preset.requests)
        while left:
            count = min(left, blocks * preset.requests)
            some = range(-(-count // preset.requests))
            arrival = np.concatenate([next(arrivals) for _ in some])[:count] * factor
            drawn = [next(lengths) for _ in some]
            prompt, output = (np.concatenate(column)[:count] for column in zip(*drawn, strict=True))
            yield Workload(
                preset.name, arrival, prompt, output, self._adapters(count, wanted), self.names,
                float(arrival[-1]),
            )  # fmt: skip
            left -= count

    def _adapters(self, count: int, rng: np.random.Generator) -> NDArray[np.int32]:
        if not self.names:
            return np.full(count, BASE, dtype=np.int32)
        return self.popularity.draw(count, len(self.names), rng)
