"""Claims of the article "LoRA on Silicon", checked: a verdict and its arithmetic."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hardwire.experiments.validation.bench import Bench, Predicted
from hardwire.models.adapter.adapter import Adapter
from hardwire.models.area import area
from hardwire.models.published import PublishedRow
from hardwire.models.server import Server
from hardwire.models.sram import sram_budget
from hardwire.simulator.belief.draws import interval
from hardwire.simulator.closed_form import predict
from hardwire.simulator.datapath import adapter_bytes
from hardwire.simulator.supply import supply
from hardwire.simulator.swap import swap_latency

MILLISECOND = 1e-3

FREE = 1e-4
"""A loss of rate below this is none."""

WIDEST_BUS = 256


def _rate(bench: Bench, row: PublishedRow) -> Predicted:
    """With an adapter loaded, and without."""
    one, many = bench.predictions(row.conditions)
    bare, _ = bench.predictions({k: v for k, v in row.conditions.items() if k != "adapter"})
    value, without = float(one.decode_tokens_per_s_user), float(bare.decode_tokens_per_s_user)
    draws = np.asarray(many.decode_tokens_per_s_user, dtype=float)
    low, high = interval(draws)
    assert row.value is not None
    words = (
        f"{_rate_verdict(value, without, row.value, low, high)}: {value:,.0f} tokens/s ({low:,.0f} "
        f"to {high:,.0f}) with a rank-16 adapter on all linear layers, {without:,.0f} without: the "
        f"adapter costs {1 - value / without:.1%}. {_free_from(bench, row)}"
    )
    return Predicted(value, draws, words=words)


def _rate_verdict(value: float, without: float, claimed: float, low: float, high: float) -> str:
    """An interval that holds the claim is no evidence for it where the point says otherwise."""
    if not low <= claimed <= high:
        return "does not hold"
    return "holds" if 1 - value / without < FREE else "not confirmed, and not excluded"


def _free_from(bench: Bench, row: PublishedRow) -> str:
    """How wide a bus of the side paths' own would have to be for the adapter to cost nothing."""
    c = row.conditions
    chip, model = bench.chip(str(c["chip"])), bench.model(str(c["chip"]))
    widths = np.arange(chip.datapath.lanes, WIDEST_BUS + 1)
    wider = chip.with_values({"lora.activations_per_cycle": widths})
    prompt, output = int(c["prompt"]), int(c["output"])
    adapter = Adapter.from_shape(str(c["adapter"]), model)
    bare = predict(chip, model, prompt=prompt, output=output).token_s
    with_it = predict(wider, model, adapter=adapter, prompt=prompt, output=output).token_s
    free = np.asarray(with_it) <= float(bare) * (1 + FREE)
    if not free.any():
        return "No bus makes it free"
    width = int(widths[np.argmax(free)])
    mm2 = float(area(chip.with_values({"lora.activations_per_cycle": width}), model)["total"])
    return (
        f"It is free if the side paths hear {width} activations a cycle or more, and the blocks "
        f"then take {mm2:,.1f} of {chip.die.area_mm2:g} mm2"
    )


def _fit(bench: Bench, row: PublishedRow) -> Predicted:
    """What is free beside one user's KV cache, at the longest context and at a shorter one."""
    c = row.conditions
    name = str(c["chip"])

    def free(context: float) -> float:
        budget = sram_budget(bench.chip(name), bench.model(name), users=1, context_tokens=context)
        return float(budget.free_bytes)

    beside, shorter = free(float(c["context"])), free(float(c["shorter"]))
    smallest, largest = float(c["smallest_bytes"]), float(c["largest_bytes"])
    if beside >= largest:
        verdict = "holds"
    else:
        verdict = "holds in part" if beside >= smallest else "does not hold"
    drawn = sram_budget(
        bench.drawn(name), bench.model(name), users=1, context_tokens=float(c["context"])
    )
    words = (
        f"{verdict}: {beside / 1e6:.0f} MB are free beside {c['context']:,} tokens of KV, "
        f"{shorter / 1e6:.0f} MB beside {c['shorter']:,}. {smallest / 1e6:.0f} MB fit "
        f"{int(beside // smallest)} and {int(shorter // smallest)} times, {largest / 1e6:.0f} MB "
        f"{int(max(beside, 0) // largest)} and {int(shorter // largest)} times"
    )
    return Predicted(beside, np.asarray(drawn.free_bytes, dtype=float), words=words)


