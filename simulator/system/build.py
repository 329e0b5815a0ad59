"""A token's walk over the dies compiled to the integer arrays that the engines run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hardwire.models.adapter.adapter import Adapter
from hardwire.models.language_model import HEAD
from hardwire.models.system.placement import HOST
from hardwire.models.system.system import System
from hardwire.models.whole import ceil_div
from hardwire.simulator.datapath import BYPASS_CYCLES, overlapped_layers, own_unit
from hardwire.simulator.supply import supply
from hardwire.simulator.system.adapter_slices import adapter_slices
from hardwire.simulator.system.program import ALWAYS, Slice, SystemProgram
from hardwire.simulator.system.stages import Work
from hardwire.simulator.system.walk import SAMPLE, Part, Send, Step, Walk, walk_of

PICOSECONDS = 10**12
"""Ticks per second where dies have unlike clocks: a stage is at most a picosecond too long."""

ROUNDING = 1e-9
"""Of a tick: what seconds in floating point may be off by before they are rounded up."""

NO_GROWTH = (0, 1, 0, 1, 1, 0, 1, 1)
MEMORIES = ("kv", "keys", "values")


def build_program(
    system: System,
    adapters: Sequence[Adapter] = (),
    *,
    past: int = 0,
    walk: Walk | None = None,
) -> SystemProgram:
    """Compile a system and adapters to the program that the engines run.

    A tick is a cycle where all dies have one clock: times of links are rounded up to whole ones.
    Where clocks are unlike it is a picosecond, and those of dies are rounded up, too.

    Parameters
    ----------
    adapters : numbered from 1 in the program; number 0 is the base alone.
    past : tokens of context that are in the KV cache before the first of a request.
    walk : ``walk_of(system, adapters)``, where it is at hand.

    Raises
    ------
    InputError
        As ``walk_of``.
    """
    program = _Layout(walk or walk_of(system, adapters)).program()
    return replace(program, past=past)


def tick_hz(system: System) -> float:
    """Ticks per second."""
    clocks = {float(die.chip.datapath.clock_ghz) * 1e9 for die in system.dies}
    return clocks.pop() if len(clocks) == 1 else float(PICOSECONDS)


class _Layout:
    """Collects steps and numbers units: one per stage and layer, or one per kind where shared."""

    def __init__(self, walk: Walk) -> None:
        self.walk, self.system = walk, walk.system
        self.rows = len(walk.adapters) + 1
        self.hz = tick_hz(walk.system)
        self.shared = {die.name: die.chip.datapath.layers == "shared" for die in walk.system.dies}
        self.sequential = {
            die.name: die.chip.lora.order == "sequential" for die in walk.system.dies
        }
        self.per_cycle = {die.name: self._per_cycle(die.name) for die in walk.system.dies}
        self.units: dict[str, int] = {}
        self.growths: dict[tuple[int, ...], int] = {NO_GROWTH: 0}
        self.names: list[str] = []
        self.cause: list[int] = []
        self.begin: list[int] = [0]
        self.visits: list[tuple[int, int, int, tuple[int, int], int]] = []
        self.ticks: list[list[int]] = []
        self.tables: list[tuple[list[int], list[int], int]] = []
        self.opens: list[int] = []
        self.gate: list[int] = []  # of each step, or -1
        self.layer: list[int] = []  # of each step, or -1
        self.memories: dict[tuple[str, int], list[int]] = {}
        self.choices = 0

    def _per_cycle(self, die: str) -> tuple[int, int]:
        """Ticks of a cycle, numerator and denominator."""
        hz = float(self.system.die(die).chip.datapath.clock_ghz) * 1e9
        if hz == self.hz:
            return 1, 1
        common = math.gcd(PICOSECONDS, round(hz))
        return PICOSECONDS // common, round(hz) // common

    def unit(self, name: str) -> int:
        return self.units.setdefault(name, len(self.units))

    def unit_of(self, die: str, work: Work, kind: str, layer: int) -> int:
        if self.shared[die]:
            return self.unit(f"{die} {kind}")
        where = f" {layer}" if layer >= 0 else ""
        return self.unit(f"{die} {own_unit(kind, work.name)}{where}")

    # --- steps --------------------------------------------------------------------------------

    def part(self, part: Part) -> None:
        opens = part.layer
        if part.head and part.steps[0].works and self.head_adapted:
            opens = self.system.model.layers
        gate = part.stage
        chosen = any(work.experts for step in part.steps for _, work in step.works)
        for number, step in enumerate(part.steps):
            self.step(step, part.layer, opens if number == 0 else -1, gate)
        self.choices += chosen

    def step(self, step: Step, layer: int, opens: int, gate: int) -> None:
        for die, work in step.works:
            if not work.experts:
                self.work(die, work, layer)
        if rows := [(die, work) for die, work in step.works if work.experts]:
            self.experts(rows, layer)
        for send in step.sends:
            self.sent(send)
        self.end(step.name, step.cause, layer, opens, gate)
        behind = [(d, w) for d, w in step.works if w.side and self.sequential[d]]
        for die, work in behind:
            self.side(die, work, layer)
        if behind:
            self.end(f"{step.name}_lora", step.cause, layer, -1, gate)

    def end(self, name: str, cause: int, layer: int, opens: int, gate: int) -> None:
        self.names.append(name)
        self.cause.append(cause)
        self.opens.append(opens)
        self.gate.append(gate)
        self.layer.append(layer)
        self.begin.append(len(self.visits))

    def visit(
        self,
        unit: int,
        ticks: list[int],
        growth: int = 0,
        tail: int = 0,
        turn: tuple[int, int] = ALWAYS,
        table: int = -1,
    ) -> None:
        self.visits.append((unit, growth, tail, turn, table))
        self.ticks.append(ticks)

    def work(self, die: str, work: Work, layer: int) -> None:
        unit = self.unit_of(die, work, work.unit, layer)
        if work.unit in MEMORIES:
            self.memories.setdefault((die, layer), []).append(unit)
        cycles = [work.cycles] * self.rows
        if work.side and self.sequential[die]:  # see ``TokenTiming.alone``
            cycles = [work.cycles - BYPASS_CYCLES * (side == BYPASS_CYCLES) for side in work.side]
        ticks = [self.in_ticks(die, n) for n in cycles]
        self.visit(unit, ticks, self.growth(die, work), self.in_ticks(die, work.tail))
        if work.side and not self.sequential[die]:
            self.side(die, work, layer)

    def side(self, die: str, work: Work, layer: int) -> None:
        named = work
        if self.sequential[die]:
            named = Work(f"{work.name}_lora", "lora", 0)
        unit = self.unit_of(die, named, "lora", layer)
        self.visit(unit, [self.in_ticks(die, n) for n in work.side])

    def experts(self, rows: list[tuple[str, Work]], layer: int) -> None:
        """One visit for each expert that a token chose, of the die that has it."""
        assert self.system.model.experts is not None
        count = self.system.model.experts.count
        units, ticks = [0] * count, [1] * count
        for die, work in rows:
            for expert in work.experts:
                unit = self.unit_of(die, work, work.unit, layer)
                if work.unit == "rom" and not self.shared[die]:  # its own array
                    unit = self.unit(f"{die} {own_unit('rom', work.name)} {layer} of {expert}")
                units[expert], ticks[expert] = unit, self.in_ticks(die, work.cycles)
        tail = max(self.in_ticks(die, work.tail) for die, work in rows)
        self.visit(-1, [0] * self.rows, tail=tail, table=len(self.tables))
        self.tables.append((units, ticks, self.choices))

    def sent(self, send: Send) -> None:
        ticks = max(self.seconds(send.bytes / send.bytes_per_s), 1)
        tail = self.seconds(send.latency_s)
        self.visit(self.unit(send.unit), [ticks] * self.rows, tail=tail, turn=send.turn)

    def in_ticks(self, die: str, cycles: int) -> int:
        num, den = self.per_cycle[die]
        return int(ceil_div(cycles * num, den))

    def seconds(self, seconds: Any) -> int:
        return math.ceil(float(seconds) * self.hz - ROUNDING)

    def growth(self, die: str, work: Work) -> int:
        if not work.rates:
            return 0
        (n1, d1), (n2, d2) = (*work.rates, (0, 1))[:2]
        key = n1, d1, n2, d2, work.dies, work.window, *self.per_cycle[die]
        return self.growths.setdefault(key, len(self.growths))

    # --- adapters -----------------------------------------------------------------------------

    @property
    def head_adapted(self) -> bool:
        """Whether the head has side paths, whose slices a token waits for."""
        chips = [self.system.die(die).chip for die in self.system.placement.head]
        return any(chip.lora.head == "present" for chip in chips)

    def slices(self, adapter: Adapter) -> tuple[Slice, ...]:
        """What dies hold of an adapter, layer by layer and in order of their names."""
        last, held_by = self.system.model.layers, adapter_slices(self.system, adapter)
        held = [
            (layer, number, die, size)
            for number, (die, slices) in enumerate(sorted(held_by.items()))
            for layer, size in slices.items()
            if size
        ]
        found = []
        for layer, number, die, size in sorted(held):
            chip = self.system.die(die).chip
            own = self.unit(f"{die} sram.{HEAD}" if layer == last else f"{die} sram {layer}")
            ports = self.memories.get((die, layer), [own])
            if layer == last and self.shared[die]:  # in the one memory that layers share
                ports = next(some for (of, _), some in self.memories.items() if of == die)
            found.append(
                Slice(
                    layer=layer,
                    bytes=size,
                    ports=tuple(dict.fromkeys(ports)),
                    host=number if self.system.host_links == "each" else 0,
                    latency=round(float(chip.link.latency_us) * 1e-6 * self.hz),
                    bytes_per_s=float(supply(chip, self.system.model, adapter).bytes_per_s),
                    burst_bytes=int(chip.link.burst_bytes),
                    write_bytes_per_cycle=int(chip.sram.write_bytes_per_cycle),
                    per_cycle=self.per_cycle[die],
                )
            )
        return tuple(found)

    # --- all ----------------------------------------------------------------------------------

    def gates(self, body: int) -> tuple[Any, Any, Any, int]:
        """Gates of serial stages: enters, leaves, places of each, and the step ``followed``.

        Dies of serial issue have one token of theirs in flight: from the first step of their
        layers, embedding included where it is theirs, to the last, or to the sampler.
        """
        system, placement = self.system, self.system.placement
        steps = len(self.names)
        enters = np.full(steps, -1, np.int32)
        leaves = np.full((2, steps), -1, np.int32)
        gates, followed = 0, 0
        for number, stage in enumerate(placement.stages):
            chips = [system.die(die).chip for die in stage.dies]
            if any(chip.datapath.issue != "serial" for chip in chips):
                continue
            mine = [step for step, gate in enumerate(self.gate) if gate == number]
            first, last = mine[0], mine[-1]
            with_head = last + 1 == body and set(placement.head) <= set(stage.dies)
            if number == 0 and placement.embedding in (HOST, *stage.dies):
                first = 0
            own = replace(system.model, layers=len(stage.layers))
            ahead = int(min(overlapped_layers(chip, own) for chip in chips))
            freed = last if not ahead else self.layer.index(stage.layers.stop - ahead) - 1
            enters[first] = gates
            leaves[0, self.names.index(SAMPLE) if with_head else last] = gates
            leaves[1, freed] = gates
            if number == 0:
                followed = freed
            gates += 1
        return enters, leaves, np.ones(gates, np.int64), followed

    def program(self) -> SystemProgram:
        body = 0
        for part in self.walk.parts:
            if part.head and not body:
                body = len(self.names)
            self.part(part)
        enters, leaves, gates, followed = self.gates(body)
        slices = tuple(self.slices(adapter) for adapter in self.walk.adapters)
        unit, growth, tail, turn, routed = (np.array(one) for one in zip(*self.visits, strict=True))
        model = self.system.model
        experts = model.experts.count if model.experts is not None else 1
        return SystemProgram(
            units=tuple(self.units),
            step_names=tuple(self.names),
            hz=self.hz,
            cause=np.array(self.cause, np.int8),
            begin=np.array(self.begin, np.int32),
            unit=unit.astype(np.int32),
            ticks=np.array(self.ticks, np.int64).T.copy(),
            growth=growth.astype(np.int32),
            rates=np.array(list(self.growths), np.int64),
            tail=tail.astype(np.int64),
            turn=turn.astype(np.int32),
            routed=routed.astype(np.int32),
            expert_unit=np.array([one[0] for one in self.tables], np.int32).reshape(-1, experts),
            expert_ticks=np.array([one[1] for one in self.tables], np.int64).reshape(-1, experts),
            choice=np.array([one[2] for one in self.tables], np.int32),
            chosen=model.experts.active if model.experts is not None else 0,
            choices=self.choices,
            opens=np.array(self.opens, np.int32),
            enters=enters,
            leaves=leaves,
            gates=gates,
            places=self.system.places or 0,
            body=body,
            followed=followed,
            slices=slices,
            layers=model.layers + self.head_adapted,
        )
