"""A token's way over the dies of a system: steps of stages on dies and of messages on links.

In cycles of each die, bytes, and seconds of links; ``hardwire.simulator.system.build`` makes ticks
of them, and ``hardwire.simulator.system.closed_form`` adds them up. Numbers of links may be arrays.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hardwire.models.adapter.adapter import Adapter
from hardwire.models.adapter.base import check_base, head_obstacle
from hardwire.models.errors import InputError
from hardwire.models.language_model import EXPERT, SHARED
from hardwire.models.system.link import LinkKind
from hardwire.models.system.placement import HOST, Stage
from hardwire.models.system.slices import grid_of, kv_parts
from hardwire.models.system.system import System
from hardwire.models.system.topology import SWITCH
from hardwire.simulator.datapath import Stages
from hardwire.simulator.system.collectives import (
    NOTHING,
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
from hardwire.simulator.system.stages import (
    COMBINE,
    DOWN,
    GATE_UP,
    DieLayer,
    Work,
    head_rows,
    head_works,
    whole_layer,
)
from hardwire.simulator.timing import Timing

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


SAMPLE, TOKEN_BACK = "sample", "token back"
"""The names of the steps that make a token of logits, and send it to the embedding."""


@dataclass(frozen=True, eq=False)
class Send:
    """Bytes that a token puts on a link, one way, or brings through a port of a die.

    Attributes
    ----------
    unit : its name.
    bytes : of all messages of the step.
    kind : of the link; its numbers may be arrays.
    path : kinds of the links on the way of the message that flies longest.
    is_port : of the die that sends, to its links of this kind.
    turn : modulus and remainder of the positions whose tokens send it.
    """

    unit: str
    bytes: int
    kind: LinkKind
    path: tuple[LinkKind, ...]
    is_port: bool = False
    turn: tuple[int, int] = ALWAYS

    @property
    def bytes_per_s(self) -> Any:
        """Of the link or the port."""
        return self.kind.port if self.is_port else self.kind.bandwidth

    @property
    def latency_s(self) -> Any:
        """From the last byte on the link to its arrival at the end of the way."""
        return sum(kind.latency_s for kind in self.path)

    @property
    def like(self) -> tuple[Any, ...]:
        """The same for messages that take the same time if they have links to themselves."""
        return self.bytes, id(self.kind), self.is_port, tuple(id(kind) for kind in self.path)


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


def walk_of(system: System, adapters: Sequence[Adapter] = ()) -> Walk:
    """The way of a token of a system's model, with each of some adapters or none.

    Raises
    ------
    InputError
        If an adapter was made for a model of other dimensions, or is where a system has no side
        path; if experts are cut between dies; or if dies of a group have
        unlike KV memories.
    """
    for adapter in adapters:
        _check_adapter(system, adapter)
    placement = system.placement
    first = placement.stages[0].dies
    parts = [_embedding(system)]
    at: tuple[str, ...] = first if placement.embedding == HOST else (placement.embedding,)
    for number, stage in enumerate(placement.stages):
        parts += _hop(system, at, stage.dies, f"hop to stage {number}")
        group = _Group(system, stage, adapters)
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
    groups = any(len(stage.dies) > 1 for stage in system.placement.stages)
    for module in adapter.modules if len(system.dies) > 1 else ():
        if module.target.startswith(EXPERT) or (groups and module.target == "kv_b_proj"):
            raise InputError(
                f"{adapter.name}: is on {module.target}, beside which the dies of a system of "
                "several have no side path"
            )


def _embedding(system: System) -> Part:
    placement, where = system.placement, "host" if system.placement.embedding == HOST else "rom"
    dies = placement.stages[0].dies if where == "host" else (placement.embedding,)
    works = []
    for die in dies:
        chip = system.die(die).chip._replaced({"rom.embedding": where})
        works.append((die, Work.of(Stages(chip, system.model).token().embedding)))
    return Part((Step("embedding", COMPUTE, tuple(works)),))


def _hop(system: System, at: Sequence[str], to: Sequence[str], name: str) -> list[Part]:
    """The hidden vector from dies that have it to those that need it."""
    ways = to_dies(at, to, lambda a, b: len(system.route(a, b)))
    size = system.model.hidden * ELEMENT_BYTES
    sends = _sends(system, [(sender, die, size) for die, sender in ways.items()])
    return [Part((Step(name, LINK, sends=sends),))] if sends else []


def _head_steps(system: System, adapters: Sequence[Adapter]) -> tuple[Step, ...]:
    dies = system.placement.head
    works = [
        head_works(system.die(die).chip, system.model, rows, adapters)
        for die, rows in head_rows(system).items()
    ]
    steps = [
        Step(row[0].name, HEAD_CAUSE, tuple(zip(dies, row, strict=True)))
        for row in list(zip(*works, strict=True))[:-1]
    ]
    kept = KEPT_LOGITS * KEPT_BYTES
    if sends := _sends(system, [(die, dies[0], kept) for die in dies[1:]]):
        steps.append(Step("kept logits", LINK, sends=sends))
    steps.append(Step(SAMPLE, HEAD_CAUSE, ((dies[0], works[0][-1]),)))
    home = system.placement.embedding
    if home not in (HOST, dies[0]):
        back = _sends(system, [(dies[0], home, TOKEN_BYTES)])
        steps.append(Step(TOKEN_BACK, LINK, sends=back))
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
        path = tuple(system.links[hop.link].kind for hop in route)
        for hop, kind in zip(route, path, strict=True):
            name = f"link {hop.link} {hop.sender} to {hop.receiver}"
            _add(found, Send(name, size, kind, path, turn=turn))
            if hop.sender != SWITCH and np.all(np.isfinite(kind.port)):
                port = f"port of {hop.sender} to {kind.name}"
                _add(found, Send(port, size, kind, path, is_port=True, turn=turn))
    return tuple(found[name] for name in sorted(found))


def _add(found: dict[str, Send], send: Send) -> None:
    if (other := found.get(send.unit)) is not None:
        longer = max(other, send, key=lambda one: float(np.max(one.latency_s)))
        send = replace(longer, bytes=send.bytes + other.bytes)
    found[send.unit] = send


class _Group:
    """Steps of the layers of one stage on its group of dies."""

    def __init__(
        self,
        system: System,
        stage: Stage,
        adapters: Sequence[Adapter],
    ) -> None:
        self.system, self.stage, self.adapters = system, stage, adapters
        self.model, self.size = system.model, len(stage.dies)
        self.whole: tuple[Range, ...] = ((0, system.model.hidden),) * self.size
        self.known: dict[Any, tuple[Step, ...]] = {}
        self.moves: dict[Any, list[Round]] = {}
        self.found: list[Step] = []
        self.dies: list[DieLayer] = []

    def steps(self, layer: int) -> tuple[Step, ...]:
        """Steps of a layer; of layers that are alike the same object."""
        stage, kind = self.stage, self.model.kind_of(layer)
        turn = (layer - stage.layers.start) % self.size if stage.kv == "layer" else 0
        ranks = tuple(
            tuple(one.rank(layer, target) for target in self.model.targets) for one in self.adapters
        )
        key = kind.window, kind.experts, turn, ranks, stage.experts.get(layer)
        if key not in self.known:
            routed = kind.experts and len(self.system.dies) > 1
            self.found = []
            if self.size == 1 and not routed:
                self._alone(layer)
            else:
                self._together(layer)
            self.known[key] = tuple(self.found)
        return self.known[key]

    def _alone(self, layer: int) -> None:
        """A layer that is whole on one die."""
        (die,) = self.stage.dies
        for work in whole_layer(self.timing, layer):
            cause = ATTENTION if work.rates else COMPUTE
            self.found.append(Step(work.name, cause, ((die, work),)))

    @functools.cached_property
    def timing(self) -> Timing:
        return Timing.of(self.system.die(self.stage.dies[0]).chip, self.model, tuple(self.adapters))

    def _together(self, layer: int) -> None:
        """A layer on dies that have parts of it: after each stage, what it makes is moved."""
        model = self.model
        self._open(layer)
        experts = model.kind_of(layer).experts
        alone = {one.name: one for one in whole_layer(self.timing, layer)} if self.size == 1 else {}
        for name in self.dies[0].names:
            if experts and name in (GATE_UP, DOWN, COMBINE, model.activation):
                works = [(die, work) for die in self.dies for work in die.of_experts(name)]
                self.found.append(Step(f"{EXPERT}{name}", COMPUTE, self._named(works)))
            else:
                if name in ("sub_norm_attention", "o"):
                    self._gather_attention(layer, name)
                row = [
                    (die, work)
                    for die in self.dies
                    for work in ([alone[name]] if alone else die.work(name))
                ]
                cause = ATTENTION if row[0][1].rates else COMPUTE
                self.found.append(Step(name, cause, self._named(row)))
            self._after(name, layer, experts)

    def _open(self, layer: int) -> None:
        """The parts of the dies."""
        model, stage = self.model, self.stage
        if model.kind_of(layer).experts:
            self._check_experts()
            ranges: tuple[Range, ...] = ((0, model.intermediate),) * self.size
        else:
            given = made_by(stage, GATE_UP, model.intermediate)
            taken = needed_by(stage, DOWN, model.intermediate)
            ranges = taken if given.is_partial else given.ranges
        heads, kv_heads = (heads_at(stage, count, layer) for count in (model.heads, model.kv_heads))
        self.dies = [
            DieLayer(
                self.system.die(die).chip,
                model,
                stage,
                place,
                layer,
                heads=_width(heads[place]),
                kv_heads=_width(kv_heads[place]),
                width=_width(ranges[place]),
                positions=kv_parts(stage)[1],
                adapters=self.adapters,
            )
            for place, die in enumerate(stage.dies)
        ]
        for die in self.dies:
            if die.names != self.dies[0].names:
                raise InputError(
                    f"{self.system.name}: placement.stages: dies {stage.dies[0]} and "
                    f"{stage.dies[die.place]} of one group differ in attention.kv_memories"
                )

    def _check_experts(self) -> None:
        """Refuse experts, or MLPs beside them, that are cut in ways that are not timed."""
        model, stage, where = self.model, self.stage, f"{self.system.name}: split"
        assert model.experts is not None
        if any(grid_of(stage, f"{EXPERT}{name}") != (1, 1) for name in (GATE_UP, DOWN)):
            raise InputError(
                f"{where}.{EXPERT}{GATE_UP}: experts that are cut between dies are not timed; "
                "place them whole"
            )
        width = model.experts.shared_intermediate
        given = made_by(stage, f"{SHARED}{GATE_UP}", width)
        taken = needed_by(stage, f"{SHARED}{DOWN}", width)
        if width and (given.is_partial or given.ranges != taken):
            raise InputError(
                f"{where}.{SHARED}{GATE_UP}: must be output where {SHARED}{DOWN} is input, or both "
                "replicated"
            )

    def _after(self, name: str, layer: int, experts: bool) -> None:
        """What is moved when a stage has ended."""
        model, stage = self.model, self.stage
        wide = model.query_width
        if name == "qkv":
            self._scatter(
                "queries, keys and values",
                (made_by(stage, name, wide), heads_at(stage, wide, layer)),
                (made_by(stage, name, model.kv_width), heads_at(stage, model.kv_width, layer)),
            )
        elif name == "qkv_a":
            assert model.latent is not None
            rank = model.latent.query_rank or wide
            here = heads_at(stage, model.kv_width, layer)
            everywhere: tuple[Range, ...] = ((0, rank),) * self.size
            self._scatter(
                "latents",
                (made_by(stage, name, rank), everywhere),
                (made_by(stage, name, model.kv_width), here),
            )
        elif name == "q_b":
            self._move("queries", made_by(stage, name, wide), heads_at(stage, wide, layer))
        elif name == "o":
            self._move(name, made_by(stage, name, model.hidden), self.whole)
        elif experts and name == COMBINE:
            sums = tuple(frozenset({die}) for die in range(self.size))
            self._move("experts", Layout(self.whole, sums), self.whole)
        elif not experts and name in (GATE_UP, model.activation):
            given = made_by(stage, GATE_UP, model.intermediate)
            taken = needed_by(stage, DOWN, model.intermediate)
            # Gate and up are sums before they are multiplied, and one vector behind it.
            if given.is_partial == (name == GATE_UP):
                self._move(name, given, taken, times=2 if given.is_partial else 1)
        elif not experts and name == DOWN:
            self._move(name, made_by(stage, name, model.hidden), self.whole)

    def _gather_attention(self, layer: int, before: str) -> None:
        """What heads give, to where the output projection takes it."""
        model, stage = self.model, self.stage
        if before == "o" and model.sub_norm:
            return  # it was moved before that norm
        parts = tuple(frozenset({turn_of(stage, die)}) for die in range(self.size))
        if kv_parts(stage)[1] > 1:  # largest score and sum of exponentials of each head
            statistics = heads_at(stage, 2 * model.heads, layer)
            self._move("softmax statistics", Layout(statistics, parts), statistics)
        given = heads_at(stage, model.attended_width, layer)
        taken = needed_by(stage, "o", model.attended_width)
        self._move("attention", Layout(given, parts), taken)

    # --- messages -----------------------------------------------------------------------------

    def _named(self, row: Sequence[tuple[DieLayer, Work]]) -> tuple[tuple[str, Work], ...]:
        return tuple((self.stage.dies[die.place], work) for die, work in row)

    def _move(
        self, name: str, layout: Layout, needed: tuple[Range, ...], *, times: int = 1
    ) -> None:
        """Steps of the messages that bring a vector to where it is needed."""
        for number, one in enumerate(self._ways(layout, needed)):
            sends = _sends(self.system, self._messages(one, times))
            self.found.append(Step(f"{name}, round {number + 1}", LINK, sends=sends))

    def _scatter(
        self,
        name: str,
        queries: tuple[Layout, tuple[Range, ...]],
        cached: tuple[Layout, tuple[Range, ...]],
    ) -> None:
        """Queries to the dies that attend, and what is cached to the die whose turn it is."""
        positions = kv_parts(self.stage)[1]
        layout, needed = cached
        flows = [(ALWAYS, self._ways(*queries))]
        for turn in range(positions):
            here = tuple(
                part if turn_of(self.stage, die) == turn else NOTHING
                for die, part in enumerate(needed)
            )
            flows.append(((positions, turn), self._ways(layout, here)))
        for number in range(max(len(rounds) for _, rounds in flows)):
            sends: dict[tuple[int, int], list[tuple[str, str, int]]] = {}
            for turn_at, rounds in flows:
                if number < len(rounds):
                    sends.setdefault(turn_at, []).extend(self._messages(rounds[number]))
            found = [send for at, some in sends.items() for send in _sends(self.system, some, at)]
            self.found.append(Step(f"{name}, round {number + 1}", LINK, sends=tuple(found)))

    def _messages(self, one: Round, times: int = 1) -> list[tuple[str, str, int]]:
        dies, size = self.stage.dies, times * ELEMENT_BYTES
        return [(dies[sender], dies[receiver], count * size) for sender, receiver, count in one]

    def _ways(self, layout: Layout, needed: tuple[Range, ...]) -> list[Round]:
        key = layout, needed
        if key not in self.moves:
            self.moves[key] = ways(self.stage, layout, needed, self._hops, self.system.collective)
        return self.moves[key]

    def _hops(self, sender: int, receiver: int) -> int:
        return len(self.system.route(self.stage.dies[sender], self.stage.dies[receiver]))


def _width(part: Range) -> int:
    return part[1] - part[0]
