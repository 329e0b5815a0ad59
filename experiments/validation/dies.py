"""Systems of several dies: hops, links, masks and recurring cost, and what others' models claim."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from hardwire.experiments.system.answer import ask
from hardwire.experiments.system.plan import layer_weights
from hardwire.experiments.validation.bench import Bench, Predicted
from hardwire.models.cost import die_cost_usd, mask_cost_usd
from hardwire.models.language_model import LanguageModel
from hardwire.models.published import PublishedRow
from hardwire.models.system.contents import contents
from hardwire.models.system.link import LinkKind
from hardwire.models.system.placement import Stage, evenly
from hardwire.models.system.system import System
from hardwire.simulator.system.closed_form import rates


def _link(row: PublishedRow, **values: float) -> LinkKind:
    kind = LinkKind.open(str(row.conditions["link"]))
    return dataclasses.replace(kind, sheet=dataclasses.replace(kind.sheet, **values))


def _hops(bench: Bench, row: PublishedRow) -> Predicted:
    """A token over dies in a row, with the longer hops and with the shorter ones."""
    c = row.conditions
    model = LanguageModel.by_name(str(c["model"]))
    cut = evenly(layer_weights(model, embedded=False), int(c["dies"]))
    stages = [Stage(layers, (f"d{number}",)) for number, layers in enumerate(cut)]

    def token_s(latency_ns: float) -> float:
        kind = _link(row, latency_ns=latency_ns)
        system = System.pipeline("hops", bench.chip(str(c["chip"])), model, kind, stages)
        return float(rates(system, prompt=64, output=64).token_s)

    shorter = float(c["latency_ns"])
    return Predicted(token_s(shorter + float(c["more_ns"])) - token_s(shorter))


def _respin(bench: Bench, row: PublishedRow) -> Predicted:
    """Masks of all dies that hold different weights; those without weights are kept."""
    system = bench.once("system", str(row.conditions["system"]), System.open)
    (chip,) = {id(die.chip): die.chip for die in system.dies}.values()
    priced = chip.with_values({"process.mask_set_usd": float(row.conditions["set_usd"])})
    variants = sum(bool(one.weights) for one in contents(system).values())
    return Predicted(float(mask_cost_usd(priced, variants, shared=False)["total"]))


def _recurring(bench: Bench, row: PublishedRow) -> Predicted:
    """Die, package, test and what is around it, at one end of the published ranges."""
    chip = bench.chip(str(row.conditions["chip"]))
    end = 0 if row.conditions["end"] == "low" else 1
    usd = float(die_cost_usd(chip, chip.die.area_mm2))
    for name in ("cost.package_test_usd", "cost.board_usd"):
        limits = chip.parameters[name].range
        assert limits is not None
        usd += limits[end]
    return Predicted(usd)


def _r1(bench: Bench, row: PublishedRow) -> Predicted:
    c = row.conditions
    system = bench.once("system", str(c["system"]), System.open)
    found = ask(system, prompt=int(c["prompt"]), output=int(c["output"]))
    value, parts = found.decode_tokens_per_s_user, found.unlimited.latency_s
    assert row.value is not None
    verdict = "within a factor of two" if value > row.value / 2 else "not reached here"
    words = (
        f"{verdict}: {value:,.0f} tokens/s with dies that have HC1's clock, lanes and attention: "
        f"{float(parts['compute']) * 1e6:,.0f} us of matrices and norms, "
        f"{float(parts['attention']) * 1e6:,.0f} of attention and "
        f"{float(parts['link_latency']) * 1e6:,.1f} on links; 12,382 leave 81 us in all. "
        f"{len(found.obstacles)} of {found.dies} dies overflow"
    )
    return Predicted(value, words=words)


def _array(bench: Bench, row: PublishedRow) -> Predicted:
    """Its own rate at the short delay, and what this simulator's hops make of the longer one."""
    c = row.conditions
    more = int(c["dies"]) * (float(c["to_us"]) - float(c["from_us"])) * 1e-6
    value = 1 / (1 / float(c["tokens_per_s"]) + more)
    assert row.value is not None
    words = (
        f"much the same: {int(c['dies'])} hops that take {float(c['to_us']):g} instead of "
        f"{float(c['from_us']):g} us make {value:,.0f} of its {c['tokens_per_s']:,} tokens/s, "
        f"{1 - value / float(c['tokens_per_s']):.0%} less; its model says "
        f"{1 - row.value / float(c['tokens_per_s']):.0%} less"
    )
    return Predicted(value, words=words)


PREDICTORS: dict[str, Callable[[Bench, PublishedRow], Predicted]] = {
    "hop_s": _hops,
    "link_bytes_per_s": lambda bench, row: Predicted(
        float(_link(row, lanes=float(row.conditions["lanes"])).bandwidth)
    ),
    "link_idle_w": lambda bench, row: Predicted(
        float(_link(row, lanes=float(row.conditions["lanes"])).idle_w)
    ),
    "respin_usd": _respin,
    "recurring_usd": _recurring,
    "claim_r1": _r1,
    "claim_array": _array,
}
