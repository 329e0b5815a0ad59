"""Random systems of several dies, small enough for the reference engine."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st
from strategies import HC1

from hardwire.models import Adapter, Chip, LanguageModel
from hardwire.models.errors import InputError
from hardwire.models.language_model import Experts, LatentAttention
from hardwire.models.system.link import LinkKind
from hardwire.models.system.placement import (
    COLLECTIVES,
    HOST,
    KV_SPLITS,
    SPLITS,
    Placement,
    Stage,
    dealt,
)
from hardwire.models.system.system import Die, System
from hardwire.models.system.topology import links_of
from hardwire.simulator.requests import LOAD_MODES, AdapterLoad, Requests
from hardwire.simulator.system.routing import Routing

SMALL = {
    "layers": 3, "hidden": 16, "intermediate": 24, "heads": 4, "kv_heads": 4, "head_dim": 4,
    "vocab": 50,
}  # fmt: skip
EXPERTS = Experts(count=5, active=2, intermediate=8)
DENSE = replace(LanguageModel.open("llama-3.1-8b"), name="dense", **SMALL)
SLIDING = replace(
    LanguageModel.open("gpt-oss-20b"), name="sliding", sliding_window=3, sliding_layers=(0, 2),
    experts=EXPERTS, **SMALL,
)  # fmt: skip
LATENT = replace(
    LanguageModel.open("deepseek-v3"), name="latent", dense_layers=(0,),
    experts=replace(EXPERTS, shared=1), latent=LatentAttention(8, 8, 4, 4, 4),
    **{**SMALL, "head_dim": 8},
)  # fmt: skip
MODELS = (DENSE, SLIDING, LATENT)
BOARD = LinkKind.open("board")


def kinds(way: str) -> st.SearchStrategy[LinkKind]:
    def build(rate: float, latency: float, port: float) -> LinkKind:
        sheet = replace(BOARD.sheet, way=way, lane_gb_per_s=rate, lanes=1, latency_ns=latency)
        return LinkKind("small", "small", replace(sheet, port_gb_per_s=port), {})

    return st.builds(
        build,
        rate=st.sampled_from([0.5, 2.0, 8.0]),
        latency=st.sampled_from([0.0, 1.0, 6.5]),
        port=st.sampled_from([math.inf, math.inf, 3.0]),
    )


@st.composite
def small_chips(draw: st.DrawFn, clock: float, issue: str) -> Chip:
    return HC1._replaced(
        {
            "datapath.lanes": draw(st.integers(2, 20)),
            "datapath.fill_cycles": draw(st.integers(1, 4)),
            "datapath.vector_lanes": draw(st.integers(4, 20)),
            "datapath.clock_ghz": clock,
            "datapath.issue": issue,
            "datapath.prompt_overlap": draw(st.sampled_from([0, 0, 0.5])),
            "attention.kv_read_bytes_per_cycle": draw(st.integers(8, 40)),
            "attention.macs_per_cycle": draw(st.integers(8, 40)),
            "attention.kv_memories": draw(st.sampled_from(["shared", "separate"])),
            "lora.order": draw(st.sampled_from(["parallel", "sequential"])),
            "lora.macs_per_cycle": draw(st.integers(4, 60)),
            "sampling.loop_cycles": draw(st.integers(1, 9)),
            "sampling.topk_logits_per_cycle": draw(st.integers(10, 50)),
            "link.burst_bytes": draw(st.integers(8, 60)),
            "link.bandwidth_gb_per_s": draw(st.sampled_from([0.5, 4.0])),
            "link.latency_us": draw(st.sampled_from([0.0, 0.01])),
        }
    )


@st.composite
def stages(draw: st.DrawFn, model: LanguageModel, layers: range, dies: tuple[str, ...]) -> Stage:
    rows = 2 if len(dies) == 4 and draw(st.booleans()) else 1
    splits = [one for one in SPLITS if one != "grid" or rows > 1]
    names = {
        "dense": ("qkv", "o", "gate_up", "down"),
        "sliding": ("qkv", "o"),
        "latent": ("qkv_a", "q_b", "o"),
    }
    split = {name: draw(st.sampled_from(splits)) for name in names[model.name]}
    kv = [one for one in KV_SPLITS if one != "grid" or rows > 1]
    where = {}
    for layer in layers:
        if model.kind_of(layer).experts:
            count = EXPERTS.count
            where[layer] = draw(
                st.one_of(
                    st.just(dealt(count, len(dies))),
                    st.tuples(*[st.integers(0, len(dies) - 1)] * count),
                )
            )
    return Stage(layers, dies, rows, split, draw(st.sampled_from(kv)), where)


@st.composite
def systems(draw: st.DrawFn, most: int = 5) -> System:
    """One to five dies in one or two stages, over any topology."""
    model = draw(st.sampled_from(MODELS))
    first = draw(st.sampled_from([1, 2, 4]))
    second = draw(st.sampled_from([0, 1, 2] if first < 4 else [0, 1]))
    assume(first + second <= most)
    names = tuple(f"d{number}" for number in range(first + second))
    cut = draw(st.integers(1, SMALL["layers"] - 1)) if second else SMALL["layers"]
    parts = [draw(stages(model, range(cut), names[:first]))]
    if second:
        parts.append(draw(stages(model, range(cut, SMALL["layers"]), names[first:])))
    issue = draw(st.sampled_from(["serial", "pipelined"]))
    clocks = draw(st.sampled_from([(1.0, 1.0), (1.0, 1.0), (1.0, 0.7)]))
    alike = [draw(small_chips(clock, issue)) for clock in clocks]
    dies = tuple(Die(name, alike[number % 2]) for number, name in enumerate(names))
    shape = draw(st.sampled_from(["all", "chain", "ring", "switch", "grid"]))
    rows = (2 if len(names) % 2 == 0 else 1) if shape == "grid" else None
    kind = draw(kinds("switch" if shape == "switch" else BOARD.sheet.way))
    links = links_of(shape, names, kind, rows, "links") if len(names) > 1 else ()
    home = draw(st.sampled_from([HOST, names[0], names[-1]]))
    head = draw(st.sampled_from([parts[-1].dies, names[:1], names]))
    try:
        return System(
            name="random",
            title="",
            dies=dies,
            links=links,
            model=model,
            placement=Placement(tuple(parts), home, head),
            places=draw(st.sampled_from([None, None, 1, 2])),
            host_links=draw(st.sampled_from(["each", "shared"])),
            collective=draw(collectives),
        )
    except InputError:  # a split that does not divide, or KV that latents do not allow
        assume(False)
        raise


def adapters(model: LanguageModel) -> st.SearchStrategy[list[Adapter]]:
    targets = "o_proj" if model.latent is not None else "qv"
    both = ["r1:" + targets, "r3:o_proj:int4"]
    chosen = st.lists(st.sampled_from(both), max_size=2, unique=True)
    return chosen.map(lambda names: [Adapter.from_shape(name, model) for name in names])


@st.composite
def loads(draw: st.DrawFn, held: int) -> list[AdapterLoad]:
    found = []
    for number in range(1, held + 1):
        if draw(st.booleans()):
            start, mode = draw(st.integers(0, 300)), draw(st.sampled_from(LOAD_MODES))
            found.append(AdapterLoad(number, start, mode))
    return found


@st.composite
def asked(draw: st.DrawFn, held: int, users: int = 3) -> Requests:
    count = draw(st.integers(1, users))

    def column(values: st.SearchStrategy[int], dtype: type) -> np.ndarray:
        return np.array(draw(st.lists(values, min_size=count, max_size=count)), dtype=dtype)

    return Requests(
        arrival=column(st.integers(0, draw(st.sampled_from([0, 200]))), np.int64),
        prompt=column(st.integers(1, 3), np.int64),
        output=column(st.integers(1, 3), np.int64),
        adapter=column(st.integers(0, held), np.int32),
    )


collectives = st.sampled_from(COLLECTIVES)
routings = st.sampled_from([Routing(), Routing("zipf:1.5", 1.5)])
