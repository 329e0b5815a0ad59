"""Prompts on one server, decoding on another: keys and values go over a link in between.

The GPU server computes each prompt and its first token. The prompt's keys and values, in the format
of the decoding chip, then go over a link, one request's behind the other's. With their last byte
the request comes to the hardwired server, which makes the other tokens. Nothing flows back, so the
three are computed one after the other.
"""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hardwire.models.adapter.adapter import Adapter
from hardwire.models.errors import InputError
from hardwire.models.server_split import SplitServer
from hardwire.simulator.serving.cards.hardware import Hardware
from hardwire.simulator.serving.cards.server import CardServer
from hardwire.simulator.serving.gpu.server import simulate_batch
from hardwire.simulator.serving.load.workload import Workload
from hardwire.simulator.serving.log import Handover, ServingLog, Spans, Status
from hardwire.simulator.serving.policies.policy import Policy

KV_TRANSFER = "kv transfer"


@dataclass(frozen=True)
class Sent:
    """Keys and values over links, by request; NaN and 0 where nothing was sent.

    Attributes
    ----------
    begin_s, end_s : (N,) when a link begins to send, and when the last byte has arrived.
    bytes : (N,) int64
    busy_s : of each link.
    """

    begin_s: NDArray[np.float64]
    end_s: NDArray[np.float64]
    bytes: NDArray[np.int64]
    busy_s: NDArray[np.float64]


def send(
    server: SplitServer,
    ready_s: NDArray[np.float64],
    tokens: NDArray[np.int64],
    bytes_per_token: float,
) -> Sent:
    """Send what is ready, first come first served, each request over the link that is free first.

    Parameters
    ----------
    ready_s : (N,) seconds; NaN where nothing is sent.
    tokens : (N,) of each request's prompt.
    """
    count = len(ready_s)
    begin_s, end_s = np.full(count, np.nan), np.full(count, np.nan)
    size = np.where(np.isfinite(ready_s), np.ceil(tokens * bytes_per_token), 0).astype(np.int64)
    links = int(server.handover.kv_links)
    free = [(0.0, link) for link in range(links)]
    busy_s = np.zeros(links)
    order = np.argsort(ready_s, kind="stable")
    for request in order[: int(np.isfinite(ready_s).sum())].tolist():
        at, link = heapq.heappop(free)
        begin = max(at, float(ready_s[request]))
        taken = float(size[request]) / server.bytes_per_s
        heapq.heappush(free, (begin + taken, link))
        busy_s[link] += taken
        begin_s[request], end_s[request] = begin, begin + taken + server.latency_s
    return Sent(begin_s, end_s, size, busy_s)


def serve_split(
    server: SplitServer,
    hardware: Hardware,
    workload: Workload,
    adapters: Sequence[Adapter],
    policy: Policy,
    *,
    seed: int = 0,
    engine: Literal["events", "compiled", "reference"] = "events",
    until_s: float | None = None,
    progress: Callable[[float], None] | None = None,
) -> ServingLog:
    """Replay a workload; for parameters see ``hardwire.simulator.serving.replay``.

    Raises
    ------
    InputError
        As ``replay`` of either server; on a closed loop, or prefix reuse, which is the GPU
        server's matter.
    """
    if workload.concurrency is not None:
        raise InputError(
            f"--concurrency: {server.name} is two servers, of which the first does not know when "
            "the second is done"
        )
    if policy.prefix_reuse:
        raise InputError(
            f"--prefix-reuse: prompts of {server.name} are computed on its GPU server, whose "
            "prefix cache is not modelled"
        )
    behind = np.maximum(workload.output - 1, 1)
    # The first token is the last of what the chip finds; its own keys and values are yet to come.
    rest = dataclasses.replace(workload, prompt=workload.prompt + 1, output=behind, prefixes=None)
    rest = dataclasses.replace(rest, prefilled=workload.prompt)
    decode = CardServer(server.decode, hardware, rest, adapters, policy, seed, engine)
    refused = decode.status != Status.UNFINISHED
    refused &= workload.output > 1  # of one token only the GPU server
    kept = np.flatnonzero(~refused)
    mine = workload.take(kept)
    prefill = simulate_batch(
        server.prefill,
        dataclasses.replace(mine, output=np.ones_like(mine.output), prefixes=None),
        adapters,
        until_s=until_s,
        progress=progress,
        engine="reference" if engine == "reference" else "compiled",
    )
    ready_s = np.full(len(workload), np.nan)
    goes_on = (prefill.status == Status.COMPLETED) & (mine.output > 1)
    ready_s[kept[goes_on]] = prefill.finish_s[goes_on]
    sent = send(server, ready_s, workload.prompt, hardware.kv_bytes_per_token)
    moved = np.flatnonzero(np.isfinite(sent.end_s))
    order = moved[np.argsort(sent.end_s[moved], kind="stable")]
    log = decode.resumed(order, sent.end_s[order]).serve(until_s, progress)
    return _joined(server, workload, decode.status, refused, kept, prefill, sent, order, log)


