"""The state of a hardwired server as flat arrays, which the compiled loop works on.

One record per request, card, adapter and pair of card and adapter. A record is what
``hardwire.simulator.serving.cards`` keeps in objects, under the same names where there are any;
-1 stands for none.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


def _record(names: str, **others: type) -> np.dtype[Any]:
    """A record of int64 under some names, and of other kinds."""
    fields = [(name, np.int64) for name in names.split()]
    return np.dtype(fields + list(others.items()))


REQUEST = _record(
    # What is asked.
    "arrival prompt output prefilled adapter estimate latest need following "
    # The server that it was sent to. What happened, as in ``RequestRecord``.
    "server start first finish generated wait reused unit hit preemptions "
    # Where it waits: the card, -1 for none, and its neighbours there; whether ``slo`` gave it up;
    # whether a card began it.
    "queue next previous late begun "
    # What it holds: prefix blocks; of a request moved to host memory its table row.
    "blocks offloaded context left pages "
    # Where the run is cut off, of a request in flight: tokens in KV and prompt tokens left.
    "reached remaining"
)

CARD = _record(
    # The timer: when it goes off, its place among equal ticks, and what it ends.
    "tick order mode "
    # What is computed ahead: begin, free pages and ``held`` there, and why it ends.
    "begin free begin_held why "
    "busy count pending held stopped_until holding "
    # SRAM.
    "kv_pages adapter_bytes idle_bytes reserved resident idle "
    "first_block last_block idle_blocks "
    # Who waits; no one who came needs less than ``least_need``.
    "first_waiting last_waiting waiting least_need first_returned returned reserved_to aged_to",
    floor=np.float64,
)

ADAPTER = _record(
    # What it is; ticks as in ``Plant``.
    "size transfer load stream image_bytes row host_bytes disk_ticks "
    # In host memory: when it is read, -1 if it is not there; its neighbours by last use.
    "ready next previous "
    # The first request with it that was not let in yet.
    "wanted",
    worth=np.float64,
)

HERE = _record(
    # An adapter on a card: whether it is resident, from when on it is usable, who reads it, uses
    # since it was loaded.
    "resident usable readers uses "
    # Place i of these holds the card's i-th idle adapter; and the adapter's place there.
    "idle place",
    value=np.float64,
)

LINE = _record("count busy")

BLOCK = _record("readers next previous")

FLEET = _record(
    # Servers on one clock, whose turn it is, and how requests are sent to them.
    "servers turn routing spill routed "
    # Rows of ``State.requests``, how many of them came, when the next one comes, and when the one
    # behind the last will.
    "rows arrived arrival_tick after"
)

WORLD = _record(
    # How long arrays are: ``State``.
    "requests groups cards adapters rows contexts kinds transfers room "
    # The server.
    "users page_tokens page_bytes block_pages block_tokens capacity slots slot_bytes "
    "switch page_transfer links host_capacity serial one "
    # Its policy; ``reserve`` is -1 where nothing is kept.
    "routing spill schedule fairness reserve residency prefetch whole in_turn swap offload reuse "
    # Where the run is: when the last request came, and the place among equal ticks of the next one,
    # which was reserved then.
    "now until orders routed last reserved arrival_order events backlog "
    "host_used first_host last_host kv_bytes"
)

ACTIVE, BEFORE, PENDING = range(3)
"""Tables of a card's users: in the datapath; the same where the segment began; waiting for their
adapter."""

USER = _record("request row context prompt output pages first starts")
"""A row of such a table: the columns of ``rounds_jit``, and the tick from which who waits for his
adapter is served."""

TABLE_COLUMNS = len(USER.names)  # type: ignore[arg-type]

(
    BODY, WHOLE, BODY_INTERVAL, WHOLE_INTERVAL,
    BODY_SUM, WHOLE_SUM, BODY_INTERVAL_SUM, WHOLE_INTERVAL_SUM,
) = range(8)  # fmt: skip
"""Tables of ``TokenCosts`` in ``State.costs``."""

MEMORY, LOAD, EVICTION, DROPPED, SKIPPED = range(5)
"""Kinds of events: the rows of ``Record``, each behind its kind."""

EVENT_COLUMNS = 6

RESTING, ALONE, SEGMENT, WAITING = range(4)
"""What a card's timer ends: there is none; a user served by itself; rounds computed ahead; a time
in which nothing is computed."""

DONE, PAUSED, FULL, CROWDED, HUNGRY = range(5)
"""Why the loop returned: nothing is left to do before ``until``; so many requests came; events or
transfers of a line of the server whose turn it is need more room; the next request is to be fed."""


GROUP = 64
"""Requests, in order of arrival, whose least need is known: a search looks into no group that needs
more than there is. As many as a word has bits."""


class State(NamedTuple):
    """All that the loop reads and changes of a server.

    Attributes
    ----------
    fleet : (1,) of FLEET, the same for all servers on the clock.
    loads : (servers,) int64, their backlogs while one is chosen; the same for all.
    world : (1,) of WORLD
    requests : (N,) of REQUEST, in order of arrival, without those that are refused; the same for
        all.
    waits : (cards, groups) int64, a bit for each request of a group that waits at a card.
    least : (cards, groups) int64, no more than any of these needs.
    cards : (cards,) of CARD
    backlog : (cards,) int64, ticks of expected work that was sent and is not done.
    adapters : (A,) of ADAPTER
    here : (cards, A) of HERE
    users : (3, cards, users, TABLE_COLUMNS) int64
    lines : (links + 1,) of LINE; the last is the disk.
    taken : (links + 1, K, 2) int64, begins and ends of transfers to come.
    costs : (8, R, C + 1) int64
    rises : (R,) bool
    first_key : (N + 1,) int64, place of each request's first prefix block in ``keys``.
    keys : (H,) int64, blocks by number; equal ones have equal text and adapter.
    blocks : (cards, B) of BLOCK
    soon : (prefetch,) int64, of those ahead in a queue, while it is looked at.
    events : (M, EVENT_COLUMNS) int64
    """

    fleet: NDArray[Any]
    loads: NDArray[np.int64]
    world: NDArray[Any]
    requests: NDArray[Any]
    waits: NDArray[np.int64]
    least: NDArray[np.int64]
    cards: NDArray[Any]
    backlog: NDArray[np.int64]
    adapters: NDArray[Any]
    here: NDArray[Any]
    users: NDArray[np.int64]
    lines: NDArray[Any]
    taken: NDArray[np.int64]
    costs: NDArray[np.int64]
    rises: NDArray[np.bool_]
    first_key: NDArray[np.int64]
    keys: NDArray[np.int64]
    blocks: NDArray[Any]
    soon: NDArray[np.int64]
    events: NDArray[np.int64]

    def addresses(self) -> NDArray[np.int64]:
        """The table of addresses that compiled code goes by, as long as the arrays are there."""
        for array in self:
            assert array.flags.c_contiguous
        return np.array([array.ctypes.data for array in self], dtype=np.int64)