def _swap(bench: Bench, row: PublishedRow) -> Predicted:
    """From host memory over the link, by size; a resident adapter by simulation."""
    c = row.conditions
    name = str(c["chip"])
    link = bench.chip(name).link

    def seconds(size: float) -> float:
        return float(link.latency_us) * 1e-6 + size / (float(link.bandwidth_gb_per_s) * 1e9)

    small, low, high = (
        seconds(float(c[key])) for key in ("adapter_bytes", "model_bytes_low", "model_bytes_high")
    )
    adapter = Adapter.from_shape(str(c["adapter"]), bench.model(name))
    swap = swap_latency(bench.chip(name), bench.model(name), adapter)
    below = (MILLISECOND - float(link.latency_us) * 1e-6) * float(link.bandwidth_gb_per_s) * 1e9
    drawn = bench.drawn(name).link
    draws = drawn.latency_us * 1e-6 + float(c["adapter_bytes"]) / (drawn.bandwidth_gb_per_s * 1e9)
    verdict = "holds" if small <= MILLISECOND else "holds in part"
    words = (
        f"{verdict}: {float(c['adapter_bytes']) / 1e6:.0f} MB take {small * 1e3:.1f} ms from "
        f"the host, {low / small:.0f} to {high / small:.0f} times less than a model of "
        f"{float(c['model_bytes_low']) / 1e9:.0f} to {float(c['model_bytes_high']) / 1e9:.0f} GB "
        f"({low * 1e3:.0f} to {high * 1e3:.0f} ms). Below a millisecond only up to "
        f"{below / 1e6:.0f} MB, or where it is resident: {swap.resident * 1e9:.0f} ns. A rank-16 "
        f"adapter on all linear layers "
        f"({adapter_bytes(bench.chip(name), adapter) / 1e6:.0f} MB in 8 bits) takes "
        f"{swap.warm * 1e3:.1f} ms, {swap.streamed * 1e3:.2f} ms if layers stream"
    )
    return Predicted(small, np.asarray(draws, dtype=float), words=words)


def _many(bench: Bench, row: PublishedRow) -> Predicted:
    """Adapters that lie in SRAM and in host memory, and what changing to another one costs."""
    c = row.conditions
    name = str(c["chip"])
    chip, model = bench.chip(name), bench.model(name)
    adapter = Adapter.from_shape(str(c["adapter"]), model)
    size = adapter_bytes(chip, adapter)
    context = int(c["prompt"]) + int(c["output"])
    budget = sram_budget(chip, model, users=1, context_tokens=context)
    resident = int(budget.free_bytes // size)
    memory = Server.open(str(c["server"])).machine.host_memory_gib * 2**30
    host = int(memory // supply(chip, model, adapter).host_bytes)
    load = predict(chip, model, adapter=adapter, prompt=int(c["prompt"]), output=int(c["output"]))
    request_s = float(load.ttft_s) + int(c["output"]) * float(load.token_s)
    swap = swap_latency(chip, model, adapter)
    free = np.asarray(
        sram_budget(bench.drawn(name), model, users=1, context_tokens=context).free_bytes
    )
    words = (
        f"holds for adapters, not for base models: {resident} adapters of rank 16 lie in SRAM "
        f"beside {context:,} tokens of KV, {host:,} in the host's memory. A request of "
        f"{c['prompt']:,} and {c['output']:,} tokens whose adapter is there waits "
        f"{swap.streamed * 1e3:.1f} ms, "
        f"{swap.streamed / request_s:.1%} of its time; for a resident one "
        f"{swap.resident * 1e9:.0f} ns"
    )
    return Predicted(float(resident), np.floor(free / size), words=words)


PREDICTORS: dict[str, Callable[[Bench, PublishedRow], Predicted]] = {
    "claim_rate": _rate,
    "claim_fit": _fit,
    "claim_swap": _swap,
    "claim_many": _many,
}
