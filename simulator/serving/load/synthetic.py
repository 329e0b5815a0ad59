"""Synthetic workloads: presets from published statistics, arrival processes, tenants.

A preset carries quantiles of prompts, outputs and gaps between arrivals, their rank correlation
and, where the trace drifts, its rate over time. It is played in blocks as long as the trace: each
block has the trace's number of requests in the trace's time, with lengths and gaps of the quantile
tables in a new random order. So every block has the trace's totals, whatever the seed, and a
workload may have as many blocks as one likes.
"""

from __future__ import annotations

import dataclasses
import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count as count_from_zero
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardwire.models.catalogue import did_you_mean
from hardwire.models.errors import InputError
from hardwire.models.parameters import read_yaml
from hardwire.simulator.serving.load.traces.read import read_workload
from hardwire.simulator.serving.load.traces.table import MOST_TOKENS
from hardwire.simulator.serving.load.traces.times import MOST_SECONDS
from hardwire.simulator.serving.load.workload import BASE, Prefixes, Workload

MOST_REQUESTS = 50_000_000
"""Largest workload: its columns take 28 bytes per request, making it a few times that."""

_PRESETS = Path(__file__).parent / "presets"
_LENGTHS_BLOCK = 1000  # requests, of a preset that is no trace


def stream(seed: int, name: str) -> np.random.Generator:
    """The random numbers of one subsystem: a new one never shifts the draws of another."""
    if seed < 0:
        raise InputError(f"seed: must be 0 or more, not {seed}")
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


