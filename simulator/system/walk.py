"""A token's way over the dies of a system: steps of stages on dies and of messages on links.

In cycles of each die, bytes, and seconds of links; ``hardwire.simulator.system.build`` makes ticks
of them, and ``hardwire.simulator.system.closed_form`` adds them up. Numbers of links may be arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hardwire.models.adapter.adapter import Adapter
from hardwire.models.adapter.base import check_base, head_obstacle
from hardwire.models.errors import InputError
from hardwire.models.language_model import EXPERT, SHARED
from hardwire.models.pipeline import fill_cycles
from hardwire.models.system.placement import HOST, Stage
from hardwire.models.system.slices import grid_of, kv_parts
from hardwire.models.system.system import System
from hardwire.models.system.topology import SWITCH
from hardwire.simulator.datapath import row_cycles, sample_cycles
from hardwire.simulator.system.collectives import (
    NOTHING,
    Algorithm,
    Layout,
    Range,
    Round,
    heads_at,
    made_by,
    needed_by,
    to_dies,
    turn_of,
    ways,
)
from hardwire.simulator.system.program import ALWAYS, ATTENTION, COMPUTE, LINK
from hardwire.simulator.system.program import HEAD as HEAD_CAUSE
from hardwire.simulator.system.stages import DieLayer, Work, head_rows, head_works

ELEMENT_BYTES = 2
"""Of an element on a link: a float16. Partial sums need more bits than the 8 of an activation, and
the published budgets of hops count two bytes (7,168 elements of R1 are 14.3 kB)."""

TOKEN_BYTES = 4
"""Of a token's number, on its way from the sampler to the embedding."""

KEPT_LOGITS = 64
"""Logits that each die of a split head sends to the sampler. Assumed, 1 to 1,024: samplers keep the
best 20 to 100, and at 6 bytes each they are hundreds of bytes, as nothing beside their latency."""

KEPT_BYTES = 6
"""Of a kept logit: a float16, and the token's number."""


@dataclass(frozen=True)
class Send:
    """Bytes that a token puts on a link, one way, or brings through a port of a die.

    Attributes
    ----------
    unit : its name.
    bytes : of all messages of the step.
    bytes_per_s, latency_s : of the link; numbers or arrays.
    link : index of the link in the system, -1 for a port.
    turn : modulus and remainder of the positions whose tokens send it.
    """

    unit: str
    bytes: int
    bytes_per_s: Any
    latency_s: Any
    link: int
    turn: tuple[int, int] = ALWAYS


@dataclass(frozen=True, eq=False)
class Step:
    """What begins together, and ends when all of it has: works of dies by name, or messages."""

    name: str
    cause: int
    works: tuple[tuple[str, Work], ...] = ()
    sends: tuple[Send, ...] = ()


@dataclass(frozen=True)
class Part:
    """Steps of one layer, of the way between stages, or of embedding and head.

    Parts of layers that are alike have the same ``steps``, one object.

    Attributes
    ----------
    layer : its number, or -1.
    stage : number of the stage whose layers these are, or -1.
    head : a token inside a prompt skips it.
    """

    steps: tuple[Step, ...]
    layer: int = -1
    stage: int = -1
    head: bool = False


@dataclass(frozen=True)
class Walk:
    """All parts in order."""

    system: System
    adapters: tuple[Adapter, ...]
    parts: tuple[Part, ...]


def walk_of(
    system: System, adapters: Sequence[Adapter] = (), algorithm: Algorithm = "direct"
) -> Walk:
    """The way of a token of a system's model, with each of some adapters or none.

    Raises
    ------
    InputError
        If an adapter was made for a model of other dimensions, or is where a system has no side
        path; on an unknown algorithm; or if experts are cut between dies.
    """
    for adapter in adapters:
        _check_adapter(system, adapter)
    placement = system.placement
    first = placement.stages[0].dies
    parts = [_embedding(system)]
    at: tuple[str, ...] = first if placement.embedding == HOST else (placement.embedding,)
    for number, stage in enumerate(placement.stages):
        parts += _hop(system, at, stage.dies, f"hop to stage {number}")
        group = _Group(system, stage, adapters, algorithm)
        parts += [Part(group.steps(layer), layer, number) for layer in stage.layers]
        at = stage.dies
    head = placement.head
    parts += [replace(part, head=True) for part in _hop(system, at, head, "hop to the head")]
    parts.append(Part(_head_steps(system, adapters), head=True))
    return Walk(system, tuple(adapters), tuple(parts))


def _check_adapter(system: System, adapter: Adapter) -> None:
    check_base(adapter, system.model)
    for die in system.dies:
        if obstacle := head_obstacle(die.chip, adapter.targets):
            raise InputError(f"{adapter.name}: {obstacle}")
    for module in adapter.modules:
        if module.target.startswith(EXPERT) or module.target == "kv_b_proj":
            raise InputError(
                f"{adapter.name}: is on {module.target}, beside which a system has no side path"
            )


