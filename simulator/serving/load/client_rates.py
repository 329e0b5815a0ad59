"""Tenants with measured rates: requests/s and burstiness of each client, window by window."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hardwire.models.errors import InputError
from hardwire.models.files import file_size
from hardwire.simulator.serving.load.synthetic import MOST_REQUESTS, Preset, renewal_times, stream
from hardwire.simulator.serving.load.traces.cells import BadCellError, numbers
from hardwire.simulator.serving.load.traces.source import delimiter_of, open_text
from hardwire.simulator.serving.load.traces.times import MOST_SECONDS
from hardwire.simulator.serving.load.workload import Workload

_MOST_ROWS = 10_000_000
# By window, and as one row per client that holds for all time.
_COLUMNS = ("client", "t_s", "rate", "cv"), ("client", "mean_rate_req_s", "rate_weighted_cv")


@dataclass(frozen=True)
class ClientRates:
    """Rates of clients, those with the most requests first.

    Attributes
    ----------
    name : where they come from.
    clients : (C,) names.
    window_s : length of a window; infinite where the rates hold for all time.
    rate : (C, W) requests/s, 0 where the client is silent.
    cv : (C, W) coefficient of variation of the gaps between requests.
    """

    name: str
    clients: tuple[str, ...]
    window_s: float
    rate: NDArray[np.float64]
    cv: NDArray[np.float64]

    @classmethod
    def open(cls, path: str | Path) -> ClientRates:
        """Read a CSV file, plain or compressed.

        Its header has ``client,t_s,rate,cv`` (a row per client and window; windows without a row
        are silent) or ``client,mean_rate_req_s,rate_weighted_cv`` (a row per client), among other
        columns, which are not used: as tables of ServeGen's clients have (alibaba/ServeGen).

        Raises
        ------
        InputError
            If the file cannot be read, a column is missing, a cell is malformed or out of range,
            or windows are not of one length. The sentence names the column.
        """
        path = Path(path)
        file_size(path)
        try:
            header, rows = _read(path)
        except csv.Error as error:
            raise InputError(f"{path}: is not CSV ({error})") from None
        except UnicodeDecodeError:
            raise InputError(f"{path}: is not UTF-8 text") from None
        columns = next((wanted for wanted in _COLUMNS if set(wanted) <= set(header)), None)
        if columns is None:
            known = " or ".join(map(",".join, _COLUMNS))
            raise InputError(f"{path}: line 1: the header must have the columns {known}")
        for number, row in enumerate(rows, 2):
            if len(row) != len(header):
                raise InputError(
                    f"{path}: row {number}: has {len(row)} cells where the header has {len(header)}"
                )
        cells = dict(zip(header, zip(*rows, strict=True), strict=True))
        names = [name.strip() for name in cells["client"]]
        *time, rate, cv = columns[1:]
        try:
            rates = numbers(rate, cells[rate], float, 0, MOST_SECONDS, is_text=True)
            cvs = numbers(cv, cells[cv], float, 0.01, 1000, is_text=True)
            begins = np.zeros(len(rows))
            if time:
                begins = numbers(time[0], cells[time[0]], float, 0, MOST_SECONDS, is_text=True)
        except BadCellError as bad:
            raise InputError(
                f"{path}: row {bad.row + 2}, column {bad.column}: {bad.problem}"
            ) from None
        return cls._of(path, names, begins, rates, cvs)

    @classmethod
    def _of(
        cls,
        path: Path,
        names: Sequence[str],
        begins: NDArray[np.float64],
        rates: NDArray[np.float64],
        cvs: NDArray[np.float64],
    ) -> ClientRates:
        places = {name: place for place, name in enumerate(dict.fromkeys(names))}
        client = np.array([places[name] for name in names])
        known = np.unique(begins)
        window_s = float(np.diff(known).min()) if len(known) > 1 else math.inf
        window = np.zeros(len(begins), dtype=np.int64)
        if len(known) > 1:
            share = (begins - known[0]) / window_s
            window = np.rint(share).astype(np.int64)
            if (np.abs(share - window) > 1e-6).any():
                raise InputError(f"{path}: column t_s: windows must be of one length, as 600 s")
        if len(places) * (int(window.max()) + 1) > _MOST_ROWS:
            raise InputError(f"{path}: has more than {_MOST_ROWS:,} clients times windows")
        shape = len(places), int(window.max()) + 1
        cell = np.ravel_multi_index((client, window), shape)
        again = np.setdiff1d(np.arange(len(cell)), np.unique(cell, return_index=True)[1])
        if len(again):
            row = int(again[0])
            raise InputError(f"{path}: row {row + 2}: client {names[row]} is there twice")
        rate, cv = np.zeros(shape), np.ones(shape)
        rate.flat[cell], cv.flat[cell] = rates, cvs
        if not rate.any():
            raise InputError(f"{path}: no client has any request")
        order = np.argsort(-rate.sum(axis=1), kind="stable")
        clients = tuple(np.array([*places], dtype=object)[order])
        return cls(path.name, clients, window_s, rate[order], cv[order])

    @property
    def span_s(self) -> float:
        """Seconds that the windows cover."""
        return self.window_s * self.rate.shape[1]

    def workload(
        self,
        names: Sequence[str],
        duration: float,
        *,
        rate: float | None = None,
        lengths: str = "sharegpt",
        seed: int = 0,
    ) -> Workload:
        """Make a workload in which each adapter has the requests of one client.

        Within a window a client's requests are a stationary renewal process with Gamma gaps.

        Parameters
        ----------
        names : adapters, given the clients in turn, beginning with the one with most requests.
        duration : seconds from the first window's begin.
        rate : mean requests/s of all together; every client's is scaled by one factor.
        lengths : a preset's name.
        seed : same seed, same workload.

        Raises
        ------
        InputError
            If the windows end before, there would be too many requests, or none comes.
        """
        if duration > self.span_s:
            raise InputError(f"duration: {self.name} has the rates of {self.span_s:g} s")
        rng = stream(seed, "arrivals")
        count = 1 if math.isinf(self.window_s) else math.ceil(duration / self.window_s)
        begins = np.arange(count) * (0.0 if count == 1 else self.window_s)
        spans = np.minimum(duration - begins, self.window_s)
        rows = [k % len(self.clients) for k in range(len(names))]
        expected = float((self.rate[rows, :count] * spans).sum())
        if expected == 0:
            raise InputError(f"duration: none of the clients has a request in {duration:g} s")
        factor = 1.0 if rate is None else rate * duration / expected
        if expected * factor > MOST_REQUESTS:
            raise InputError(
                f"{self.name}: its rates make {expected * factor:,.0f} requests, more than "
                f"{MOST_REQUESTS:,}; give a lower rate or a shorter duration"
            )
        times, adapter = [], []
        for number, row in enumerate(rows):
            for window in np.flatnonzero(self.rate[row, :count]):
                found = renewal_times(
                    float(self.rate[row, window]) * factor,
                    float(self.cv[row, window]),
                    float(spans[window]),
                    rng,
                )
                times.append(begins[window] + found)
                adapter.append(np.full(len(found), number, dtype=np.int32))
        arrival = np.concatenate(times)
        if not len(arrival):
            raise InputError(f"duration: no request comes in {duration:g} s at these rates")
        order = np.argsort(arrival, kind="stable")
        prompt, output = Preset.open(lengths).lengths(len(order), stream(seed, "lengths"))
        return Workload(
            name=self.name,
            arrival_s=arrival[order],
            prompt=prompt,
            output=output,
            adapter=np.concatenate(adapter)[order],
            adapters=tuple(names),
            duration_s=float(duration),
        )


def _read(path: Path) -> tuple[list[str], list[list[str]]]:
    with open_text(path) as file:
        first = file.readline()
        mark = delimiter_of(first)
        header = [name.strip().lower() for name in next(csv.reader([first], delimiter=mark), [])]
        rows = (row for row in csv.reader(file, strict=True, delimiter=mark) if row)
        found = list(islice(rows, _MOST_ROWS + 1))
    if not found:
        raise InputError(f"{path}: holds no clients")
    if len(found) > _MOST_ROWS:
        raise InputError(f"{path}: has more than {_MOST_ROWS:,} rows")
    return header, found
