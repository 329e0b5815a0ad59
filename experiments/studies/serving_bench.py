"""What the serving study is made of: runs, the capacity of a server, and a fleet of GPUs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hardwire.models.chip import Chip
from hardwire.models.errors import InputError
from hardwire.models.gpu_server import BatchServer
from hardwire.models.language_model import LanguageModel
from hardwire.models.server import Server
from hardwire.simulator.serving.load.adapters import AdapterSet
from hardwire.simulator.serving.load.popularity import assign_adapters, parse_popularity
from hardwire.simulator.serving.load.synthetic import make_workload, stream
from hardwire.simulator.serving.load.workload import Workload
from hardwire.simulator.serving.metrics import Slo, summarize
from hardwire.simulator.serving.policies.policy import Policy
from hardwire.simulator.serving.replay import AnyServer, open_server, replay

TRACE = "azure-conv"
SLO = Slo(ttft_s=0.5, tpot_s=0.05)
SLOS = (Slo(0.2, 0.02), SLO, Slo(2.0, 0.1), Slo(5.0, 0.2))
SHARE = 0.99
"""Share of all requests, refused ones included, that must meet the SLO."""

BACKLOG = 0.03
"""Longest median TTFT of the last tenth of the requests, of the time that all took to arrive:
a queue that grows by more in a short run would break the SLO in a longer one."""

HARDWIRED = ("hc1x10", "hc1x10-pipelined")
GPU = "vllm-h100"
BASE_ONLY = ("trtllm-h100", "trtllm-h200")
GPU_SLOTS = (8, 16, 32, 64, 128, 256)
UNIFORM, LOCAL = "uniform", "local:0.83:8"
BASE_POLICY = Policy(routing="least_loaded")
AFFINE = Policy(routing="affine_spill", spill_s=0.05)
PUBLISHED_SERVER_W = 2500.0
"""Ten cards of 200 W and a host of 500 W, as published; the model says 2.3 to 2.4 kW."""

SLOWEST_RATE, FASTEST_RATE = 0.02, 20_000.0
Row = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """How much is run.

    Attributes
    ----------
    adapters : numbers of adapters in question 1.
    popularities : of question 1.
    requests : of a run, by server; the pipelined server serves its requests so fast that fewer
        would end before an overload shows.
    tolerance : relative width at which the search for a capacity ends.
    draws : of the uncertain parameters.
    drawn_requests, drawn_tolerance : of the runs under drawn parameters.
    many : adapters of questions 2 and 3.
    servers : hardwired ones.
    variants : of the policy, the base one included.
    slos : of question 1.
    """

    adapters: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)
    popularities: tuple[str, ...] = (UNIFORM, LOCAL)
    requests: tuple[int, int] = (4000, 6000)
    tolerance: float = 0.03
    draws: int = 32
    drawn_requests: int = 3000
    drawn_tolerance: float = 0.06
    many: int = 256
    servers: tuple[str, ...] = HARDWIRED
    variants: int = 15
    slos: tuple[Slo, ...] = SLOS

    def count(self, server: str) -> int:
        """Requests of a run on a server."""
        return self.requests[server == "hc1x10-pipelined"]


QUICK = Settings((1, 8, 64), (UNIFORM,), (600, 600), 0.3, 2, 600, 0.3, 64, ("hc1x10",), 3, (SLO,))


class Bench:
    """Runs of one study: servers, the model's adapters and workloads, each made once."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.model = LanguageModel.open("llama-3.1-8b")
        self.chip = Chip.open("hc1")
        self.servers = {name: open_server(name) for name in (*HARDWIRED, GPU, *BASE_ONLY)}
        self._loads: dict[tuple[int, int, str], Workload] = {}

    def load(self, requests: int, adapters: int, popularity: str) -> Workload:
        """A workload of one request per second, Poisson, with the trace's lengths."""
        key = requests, adapters, popularity
        if key not in self._loads:
            plain = make_workload(TRACE, rate=1.0, requests=requests, arrivals="poisson")
            word, _, shuffled = popularity.partition(" ")
            names = AdapterSet.equal(adapters, self.model).names
            load = assign_adapters(plain, names, parse_popularity(word))
            if shuffled:
                order = stream(0, "shuffle").permutation(len(load))
                load = load.with_adapters(names, load.adapter[order])
            self._loads[key] = load
        return self._loads[key]

    def run(
        self,
        server: AnyServer,
        load: Workload,
        policy: Policy,
        slo: Slo = SLO,
        chip: Chip | None = None,
    ) -> Row:
        """Numbers of one replay, with what the server costs per second."""
        adapters = AdapterSet.equal(len(load.adapters), self.model).adapters
        hardwired = (chip or self.chip) if isinstance(server, Server) else None
        log = replay(server, load, adapters, policy, chip=hardwired)
        row = summarize(load, log, slo, server=server.name)
        waited = (log.first_token_s - load.arrival_s)[-(-len(load) * 9 // 10) :]
        row["backlog"] = np.nanmedian(waited) / load.duration_s
        row["good"] = bool(row["slo_met"] >= SHARE and row["backlog"] <= BACKLOG)
        row["usd_per_s"] = log.capex_usd_per_s + log.energy_usd_per_j * row["server_power_w"]
        return row

    def capacity(
        self,
        server: AnyServer,
        load: Workload,
        policy: Policy = BASE_POLICY,
        slo: Slo = SLO,
        *,
        guess: float = 10.0,
        tolerance: float | None = None,
        chip: Chip | None = None,
    ) -> Row:
        """The highest rate that the server keeps up with, and the run at it.

        Keeping up is that ``SHARE`` of all requests meet the SLO and the queue does not grow
        (``BACKLOG``). All rates see the same requests in the same order, so that the share hardly
        ever rises with the rate. ``rate`` is 0 where no rate will do; ``note`` says if the server
        cannot start.
        """

        def attempt(rate: float) -> Row:
            scaled = dataclasses.replace(
                load, arrival_s=load.arrival_s / rate, duration_s=load.duration_s / rate
            )
            return {**self.run(server, scaled, policy, slo, chip), "rate": rate, "note": ""}

        try:
            return highest(attempt, guess, tolerance or self.settings.tolerance)
        except InputError as error:
            return {"rate": 0.0, "note": str(error)}

    def gpu(
        self,
        load: Workload,
        slo: Slo = SLO,
        server: BatchServer | None = None,
        slots: Sequence[int] = GPU_SLOTS,
        tolerance: float | None = None,
    ) -> tuple[Row, list[Row]]:
        """Capacity of the GPU with the best number of adapter slots, and with each."""
        chosen = server or self.servers[GPU]
        tried = []
        for count in sorted({min(len(load.adapters), number) for number in slots}):
            policy = Policy(slots=count)
            row = self.capacity(chosen, load, policy, slo, guess=4.0, tolerance=tolerance)
            tried.append({**row, "slots": count})
        return max(tried, key=lambda row: row["rate"]), tried


def highest(attempt: Callable[[float], Row], guess: float, tolerance: float) -> Row:
    """The row of the highest rate found ``good``, within a relative tolerance.

    Brackets the capacity from a guess by factors of 1.1, then 1.4, and halves the bracket in the
    logarithm. Where even the slowest rate fails, the row of that rate with ``rate`` 0.
    """

    low, high, step, rate = 0.0, math.inf, 1.1, guess
    best: Row = {}
    while low == 0 or high == math.inf:
        row = attempt(rate)
        if row["good"]:
            low, best = rate, row
        else:
            high = rate
        if high <= SLOWEST_RATE:
            return {**row, "rate": 0.0}
        if low >= FASTEST_RATE:
            return best
        if low == 0:
            rate = max(rate / step, SLOWEST_RATE)
        elif high == math.inf:
            rate *= step
        step = 1.4
    while high / low > 1 + tolerance:
        rate = math.sqrt(low * high)
        row = attempt(rate)
        if row["good"]:
            low, best = rate, row
        else:
            high = rate
    return best


def shown(row: Row, **more: Any) -> Row:
    """The columns of a run that the tables keep, after those given."""
    if row["rate"] == 0:
        return {**more, "capacity_per_s": 0.0, "note": row["note"] or "SLO not met at any rate"}
    return {
        **more,
        "capacity_per_s": row["rate"],
        "server_power_w": row["server_power_w"],
        "usd_per_s": row["usd_per_s"],
        "j_per_request": row["server_power_w"] / row["rate"],
        "usd_per_million_requests": 1e6 * row["usd_per_s"] / row["rate"],
        "ttft_p99_s": row["ttft_s"]["p99"],
        "tpot_p99_s": row["tpot_s"]["p99"],
        "hit_rate": row["adapter_hit_rate"],
        "note": "",
    }


class Fleet:
    """GPUs that share adapters and load evenly, each adapter on one of them.

    Made from the measured capacities of one GPU; between two numbers of adapters the capacity is
    interpolated in the logarithm of the number.
    """

    def __init__(self, rows: Iterable[Row], popularity: str) -> None:
        of_gpu = [r for r in rows if r["server"] == GPU and r["popularity"] == popularity]
        self._log = np.log([r["adapters"] for r in of_gpu])
        # More adapters never help; what rises by chance is flattened.
        self._rate = np.minimum.accumulate([r["capacity_per_s"] for r in of_gpu])
        self.power_w = max(r.get("server_power_w", 0.0) for r in of_gpu)
        self.usd_per_s = max(r.get("usd_per_s", 0.0) for r in of_gpu)

    def one(self, adapters: float) -> float:
        """Capacity of one GPU with so many adapters."""
        return float(np.interp(math.log(max(adapters, 1)), self._log, self._rate))

    def rate(self, gpus: int, adapters: int) -> float:
        """Requests per second that so many GPUs serve."""
        return gpus * self.one(math.ceil(adapters / gpus))

    def gpus(self, rate: float, adapters: int) -> int:
        """GPUs that it takes for a rate."""
        count = 1
        while self.rate(count, adapters) < rate:
            count += 1
        return count

    def passed(self, adapters: int, rising: Callable[[float], float], each: float) -> float:
        """Load above which the fleet takes more than a server does at that load.

        ``rising`` is what the server takes (W or USD/s) by load, ``each`` what one GPU takes.
        """
        count, rate = 0, 0.0
        while (count + 1) * each <= rising(rate):
            count += 1
            rate = self.rate(count, adapters)
        return rate