def _embedding(system: System) -> Part:
    placement = system.placement
    if placement.embedding == HOST:
        works = []
        for die in placement.stages[0].dies:
            chip = system.die(die).chip._replaced({"rom.embedding": "host"})
            cycles = int(fill_cycles(chip) + row_cycles(chip, system.model))
            works.append((die, Work("embedding", "embedding", cycles)))
    else:
        chip = system.die(placement.embedding).chip
        works = [(placement.embedding, Work("embedding", "embedding", int(fill_cycles(chip))))]
    return Part((Step("embedding", COMPUTE, tuple(works)),))


def _hop(system: System, at: Sequence[str], to: Sequence[str], name: str) -> list[Part]:
    """The hidden vector from dies that have it to those that need it."""
    ways = to_dies(at, to, lambda a, b: len(system.route(a, b)))
    size = system.model.hidden * ELEMENT_BYTES
    sends = _sends(system, [(sender, die, size) for die, sender in ways.items()])
    return [Part((Step(name, LINK, sends=sends),))] if sends else []


def _head_steps(system: System, adapters: Sequence[Adapter]) -> tuple[Step, ...]:
    dies = system.placement.head
    works = {
        die: head_works(system.die(die).chip, system.model, rows, adapters)
        for die, rows in head_rows(system).items()
    }
    steps = [
        Step(row[0].name, HEAD_CAUSE, tuple(zip(dies, row, strict=True)))
        for row in zip(*works.values(), strict=True)
    ]
    kept = KEPT_LOGITS * KEPT_BYTES
    if sends := _sends(system, [(die, dies[0], kept) for die in dies[1:]]):
        steps.append(Step("kept logits", LINK, sends=sends))
    sampler = Work("sample", "sampler", int(sample_cycles(system.die(dies[0]).chip)))
    steps.append(Step("sample", HEAD_CAUSE, ((dies[0], sampler),)))
    home = system.placement.embedding
    if home not in (HOST, dies[0]):
        back = _sends(system, [(dies[0], home, TOKEN_BYTES)])
        steps.append(Step("token back", LINK, sends=back))
    return tuple(steps)


def _sends(
    system: System,
    messages: Iterable[tuple[str, str, int]],
    turn: tuple[int, int] = ALWAYS,
) -> tuple[Send, ...]:
    """Messages of one step on the links of their routes, and at the ports that they pass.

    The bytes of a message are on all links of its route at once (cut-through), and are there after
    the latencies of all of them.
    """
    found: dict[str, Send] = {}
    for sender, receiver, size in messages:
        route = system.route(sender, receiver)
        latency: Any = sum(system.links[hop.link].kind.latency_s for hop in route)
        for hop in route:
            kind = system.links[hop.link].kind
            name = f"link {hop.link} {hop.sender} to {hop.receiver}"
            _add(found, Send(name, size, kind.bandwidth, latency, hop.link, turn))
            if hop.sender != SWITCH and np.all(np.isfinite(kind.port)):
                port = f"port {hop.sender} {kind.name}"
                _add(found, Send(port, size, kind.port, latency, -1, turn))
    return tuple(found[name] for name in sorted(found))


def _add(found: dict[str, Send], send: Send) -> None:
    if send.unit in found:
        other = found[send.unit]
        latency = np.maximum(other.latency_s, send.latency_s)[()]
        send = replace(send, bytes=send.bytes + other.bytes, latency_s=latency)
    found[send.unit] = send