def _joined(
    server: SplitServer,
    workload: Workload,
    of_decode: NDArray[np.int8],
    refused: NDArray[np.bool_],
    kept: NDArray[np.int64],
    prefill: ServingLog,
    sent: Sent,
    order: NDArray[np.int64],
    decode: ServingLog,
) -> ServingLog:
    """One log: a request's begin is the GPU's, and its end the chip's."""
    end_s = max(prefill.end_s, decode.end_s)
    first, then = prefill.lasting(end_s), decode.lasting(end_s)
    columns: dict[str, Any] = {
        name: np.full(len(workload), {"unit": -1, "adapter_hit": -1}.get(name, 0), values.dtype)
        for name, values in first.to_arrays().items()
    }
    for name, values in first.to_arrays().items():
        if name.endswith("_s") and name != "swap_wait_s":
            columns[name][:] = np.nan
        columns[name][kept] = values
    columns["unit"][:] = -1
    columns["status"][refused] = of_decode[refused]
    columns["finish_s"][refused] = workload.arrival_s[refused]
    again = then.to_arrays()
    columns["status"][order] = again["status"]
    columns["finish_s"][order] = again["finish_s"]
    columns["generated"][order] += again["generated"]
    columns["unit"][order] = again["unit"]
    columns["swap_wait_s"][order] += again["swap_wait_s"]
    columns["preemptions"][order] += again["preemptions"]
    # An adapter is there where both servers have it.
    columns["adapter_hit"][order] = np.minimum(columns["adapter_hit"][order], again["adapter_hit"])
    links_w = int(server.handover.kv_links) * server.hops * float(server.link.idle_w)
    links_j = server.hops * float(server.link.energy_j(float(sent.bytes.sum())))
    energy = {f"gpu_{part}": joules for part, joules in first.energy_by_j.items()}
    energy |= then.energy_by_j
    energy["kv_links"] = links_j + links_w * end_s
    rest_w = {f"gpu_{part}": watts for part, watts in first.rest_w.items()}
    rest_w |= then.rest_w
    rest_w["kv_links"] = links_w
    moved = order[np.argsort(sent.begin_s[order], kind="stable")]
    transfers = Spans(
        KV_TRANSFER,
        np.full(len(moved), -1, np.int32),
        workload.adapter[moved].astype(np.int32),
        sent.begin_s[moved],
        sent.end_s[moved],
        sent.bytes[moved],
    )
    loads = first.spans[0]
    on_gpu = dataclasses.replace(
        loads, kind="gpu adapter load", unit=np.full(len(loads.unit), -1, np.int32)
    )
    return dataclasses.replace(
        then,
        **columns,
        busy_s={**then.busy_s, "gpu": first.busy_s["compute"], "kv link": sent.busy_s},
        spans=(*then.spans, on_gpu, transfers),
        end_s=end_s,
        energy_j=sum(energy.values()),
        energy_by_j=energy,
        rest_w=rest_w,
        capex_usd_per_s=first.capex_usd_per_s + then.capex_usd_per_s,
        swaps=first.swaps + then.swaps,
        warnings=(*first.warnings, *then.warnings),
        definitions={
            **then.definitions,
            "start": "the begin of the step of the GPU server in which the request is let in",
            "first token": "of the GPU server",
            "hit": "its adapter was on the GPU and in SRAM when the request was let in there",
            "swap": "a load of an adapter, into a GPU slot or into SRAM",
        },
        handover=_handover(workload, first, kept, sent, order, then),
    )


def _handover(
    workload: Workload,
    prefill: ServingLog,
    kept: NDArray[np.int64],
    sent: Sent,
    order: NDArray[np.int64],
    decode: ServingLog,
) -> Handover:
    start_s, first_s, came_s, wait_s, second_s = (np.full(len(workload), np.nan) for _ in range(5))
    start_s[kept], first_s[kept] = prefill.start_s, prefill.first_token_s
    came_s[order], second_s[order] = decode.start_s, decode.first_token_s
    wait_s[order] = np.where(np.isfinite(decode.start_s), decode.swap_wait_s, np.nan)
    return Handover(
        queue_s=start_s - workload.arrival_s,
        prefill_s=first_s - start_s,
        link_queue_s=sent.begin_s - first_s,
        transfer_s=sent.end_s - sent.begin_s,
        decode_queue_s=came_s - sent.end_s,
        swap_s=wait_s,
        second_s=second_s - first_s,
        kv_bytes=sent.bytes,
    )
