"""Random programs of systems: units, links, gates, experts and adapters, with ties in plenty."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from hardwire.simulator.requests import LOAD_MODES, AdapterLoad, Requests
from hardwire.simulator.system.program import LINK, Slice, SystemProgram
from hardwire.simulator.system.routing import Choices


@st.composite
def programs(draw: st.DrawFn) -> SystemProgram:
    steps = draw(st.integers(2, 7))
    units = draw(st.integers(1, 6))
    adapters, layers = draw(st.integers(0, 2)), draw(st.integers(1, 2))
    body = draw(st.integers(1, steps))
    experts, chosen = draw(st.sampled_from([(2, 1), (3, 2), (4, 2)]))
    begin, unit, ticks, growth, tail, turn, routed = [0], [], [], [], [], [], []
    tables: list[tuple[list[int], list[int], int]] = []

    def visit(*, row: int = -1, every: tuple[int, int] = (1, 0)) -> None:
        unit.append(draw(st.integers(0, units - 1)) if row < 0 else -1)
        ticks.append([draw(st.integers(1, 9)) for _ in range(adapters + 1)])
        growth.append(draw(st.integers(0, 1)))
        tail.append(draw(st.sampled_from([0, 0, 1, 5])))
        turn.append(every)
        routed.append(row)

    for step in range(steps):
        kind = draw(st.sampled_from(["plain", "plain", "turns", "routed"])) if step else "plain"
        if kind == "turns":
            modulus = draw(st.integers(2, 3))
            for remainder in range(modulus):
                visit(every=(modulus, remainder))
        elif kind == "routed":
            where = draw(st.lists(st.integers(0, units - 1), min_size=experts, max_size=experts))
            long = draw(st.lists(st.integers(1, 6), min_size=experts, max_size=experts))
            visit(row=len(tables))
            tables.append((where, long, draw(st.integers(0, 1))))
        else:
            for _ in range(draw(st.integers(1, 3))):
                visit()
        begin.append(len(unit))
    gates, enters = [], np.full(steps, -1, np.int32)
    leaves = np.full((2, steps), -1, np.int32)
    at = 0
    while at < steps and draw(st.booleans()):
        end = draw(st.integers(at, steps - 1))
        if at < body <= end:  # a token inside a prompt gives the gate up behind its last step
            leaves[:, [end, body - 1]] = [[len(gates), -1], [-1, len(gates)]]
            leaves[0, body - 1] = len(gates) if end == body - 1 else -1
        else:
            leaves[:, end] = len(gates)
        enters[at] = len(gates)
        gates.append(draw(st.integers(1, 2)))
        at = end + 1
    slices = tuple(
        tuple(
            Slice(
                layer,
                draw(st.integers(1, 30)),
                (draw(st.integers(0, units - 1)),),
                draw(st.integers(0, 1)),
                draw(st.integers(0, 4)),
                draw(st.sampled_from([0.5, 1.0, 3.0])),
                draw(st.integers(3, 9)),
                draw(st.integers(1, 3)),
                (1, 1),
            )
            for layer in range(layers)
        )
        for _ in range(adapters)
    )
    opens = np.full(steps, -1, np.int32)
    for layer in range(min(layers, steps - 1)):
        opens[draw(st.integers(1, steps - 1))] = layer
    return SystemProgram(
        units=tuple(f"unit {n}" for n in range(units)),
        step_names=tuple(f"step {n}" for n in range(steps)),
        hz=1.0,
        cause=np.array([draw(st.sampled_from([0, 1, LINK, 4])) for _ in range(steps)], np.int8),
        begin=np.array(begin, np.int32),
        unit=np.array(unit, np.int32),
        ticks=np.array(ticks, np.int64).T.copy(),
        growth=np.array(growth, np.int32),
        rates=np.array(
            [[0, 1, 0, 1, 1, 0, 1, 1], [1, 2, 2, 3, *draw(_growths), 1, 1]], np.int64
        ),
        tail=np.array(tail, np.int64),
        turn=np.array(turn, np.int32),
        routed=np.array(routed, np.int32),
        expert_unit=np.array([table[0] for table in tables], np.int32).reshape(-1, experts),
        expert_ticks=np.array([table[1] for table in tables], np.int64).reshape(-1, experts),
        choice=np.array([table[2] for table in tables], np.int32),
        chosen=chosen,
        choices=2,
        opens=opens,
        enters=enters,
        leaves=leaves,
        gates=np.array(gates, np.int64),
        places=draw(st.sampled_from([0, 1, 2])),
        body=body,
        followed=draw(st.integers(0, body - 1)),
        past=draw(st.sampled_from([0, 0, 5])),
        slices=slices,
        layers=layers,
    )  # fmt: skip


_growths = st.tuples(st.integers(1, 3), st.sampled_from([0, 3]))  # dies, window


@st.composite
def requests(draw: st.DrawFn, adapters: int, users: int = 4) -> Requests:
    count = draw(st.integers(1, users))

    def column(values: st.SearchStrategy[int], dtype: type) -> np.ndarray:
        return np.array(draw(st.lists(values, min_size=count, max_size=count)), dtype=dtype)

    return Requests(
        arrival=column(st.integers(0, draw(st.sampled_from([0, 3, 60]))), np.int64),
        prompt=column(st.integers(1, 4), np.int64),
        output=column(st.integers(1, 4), np.int64),
        adapter=column(st.integers(0, adapters), np.int32),
    )


@st.composite
def runs(
    draw: st.DrawFn, loads: bool = True
) -> tuple[SystemProgram, Requests, list[AdapterLoad], Choices]:
    """A program, what is asked of it, adapters that load meanwhile, and chosen experts."""
    program = draw(programs())
    asked = draw(requests(len(program.slices)))
    started = []
    for number in range(1, len(program.slices) + 1):
        if loads and draw(st.booleans()):
            start, mode = draw(st.integers(0, 40)), draw(st.sampled_from(LOAD_MODES))
            started.append(AdapterLoad(number, start, mode))
    return program, asked, started, draw_choices(draw, program, asked)


def draw_choices(draw: st.DrawFn, program: SystemProgram, asked: Requests) -> Choices:
    rng = np.random.default_rng(draw(st.integers(0, 1 << 20)))
    experts = program.expert_unit.shape[1]
    shape = (int(asked.tokens.sum()), program.choices, experts)
    found = rng.random(shape).argsort(axis=2)[:, :, : program.chosen]
    return Choices(found.astype(np.int16))