class _Group:
    """Steps of the layers of one stage on its group of dies."""

    def __init__(
        self,
        system: System,
        stage: Stage,
        adapters: Sequence[Adapter],
        algorithm: Algorithm,
    ) -> None:
        self.system, self.stage, self.adapters, self.algorithm = system, stage, adapters, algorithm
        self.model, self.size = system.model, len(stage.dies)
        self.known: dict[Any, tuple[Step, ...]] = {}
        self.found: list[Step] = []
        self.dies: list[DieLayer] = []
        self.moves: dict[Any, list[Round]] = {}

    def steps(self, layer: int) -> tuple[Step, ...]:
        """Steps of a layer; of layers that are alike the same object."""
        stage = self.stage
        kind = self.model.kind_of(layer)
        turn = (layer - stage.layers.start) % self.size if stage.kv == "layer" else 0
        ranks = tuple(
            tuple(one.rank(layer, target) for target in self.model.targets) for one in self.adapters
        )
        key = kind.window, kind.experts, turn, ranks, stage.experts.get(layer)
        if key not in self.known:
            self.known[key] = self._layer(layer)
        return self.known[key]

    def _layer(self, layer: int) -> tuple[Step, ...]:
        model, stage, self.found = self.model, self.stage, []
        self.dies = [
            DieLayer(self.system.die(die).chip, model, stage, place, layer, self.adapters)
            for place, die in enumerate(stage.dies)
        ]
        whole = ((0, model.hidden),) * self.size
        self.each(lambda die: [die.norm("norm_attention")])
        self.attention(layer)
        self.each(lambda die: [die.rom("o")])
        self.move("o", made_by(stage, "o", model.hidden), whole)
        if model.post_norms:
            self.each(lambda die: [die.norm("post_norm_attention")])
        self.each(lambda die: [die.norm("norm_mlp")])
        if model.kind_of(layer).experts:
            self.mixture()
        else:
            self.mlp()
        if model.post_norms:
            self.each(lambda die: [die.norm("post_norm_mlp")])
        return tuple(self.found)

    def attention(self, layer: int) -> None:
        model, stage, size = self.model, self.stage, self.size
        positions = kv_parts(stage)[1]
        heads = heads_at(stage, model.heads, layer)
        if model.latent is None:
            self.each(DieLayer.projections)
            wide = model.query_width
            queries = made_by(stage, "qkv", wide), heads_at(stage, wide, layer)
            cached = made_by(stage, "qkv", model.kv_width), heads_at(stage, model.kv_width, layer)
            self.scatter("queries, keys and values", queries, cached, positions)
        else:
            rank = model.latent.query_rank or 0
            down, *rest = (
                [die.projections()[number] for die in self.dies]
                for number in range(len(self.dies[0].projections()))
            )
            self.add(down[0].name, COMPUTE, down)
            everywhere = ((0, rank),) * size
            cached = (
                made_by(stage, "qkv_a", model.kv_width),
                tuple((0, model.kv_width * (part != NOTHING)) for part in heads),
            )
            self.scatter("latents", (made_by(stage, "qkv_a", rank), everywhere), cached, positions)
            for works in rest:
                self.add(works[0].name, COMPUTE, works)
            last = "q_b" if rank else "qkv_a"
            wide = model.query_width
            self.move("queries", made_by(stage, last, wide), heads_at(stage, wide, layer))
        self.each(lambda die: die.attention(positions))
        turns = [turn_of(stage, die) for die in range(size)]
        parts = tuple(frozenset({turn}) for turn in turns)
        if positions > 1:
            statistics = heads_at(stage, 2 * model.heads, layer)  # largest score and sum of each
            self.move("softmax statistics", Layout(statistics, parts), statistics)
        wide = model.attended_width
        given, taken = heads_at(stage, wide, layer), needed_by(stage, "o", wide)
        self.move("attention", Layout(given, parts), taken)
        if model.sub_norm:
            self.each(lambda die: [die.norm("sub_norm_attention", _width(taken[die.place]))])

    def mlp(self) -> None:
        model, stage = self.model, self.stage
        wide = model.intermediate
        given, taken = made_by(stage, "gate_up", wide), needed_by(stage, "down", wide)
        self.each(lambda die: [die.rom("gate_up")])
        early = given.is_partial
        if early:  # gate and up are sums before they are multiplied
            self.move("gate_up", given, taken, times=2)
        ranges = taken if early else given.ranges
        self.each(lambda die: [die.activation("", _width(ranges[die.place]))])
        if not early:
            self.move("gate_up", given, taken)
        if model.sub_norm:
            self.each(lambda die: [die.norm("sub_norm_mlp", _width(taken[die.place]))])
        self.each(lambda die: [die.rom("down")])
        self.move("down", made_by(stage, "down", model.hidden), ((0, model.hidden),) * self.size)

    def mixture(self) -> None:
        """Router, then chosen and shared experts side by side, and the sum of all."""
        model, stage = self.model, self.stage
        assert model.experts is not None
        for name in (f"{EXPERT}gate_up", f"{EXPERT}down"):
            if grid_of(stage, name) != (1, 1):
                raise InputError(
                    f"{self.system.name}: split.{name}: experts that are cut between dies are not "
                    "timed; place them whole"
                )
        self.each(DieLayer.routing)
        shared = model.experts.shared_intermediate
        given = made_by(stage, f"{SHARED}gate_up", shared)
        taken = needed_by(stage, f"{SHARED}down", shared)
        if shared and (given.is_partial or _lacks(given, taken)):
            raise InputError(
                f"{self.system.name}: split: {SHARED}gate_up and {SHARED}down must be cut alike, "
                "output and input, or both replicated"
            )

        def gate_up(die: DieLayer) -> list[Work]:
            also = [die.rom(f"{SHARED}gate_up")] if shared else []
            return [die.expert(f"{EXPERT}gate_up", die.experts_here()), *also]

        def act(die: DieLayer) -> list[Work]:
            also = [die.activation(SHARED, _width(given.ranges[die.place]))] if shared else []
            wide = model.experts.intermediate if model.experts else 0
            return [die.activation(EXPERT, wide, die.experts_here()), *also]

        def down(die: DieLayer) -> list[Work]:
            also = [die.rom(f"{SHARED}down")] if shared else []
            return [die.expert(f"{EXPERT}down", die.experts_here()), *also]

        for name, make in (("gate_up", gate_up), ("act", act), ("down", down)):
            works = [(die, work) for die in self.dies for work in make(die)]
            self.found.append(Step(f"{EXPERT}{name}", COMPUTE, self.named(works)))
        self.each(lambda die: [die.vector("combine", model.hidden)])
        sums = tuple(frozenset({die}) for die in range(self.size))
        whole = ((0, model.hidden),) * self.size
        self.move("experts", Layout(whole, sums), whole)

    # --- steps --------------------------------------------------------------------------------

    def each(self, make: Callable[[DieLayer], list[Work]]) -> None:
        """Steps that dies do side by side: the first work of each, then the second, and so on."""
        made = [(die, make(die)) for die in self.dies]
        for number in range(max(len(works) for _, works in made)):
            row = [(die, works[number]) for die, works in made if works]
            cause = ATTENTION if row[0][1].rates else COMPUTE
            self.found.append(Step(row[0][1].name, cause, self.named(row)))

    def add(self, name: str, cause: int, works: Sequence[Work]) -> None:
        row = list(zip(self.dies, works, strict=True))
        self.found.append(Step(name, cause, self.named(row)))

    def named(self, row: Sequence[tuple[DieLayer, Work]]) -> tuple[tuple[str, Work], ...]:
        return tuple((self.stage.dies[die.place], work) for die, work in row)

    def move(self, name: str, layout: Layout, needed: tuple[Range, ...], *, times: int = 1) -> None:
        """Steps of the messages that bring a vector to where it is needed."""
        for number, one in enumerate(self.ways(layout, needed)):
            self.send(f"{name}, round {number + 1}", self.messages(one, times))

    def scatter(
        self,
        name: str,
        queries: tuple[Layout, tuple[Range, ...]],
        cached: tuple[Layout, tuple[Range, ...]],
        positions: int,
    ) -> None:
        """Queries to the dies that attend, and what is cached to the die whose turn it is."""
        rounds = [self.messages(one) for one in self.ways(*queries)]
        turns: list[tuple[tuple[int, int], list[list[tuple[str, str, int]]]]] = []
        layout, needed = cached
        for turn in range(positions):
            here = tuple(
                part if turn_of(self.stage, die) == turn else NOTHING
                for die, part in enumerate(needed)
            )
            ways = [self.messages(one) for one in self.ways(layout, here)]
            turns.append(((positions, turn), ways))
        if positions == 1:  # one step has the messages of both
            (_, more), turns = turns[0], []
            longest = max(len(rounds), len(more))
            both = [*rounds, *[[]] * longest], [*more, *[[]] * longest]
            rounds = [[*a, *b] for a, b in zip(*both, strict=False)][:longest]
        for number in range(max([len(rounds), *(len(ways) for _, ways in turns)])):
            sends = list(_sends(self.system, rounds[number] if number < len(rounds) else []))
            for turn_at, ways in turns:
                if number < len(ways):
                    sends += _sends(self.system, ways[number], turn_at)
            if sends:
                self.found.append(Step(f"{name}, round {number + 1}", LINK, sends=tuple(sends)))

    def send(self, name: str, messages: list[tuple[str, str, int]]) -> None:
        self.found.append(Step(name, LINK, sends=_sends(self.system, messages)))

    def messages(self, one: Round, times: int = 1) -> list[tuple[str, str, int]]:
        dies, size = self.stage.dies, times * ELEMENT_BYTES
        return [(dies[sender], dies[receiver], count * size) for sender, receiver, count in one]

    def ways(self, layout: Layout, needed: tuple[Range, ...]) -> list[Round]:
        key = layout, needed
        if key not in self.moves:
            self.moves[key] = ways(self.stage, layout, needed, self.hops, self.algorithm)
        return self.moves[key]

    def hops(self, sender: int, receiver: int) -> int:
        return len(self.system.route(self.stage.dies[sender], self.stage.dies[receiver]))


def _width(part: Range) -> int:
    return part[1] - part[0]


def _lacks(layout: Layout, needed: Sequence[Range]) -> bool:
    pairs = zip(layout.ranges, needed, strict=True)
    return any(want[0] < have[0] or have[1] < want[1] for have, want in pairs)
