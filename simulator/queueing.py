"""Users' tokens that queue on units which layers share, in pipelined issue: steps of a few of them.

Where layers share their units a token visits each unit many times, so that two users' tokens can
stand in each other's way although no unit is busy all the time. How long they wait has no formula:
it depends on how the visits of a layer interlock. But it settles within a token, for every layer is
like the one before. So the tokens of all users are followed, visit by visit, through ``STEPS``
decode steps that are spread over the contexts of the request; each stands for its share of them.

One step comes first and is not counted. All users begin it together, as they leave a prompt: the
last tokens of their prompts end close behind each other.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardwire.simulator.datapath import NO_WINDOW, Stage
from hardwire.simulator.timing import TokenTiming, mean, slower

STEPS = 16
"""Steps that are followed of each user, or all if there are fewer."""

SATURATED = 4
"""From so many token times of work at the busiest unit on, it never idles and the rest can wait."""


def queues(token: TokenTiming, context: Any, users: Any) -> Any:
    """Where users in flight wait for more than the busiest unit, so that steps are followed."""
    if not token.shared or not np.any(np.asarray(users) > 1):
        return False
    whole = sum(token.by_operation(mean(context)).values())
    busiest = functools.reduce(np.maximum, token.by_unit(mean(context)).values())
    return (np.asarray(users) > 1) & (users * busiest < SATURATED * whole)


def queued_step(
    token: TokenTiming, *, prompt: Any, output: Any, users: Any, where: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Mean cycles of a user's decode step, of the designs that are asked for.

    Parameters
    ----------
    prompt, output, users : of the load, int or ``(P,)``.
    where : (P,), which designs to follow.

    Returns
    -------
    One number for each of them.
    """
    from hardwire.simulator.queueing_jit import follow  # noqa: PLC0415 - numba only where it is needed

    ring = Ring(token)

    def chosen(values: Any) -> NDArray[np.int64]:
        of_all = np.broadcast_to(np.asarray(values), where.shape)
        return np.ascontiguousarray(of_all[where].astype(np.int64))

    def table(columns: Sequence[Any]) -> NDArray[np.int64]:
        return np.ascontiguousarray(np.stack([chosen(column) for column in columns], axis=1))

    step = np.empty(int(where.sum()))
    follow(
        np.array(ring.path, np.int64),
        np.array(ring.unit, np.int64),
        np.array(ring.side_unit, np.int64),
        np.array(ring.grows, np.bool_),
        np.array(ring.window, np.int64),
        np.array(ring.windows, np.int64),
        len(ring.units),
        len(ring.first),
        len(ring.layer),
        token.layers if len(token.kinds) == 1 else 0,  # as many as are surely alike
        table(ring.main),
        table(ring.side),
        table(slower(token.kinds[0].stages.attention[0].rates)),
        chosen(prompt),
        chosen(output),
        chosen(users),
        STEPS,
        step,
    )
    return step


class Ring:
    """A decode token's way, stage after stage and back to the first, over the different stages.

    Attributes
    ----------
    path : number of the stage at each place of the way, which begins with those of ``first``.
    layer : numbers of the stages of a layer, of the first kind of them.
    head : places of the way behind the last layer.
    unit, side_unit : unit of each stage and of its side path, -1 where it has none.
    main, side : fixed cycles of each stage and its side path, numbers or arrays over designs.
    grows : whether a stage grows with context.
    window : number among ``windows`` of that within which it does.
    windows : the different windows of attention, in tokens.
    """

    def __init__(self, token: TokenTiming) -> None:
        self.units: dict[str, int] = {}
        self.unit: list[int] = []
        self.side_unit: list[int] = []
        self.main: list[Any] = []
        self.side: list[Any] = []
        self.grows: list[bool] = []
        self.window: list[int] = []
        self.windows: list[int] = [NO_WINDOW]
        stages = token.stages
        self.first = self._add((stages.embedding,), {}, token)
        layers = [self._add(kind.stages.all, kind.side, token) for kind in token.kinds]
        last = self._add(stages.head, token.head_side, token)
        self.layer = layers[0]
        through = (stage for kind in token.kind_of for stage in layers[kind])
        self.path = [*self.first, *through, *last]
        self.head = len(last)

    def _add(self, stages: Sequence[Stage], side: dict[str, Any], token: TokenTiming) -> list[int]:
        """The numbers of some stages, which are new."""
        begin = len(self.unit)
        for stage in stages:
            cycles = side.get(stage.name)
            beside = None if token.sequential else cycles
            self._column(stage.unit, token.alone(stage, side), beside, bool(stage.rates))
            self.window[-1] = self._window(stage.window)
            if token.sequential and cycles is not None:
                self._column("lora", cycles, None, False)
        return list(range(begin, len(self.unit)))

    def _window(self, window: int | None) -> int:
        """The number of a window, which may be new."""
        tokens = NO_WINDOW if window is None else window
        if tokens not in self.windows:
            self.windows.append(tokens)
        return self.windows.index(tokens)

    def _column(self, unit: str, main: Any, side: Any, grows: bool) -> None:
        self.unit.append(self._number(unit))
        self.main.append(main)
        self.side_unit.append(-1 if side is None else self._number("lora"))
        self.side.append(0 if side is None else side)
        self.grows.append(grows)
        self.window.append(0)

    def _number(self, unit: str) -> int:
        return self.units.setdefault(unit, len(self.units))
