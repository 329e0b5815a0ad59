"""What a server of cards is before its clock starts, whichever engine runs it, and what came of it.

Times are ticks: cycles of the chip.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hardwire.simulator.serving.cards.costs import TokenCosts
from hardwire.simulator.serving.cards.record import Record
from hardwire.simulator.serving.cards.sram import Layout
from hardwire.simulator.serving.load.workload import Prefixes, Workload
from hardwire.simulator.serving.policies.policy import Policy


@dataclass(frozen=True)
class Asked:
    """Requests in order of arrival, without those that are refused, as an engine takes them.

    Attributes
    ----------
    numbers : (N,) int64, of the requests among all, refused ones included.
    arrival : (N,) ticks.
    prompt, output : (N,) tokens.
    adapter : (N,) indices into the catalogue.
    estimate : (N,) ticks that each request is expected to take.
    need : (N,) tokens that each needs room for when it is first let in; None where more tokens do
        not mean more room.
    prefixes : hashes of the blocks that they begin with, where they are reused.
    prefilled : (N,) tokens whose keys and values come with each, if any do.
    """

    numbers: NDArray[np.int64]
    arrival: NDArray[np.int64]
    prompt: NDArray[np.int64]
    output: NDArray[np.int64]
    adapter: NDArray[np.int32]
    estimate: NDArray[np.int64]
    need: NDArray[np.int64] | None
    prefixes: Prefixes | None = None
    prefilled: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.numbers)


@dataclass(frozen=True)
class Plan:
    """Sizes and times of adapters, the requests, and the policy with its times in ticks.

    Attributes
    ----------
    costs : of tokens.
    page_tokens : of a KV page.
    layout : of SRAM.
    cards, links : of the server; card ``c`` has link ``c`` modulo the links.
    users : requests that a card has in its datapath at a time.
    transfer, load, stream : by adapter: ticks on the link; ticks from the begin of its transfer
        until a token can use it, whole and streamed.
    image_bytes : of each adapter, that move; its size in the layout is the room that it takes.
    switch : ticks to point the datapath at another resident adapter.
    page_transfer : ticks on the link of one KV page.
    host_capacity : bytes of host memory for adapters.
    host_bytes, disk_ticks : by adapter: bytes in host memory, and ticks to read it from disk.
    pinned : adapters that are there from the begin and stay.
    arrival : (N,) ticks.
    served : (M,) the requests that are not refused, in order of arrival.
    estimate : (N,) ticks that each request is expected to take.
    need : (N,) tokens that each needs room for when it is first let in; None where more tokens do
        not mean more room.
    spill, fairness, ttft_goal : ticks of the policy's times.
    reserve : the same, None where nothing is kept.
    """

    costs: TokenCosts
    policy: Policy
    workload: Workload
    page_tokens: int
    layout: Layout
    cards: int
    links: int
    users: int
    transfer: list[int]
    load: list[int]
    stream: list[int]
    image_bytes: list[int]
    switch: int
    page_transfer: int
    host_capacity: int
    host_bytes: list[int]
    disk_ticks: list[int]
    pinned: tuple[int, ...]
    arrival: NDArray[np.int64]
    served: NDArray[np.int64]
    estimate: NDArray[np.int64]
    need: NDArray[np.int64] | None
    spill: int
    fairness: int
    reserve: int | None
    ttft_goal: int

    def asked(self, begin: int, end: int) -> Asked:
        """The requests that are not refused from one place among them to another."""
        workload, who = self.workload, self.served[begin:end]
        reused = workload.prefixes is not None and self.policy.prefix_reuse
        return Asked(
            numbers=who,
            arrival=self.arrival[who],
            prompt=workload.prompt[who],
            output=workload.output[who],
            adapter=workload.adapter[who],
            estimate=self.estimate[who],
            need=None if self.need is None else self.need[who],
            prefixes=workload.prefixes.take(who) if workload.prefixes and reused else None,
            prefilled=None if workload.prefilled is None else workload.prefilled[who],
        )

    @property
    def whole(self) -> bool:
        """Whether a request is let in with room for its whole output."""
        return self.policy.admission == "whole" or self.users == 1

    @property
    def one(self) -> bool:
        """Whether a card serves one user at a time, in closed form."""
        return self.users == 1 and self.costs.serial


@dataclass(frozen=True)
class Outcome:
    """What an engine says of a run.

    Attributes
    ----------
    record : of the requests, and of those in flight where the run was cut off.
    now : the tick at which it ended.
    compute, link, disk : busy ticks of each card, each link, and the disk.
    interrupted : whether by the user.
    came : of a closed loop, the ticks at which its first requests came; None where the workload
        says when.
    """

    record: Record
    now: int
    compute: list[int]
    link: list[int]
    disk: int
    interrupted: bool
    came: NDArray[np.int64] | None = None