@dataclass(frozen=True)
class Preset:
    """Published statistics of a trace.

    Attributes
    ----------
    name, title, source : str
    requests : requests of the trace, the length of a block.
    duration_s : time that they took, or None where there are lengths only.
    probabilities : (Q,) of the quantiles, from 0 to 1.
    prompt, output : (Q,) quantiles in tokens.
    rank_correlation : Spearman's, of prompt and output.
    gaps : (Q,) quantiles of the gaps between arrivals over their mean, the time being that of the
        rate below; None where there are lengths only.
    rate : (B,) requests in equal parts of the duration; one part where the rate does not drift.
    gap_correlation : of the normal scores of two gaps of one spell.
    gap_spell : requests in a spell, on average.
    """

    name: str
    title: str
    source: str
    requests: int
    duration_s: float | None
    probabilities: NDArray[np.float64]
    prompt: NDArray[np.float64]
    output: NDArray[np.float64]
    rank_correlation: float
    gaps: NDArray[np.float64] | None
    rate: NDArray[np.float64]
    gap_correlation: float = 0.0
    gap_spell: int = 1

    @classmethod
    def open(cls, name: str) -> Preset:
        """Read a preset by name.

        Raises
        ------
        InputError
            If there is none of that name.
        """
        if name not in preset_names():
            near = did_you_mean(name, preset_names())
            raise InputError(f"'{name}' is no preset; there are {', '.join(preset_names())}{near}")
        data = read_yaml(_PRESETS / f"{name}.yaml")
        requests = data.get("requests", _LENGTHS_BLOCK)
        gaps = data.get("gaps")
        return cls(
            name=name,
            title=data["title"],
            source=data["source"],
            requests=requests,
            duration_s=data.get("duration_s"),
            probabilities=np.array(data["probabilities"], dtype=np.float64),
            prompt=np.array(data["prompt_tokens"], dtype=np.float64),
            output=np.array(data["output_tokens"], dtype=np.float64),
            rank_correlation=data["rank_correlation"],
            gaps=None if gaps is None else np.array(gaps, dtype=np.float64),
            rate=np.array(data.get("requests_per_bin", [requests]), dtype=np.float64),
            gap_correlation=data.get("gap_correlation", 0.0),
            gap_spell=data.get("gap_spell", 1),
        )

    def lengths(
        self, count: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Draw prompts and outputs, each ``(count,)``, in tokens.

        Each block holds the same values: the quantile tables read at the middles of
        ``self.requests`` equal parts. Their order is that of two normal samples whose Pearson
        correlation is ``2 sin(pi r / 6)`` for a rank correlation ``r`` (Gaussian copula).
        """
        blocks = list(islice(self.length_blocks(rng), -(-count // self.requests)))
        prompt, output = (np.concatenate(column)[:count] for column in zip(*blocks, strict=True))
        return prompt, output

    def length_blocks(
        self, rng: np.random.Generator
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Prompts and outputs block by block, without end: what ``lengths`` draws."""
        rho = 2 * math.sin(math.pi * self.rank_correlation / 6)
        values = [
            np.rint(self._table(table)).astype(np.int64) for table in (self.prompt, self.output)
        ]
        while True:
            normal = rng.standard_normal((2, self.requests))
            first, second = normal
            # What the samples share by chance goes, so that every block is correlated alike. Sums
            # of products, not BLAS, whose rounding depends on its threads.
            second -= (second * first).sum() / (first * first).sum() * first
            scale = math.sqrt((first * first).sum() / (second * second).sum())
            second *= math.sqrt(1 - rho**2) * scale
            second += rho * first
            prompt, output = (np.empty(self.requests, dtype=np.int64) for _ in values)
            for column, ordered, key in zip((prompt, output), values, normal, strict=True):
                column[np.argsort(key)] = ordered
            yield prompt, output

    def arrivals(self, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Draw arrivals ``(count,)`` in seconds at the trace's own rate, a block after the other.

        In the time of the trace's rate, gaps follow their quantile table, scaled so that a block
        lasts as long as the trace. Their order is random, or goes by spells of short and of long
        gaps: by a normal sample, part of which all gaps of a spell have in common, so that gaps
        ``k`` apart are correlated as ``e^{-k / gap_spell}``.
        """
        blocks = islice(self.arrival_blocks(rng), -(-count // self.requests))
        return np.concatenate(list(blocks))[:count]

    def arrival_blocks(self, rng: np.random.Generator) -> Iterator[NDArray[np.float64]]:
        """Arrivals block by block, without end: what ``arrivals`` draws."""
        if self.gaps is None or self.duration_s is None:
            raise ValueError(f"preset {self.name} has lengths only, no arrivals")
        gaps = self._table(self.gaps)
        edges = np.linspace(0, self.duration_s, len(self.rate) + 1)
        passed = np.concatenate([[0], np.cumsum(self.rate)]) * (self.requests / self.rate.sum())
        for block in count_from_zero():
            clock = np.cumsum(self._ordered(gaps, rng))
            clock *= self.requests / clock[-1]
            yield np.interp(clock, passed, edges) + block * self.duration_s

    def _ordered(self, gaps: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
        """Rising gaps in the order of a block."""
        if not self.gap_correlation:
            return rng.permutation(gaps)
        shared = self.gap_correlation
        alone, common = rng.standard_normal(len(gaps)), rng.standard_normal(len(gaps) + 1)
        spell = np.cumsum(rng.random(len(gaps)) < -math.expm1(-1 / self.gap_spell))
        key = math.sqrt(1 - shared) * alone + math.sqrt(shared) * common[spell]
        ordered = np.empty_like(gaps)
        ordered[np.argsort(key)] = gaps
        return ordered

    def _table(self, quantiles: NDArray[np.float64]) -> NDArray[np.float64]:
        middles = (np.arange(self.requests) + 0.5) / self.requests
        return np.interp(middles, self.probabilities, quantiles)


def preset_names() -> list[str]:
    """Names of the presets, sorted."""
    return sorted(file.stem for file in _PRESETS.glob("*.yaml"))


def source_file(source: str | Path) -> Path:
    """The file of a source: that of a preset, or the trace itself.

    Raises
    ------
    InputError
        If there is no such file and the name is not that of a preset.
    """
    name, known = str(source), preset_names()
    if name in known:
        return _PRESETS / f"{name}.yaml"
    if not Path(source).exists() and not {"/", "."} & set(name):
        near = did_you_mean(name, known)
        raise InputError(f"'{name}' is no file and no preset; presets are {', '.join(known)}{near}")
    return Path(source)


def preset_title(name: str) -> str:
    """What a preset is, in a line."""
    return str(read_yaml(_PRESETS / f"{name}.yaml")["title"])


def renewal_times(
    rate: float, cv: float, duration: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw the times of a stationary renewal process with Gamma gaps, from 0 to ``duration``.

    Gaps have the mean ``1 / rate`` and the coefficient of variation ``cv`` (shape ``1 / cv²``; 1 is
    Poisson). The first one is what remains of a gap under way at time 0: a uniform share of a
    length-biased gap, which for Gamma gaps is a Gamma variable of shape ``1 / cv² + 1``. Without
    it, bursty processes would begin below their rate.
    """
    shape = cv**-2
    scale = 1 / (rate * shape)
    parts = [rng.random(1) * rng.gamma(shape + 1, scale, 1)]
    end = parts[0][-1]
    while end <= duration:
        left = rate * (duration - end)
        gaps = rng.gamma(shape, scale, int(left + 3 * cv * math.sqrt(left)) + 8)
        parts.append(end + np.cumsum(gaps))
        end = parts[-1][-1]
    times = np.concatenate(parts)
    return times[times <= duration]


def make_workload(
    source: str | Path,
    *,
    rate: float | None = None,
    duration: float | None = None,
    requests: int | None = None,
    arrivals: str = "source",
    time_unit: str | None = None,
    sort: bool = False,
    seed: int = 0,
) -> Workload:
    """Make a workload from a preset or a trace file.

    Parameters
    ----------
    source : str or path
        Name of a preset (see `preset_names`) or a file for `read_workload`.
    rate : float, optional
        Mean requests/s. Arrivals are scaled by one factor, bursts and drift included. Requests
        that all come at once (lists of lengths) come as a Poisson process of that rate.
    duration : float, optional
        Length in seconds, after scaling. A preset goes on for so long, a file is cut.
    requests : int, optional
        Number of requests. A preset goes on for so many, a file is cut. By default as many as the
        source has or, of a preset and with a ``duration``, as many as come in that time.
    arrivals : str
        ``source`` keeps the source's own; ``poisson`` and ``gamma:CV`` put a stationary process of
        the same mean rate in their place.
    time_unit, sort
        Of a file, as in `read_workload`.
    seed : int
        Same seed, same workload.

    Raises
    ------
    InputError
        If there is no such source, a value is out of range, or no request is left.
    """
    _check("rate", rate, "requests/s")
    _check("duration", duration, "seconds")
    if requests is not None and not 1 <= requests <= MOST_REQUESTS:
        raise InputError(f"requests: must be 1 to {MOST_REQUESTS}, not {requests}")
    cv = _parse_arrivals(arrivals)
    name = str(source)
    if name in preset_names():
        if time_unit is not None or sort:
            word = "sort" if time_unit is None else "time unit"
            raise InputError(f"{word}: is of trace files, and {name} is a preset")
        workload = _from_preset(Preset.open(name), rate, duration, requests, cv, seed)
    else:
        read = read_workload(source_file(source), time_unit=time_unit, sort=sort)
        workload = _retimed(read, rate, cv, seed)
    workload = _cut(workload, duration, requests)
    if workload.duration_s > MOST_SECONDS:
        raise InputError(f"rate: at {rate:g} requests/s, {workload.name} takes more than 1e9 s")
    return workload


def make_tenants(
    names: Sequence[str],
    rates: Sequence[float],
    duration: float,
    *,
    cv: Sequence[float] = (1.0,),
    lengths: str | tuple[int, int] = "sharegpt",
    seed: int = 0,
) -> Workload:
    """Make a workload in which each adapter is a tenant with requests of its own.

    Parameters
    ----------
    names : adapters, one tenant each.
    rates : requests/s per adapter, taken in turn: three rates go to adapters 1, 2, 3, 1, 2, ….
    duration : seconds.
    cv : coefficients of variation of the gaps between a tenant's requests, in turn; 1 is Poisson.
    lengths : a preset's name, or fixed prompt and output tokens.
    seed : same seed, same workload.

    Raises
    ------
    InputError
        If a value is out of range, or no request comes in the time.
    """
    _check("duration", duration, "seconds")
    if not (len(names) and len(rates) and len(cv)):
        raise InputError("adapter rates: need at least one adapter, one rate and one CV")
    for number in rates:
        _check("adapter rates", number, "requests/s")
    for number in cv:
        _check_cv("adapter rates", number)
    expected = sum(rates[k % len(rates)] for k in range(len(names))) * duration
    if expected > MOST_REQUESTS:
        raise InputError(f"adapter rates: make more than {MOST_REQUESTS} requests")
    rng = stream(seed, "arrivals")
    times = [
        renewal_times(rates[k % len(rates)], cv[k % len(cv)], duration, rng)
        for k in range(len(names))
    ]
    adapter = np.repeat(np.arange(len(names), dtype=np.int32), [len(part) for part in times])
    arrival = np.concatenate(times)
    order = np.argsort(arrival, kind="stable")
    count = len(order)
    if not count:
        raise InputError(f"duration: no request comes in {duration:g} s at these rates")
    if isinstance(lengths, str):
        prompt, output = Preset.open(lengths).lengths(count, stream(seed, "lengths"))
    else:
        if not all(1 <= number <= MOST_TOKENS for number in lengths):
            raise InputError(f"lengths: must be 1 to {MOST_TOKENS} tokens, not {lengths}")
        prompt, output = (np.full(count, number, dtype=np.int64) for number in lengths)
    return Workload(
        name=f"{len(names)} tenants",
        arrival_s=arrival[order],
        prompt=prompt,
        output=output,
        adapter=adapter[order],
        adapters=tuple(names),
        duration_s=float(duration),
    )


def _from_preset(
    preset: Preset,
    rate: float | None,
    duration: float | None,
    requests: int | None,
    cv: float | None,
    seed: int,
) -> Workload:
    own_rate = None if preset.duration_s is None else preset.requests / preset.duration_s
    used_rate = rate if rate is not None else own_rate
    if used_rate is None:
        raise InputError(f"{preset.name}: has lengths only; give a rate in requests/s")
    if requests is None and duration is None and own_rate is None:
        raise InputError(f"{preset.name}: has no length of its own; give requests or a duration")
    rng, end = stream(seed, "arrivals"), None
    if cv is None and own_rate is not None:
        count = requests if requests is not None else preset.requests
        if duration is not None:
            # Whole blocks cover any duration; what is too much is cut.
            needed = math.ceil(duration * used_rate / preset.requests) * preset.requests
            count = needed if requests is None else min(requests, needed)
        arrival = preset.arrivals(_affordable(count), rng) * (own_rate / used_rate)
    elif duration is not None:
        _affordable(duration * used_rate)
        arrival = renewal_times(used_rate, cv or 1.0, duration, rng)
        end = duration
    else:
        arrival = _process(requests or preset.requests, used_rate, cv or 1.0, rng)
    if not len(arrival):
        raise InputError(f"duration: no request comes in {duration:g} s at {used_rate:g} per s")
    prompt, output = preset.lengths(len(arrival), stream(seed, "lengths"))
    adapter = np.full(len(arrival), BASE, dtype=np.int32)
    end = float(arrival[-1]) if end is None else end
    return Workload(preset.name, arrival, prompt, output, adapter, (), end)


def _retimed(workload: Workload, rate: float | None, cv: float | None, seed: int) -> Workload:
    """A trace with its arrivals scaled or drawn anew."""
    span, count = workload.duration_s, len(workload)
    if rate is None and cv is not None:
        if span == 0:
            raise InputError(f"{workload.name}: all requests come at once; give a rate as well")
        rate = count / span
    if rate is None:
        return workload
    if cv is None and span > 0:
        factor = count / span / rate
        arrival = workload.arrival_s * factor
    else:
        arrival = _process(count, rate, cv or 1.0, stream(seed, "arrivals"))
    return dataclasses.replace(workload, arrival_s=arrival, duration_s=float(arrival[-1]))


def _process(count: int, rate: float, cv: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """``count`` arrivals with Gamma gaps."""
    shape = cv**-2
    return np.cumsum(rng.gamma(shape, 1 / (rate * shape), count))


def _cut(workload: Workload, duration: float | None, requests: int | None) -> Workload:
    count = len(workload)
    if requests is not None and requests > count and duration is None:
        raise InputError(f"requests: {workload.name} has {count}, not {requests}")
    end = workload.duration_s
    if duration is not None and duration < end:
        count, end = int(np.searchsorted(workload.arrival_s, duration, side="right")), duration
        if count == 0:
            raise InputError(
                f"duration: {workload.name} has no request in its first {duration:g} s"
            )
    if requests is not None and requests < count:
        count, end = requests, float(workload.arrival_s[requests - 1])
    if count == len(workload):
        return dataclasses.replace(workload, duration_s=float(end))
    prefixes = workload.prefixes
    if prefixes is not None:
        first = prefixes.first[: count + 1]
        prefixes = Prefixes(first, prefixes.hashes[: first[-1]])
    return dataclasses.replace(
        workload,
        arrival_s=workload.arrival_s[:count],
        prompt=workload.prompt[:count],
        output=workload.output[:count],
        adapter=workload.adapter[:count],
        duration_s=float(end),
        prefixes=prefixes,
    )


def _parse_arrivals(text: str) -> float | None:
    """The coefficient of variation, or None for the source's own arrivals."""
    word, _, number = text.partition(":")
    if text == "source":
        return None
    if text == "poisson":
        return 1.0
    if word != "gamma":
        near = did_you_mean(word, ("source", "poisson", "gamma"))
        raise InputError(f"arrivals: '{text}' is not source, poisson or gamma:CV{near}")
    try:
        cv = float(number)
    except ValueError:
        raise InputError(f"arrivals: '{text}' needs a number, as in gamma:4") from None
    _check_cv("arrivals", cv)
    return cv


def _check(where: str, value: float | None, unit: str) -> None:
    if value is not None and not 0 < value <= MOST_SECONDS:
        raise InputError(f"{where}: must be more than 0 and at most 1e9 {unit}, not {value}")


def _check_cv(where: str, cv: float) -> None:
    if not 0.01 <= cv <= 100:
        raise InputError(f"{where}: a coefficient of variation is 0.01 to 100, not {cv:g}")


def _affordable(count: Any) -> int:
    if count > MOST_REQUESTS:
        raise InputError(f"duration: rate and duration make more than {MOST_REQUESTS} requests")
    return math.ceil(count)
