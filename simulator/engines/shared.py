"""Pipelined issue where layers share their units, for many designs: every visit, without a clock.

A unit serves first come first served, so that one number, the cycle from which it is free, says
when a request that it gets is served. What must be kept is the order of requests at each unit, not
the order of all events:

- What leaves a unit leaves in the order in which it came. So what is on its way from a unit is a
  list by time, and who comes next to a unit is at the head of one of the few lists towards it.
- Every way through a layer leads through one unit again and again, the ROM array. All that it has
  served leaves it behind all that it served before. So a unit that gets its requests from the ROM
  alone, directly or through others of which that is true, gets them in the order of the ROM's, and
  they can be computed with the visit of the ROM: *straight* behind it.
- A unit that also gets requests from a token's begin is computed straight only up to the first of
  those that wait, and up to the first that may yet come: a token's end, which may have no side path
  to wait for, must leave the ROM, be sampled and begin again. What waits in lists comes first, as
  long as nothing can still leave the ROM before it.

It is the order of the reference at every unit, hence its times. A model whose vector unit gets
requests from attention too, as norms within a layer are, goes by lists throughout.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hardwire.simulator.queueing import Ring
from hardwire.simulator.timing import TokenTiming, slower

Ints = NDArray[np.int64]


def ends(
    token: TokenTiming, *, prompt: Ints, output: Ints, place: Ints, first: Ints, last: Ints
) -> None:
    """Cycles at which users' first and last output tokens are done, of P designs.

    Parameters
    ----------
    prompt, output : (P,), of the load.
    place : (P + 1,), where each design's users begin.
    first, last : (users of all designs,), written.
    """
    from hardwire.simulator.engines.shared_jit import shared  # noqa: PLC0415 - numba only where it is needed

    ring = Ring(token)
    path = np.array(ring.path)
    units = len(ring.units)
    unit = np.array(ring.unit, np.uint32)[path]
    beside = np.array(ring.side_unit)[path]
    layer = token.kinds[0].stages
    anchor = next(ring.units[stage.unit] for stage in layer.all if stage.matrices)
    list_of, ordered, lists = _lists(unit, anchor)
    body = len(path) - ring.head
    users, stages = np.diff(place), len(ring.unit)
    rates = slower(layer.attention[0].rates)
    columns = [*ring.main, *ring.side, *rates, prompt, output, users]
    rows = np.stack(
        [np.broadcast_to(np.asarray(column).astype(np.int64), prompt.shape) for column in columns],
        axis=1,
    )
    # Designs that differ in clock or power alone, say, take the same cycles.
    different, which = np.unique(rows, axis=0, return_inverse=True)
    main, side, rate, load = (
        np.ascontiguousarray(part)
        for part in np.split(different, [stages, 2 * stages, 2 * stages + 2], axis=1)
    )
    begins = np.concatenate([[0], np.cumsum(load[:, 2])])
    begun, ended = np.empty((2, begins[-1]), np.int64)
    shared(
        unit,
        np.where(beside < 0, units, beside).astype(np.uint32),
        np.array(ring.grows, np.int64)[path],
        list_of,
        reached(unit, anchor, body),
        anchor,
        units,
        ordered,
        lists,
        len(ring.first),
        len(ring.layer),
        token.layers if len(token.kinds) == 1 else 0,  # as many as are surely alike
        body,
        path,
        main,
        side,
        rate,
        load[:, 0].copy(),
        load[:, 1].copy(),
        begins,
        begun,
        ended,
    )
    user = np.arange(place[-1]) + np.repeat(begins[which.reshape(-1)] - place[:-1], users)
    first[:], last[:] = begun[user], ended[user]


def _lists(unit: NDArray[np.uint32], anchor: int) -> tuple[NDArray[np.uint32], int, int]:
    """The list in which a token waits for each place of its way, and for its end.

    A list has what comes from one unit. Those towards the ROM come first.

    Returns
    -------
    list_of : (places + 1,)
    ordered, lists : how many are towards the ROM, and in all.
    """
    begin = -1
    comes_from = [begin, *unit.tolist()]
    towards = [*(unit != anchor).tolist(), True]
    kinds = sorted({*zip(towards, comes_from, strict=True)})
    number = {kind: n for n, kind in enumerate(kinds)}
    list_of = [number[kind] for kind in zip(towards, comes_from, strict=True)]
    return np.array(list_of, np.uint32), sum(not away for away, _ in kinds), len(kinds)


def reached(unit: NDArray[np.uint32], anchor: int, body: int) -> NDArray[np.int64]:
    """How a token reaches each place of its way: by a list, or straight behind the visit before.

    By a list where it enters a unit of several sources, leaves the first unit or ends.

    Returns
    -------
    (places + 1,), ``BY_LIST``, ``STRAIGHT``, or ``MAY_MEET`` for straight to a unit that also gets
    requests from the first.
    """
    from hardwire.simulator.engines.shared_jit import BY_LIST, MAY_MEET, STRAIGHT  # noqa: PLC0415 - as below

    places, first = len(unit), int(unit[0])
    sources: dict[int, set[int]] = {}
    for before, here in zip(unit[:-1].tolist(), unit[1:].tolist(), strict=True):
        sources.setdefault(here, set()).add(before)
    found = np.full(places + 1, BY_LIST)
    for at in range(2, places):
        here = int(unit[at])
        if here != anchor and at != body and len(sources[here] - {first}) == 1:
            found[at] = MAY_MEET if first in sources[here] else STRAIGHT
    return found
