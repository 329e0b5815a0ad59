"""The choices of a hardwired server: which adapters stay, who goes next, and where.

One small record, so that a sweep can change one of them and a saved run can say them all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from hardwire.simulator.requests import LoadMode

Residency = Literal["lru", "lfu", "cost", "belady"]
Schedule = Literal["fcfs", "grouped", "shortest", "slo"]
Routing = Literal["round_robin", "least_loaded", "affine", "affine_spill"]
Preemption = Literal["recompute", "offload"]
Admission = Literal["prompt", "whole"]
Prefill = Literal["in_order", "in_turn"]
Swap = LoadMode

CHOICES: dict[str, tuple[str, ...]] = {
    "residency": get_args(Residency),
    "schedule": get_args(Schedule),
    "routing": get_args(Routing),
    "preemption": get_args(Preemption),
    "admission": get_args(Admission),
    "prefill": get_args(Prefill),
    "swap": get_args(Swap),
}


@dataclass(frozen=True)
class Policy:
    """Policies of a replay on a hardwired server.

    Attributes
    ----------
    residency : which idle adapter leaves SRAM when another needs its room: least recently used,
        least frequently used, cheapest to lose (frequency × load time / bytes, aged), or the one
        used again latest (Belady, which knows the future: a bound, not a policy to build).
    swap : how an adapter is loaded: the card waits (blocking), into free room while the card goes
        on (double_buffered), or with tokens entering each layer as its slice arrives (streamed).
    schedule : who goes next of those that wait at a card: by arrival, those whose adapter is
        resident first, shortest expected work first, or least slack to the TTFT goal first.
    fairness_s : under ``grouped`` and ``shortest``, a request that has waited so long goes first.
    reserve_s : what falls free is kept for a request that has waited so long: none that came after
        it is let in before it. None keeps nothing, so that long prompts may starve in overload.
    routing : which card a request joins.
    spill_s : under ``affine_spill``, the backlog in seconds of its own card beyond which a request
        goes to the least loaded one.
    prefetch : requests ahead in a card's queue whose adapters are loaded while others run.
    slots : fixed adapter slots per card, each as large as the largest adapter; None for one pool
        that KV pages and adapters share, with a movable border.
    admission : a request is let in when its prompt fits (it may be preempted later), or when
        prompt and whole output fit.
    prefill : whose prompt tokens a card takes first where several users have some left: of him who
        was let in first, or of all in turn, token by token, as ``hardwire run`` does.
    preemption : what happens to KV pages of a request that has to make room: computed again, or
        moved to host memory over the link and back.
    prefix_reuse : keep KV pages of prompt prefixes for later requests of the same adapter.
    estimate_error : relative error (sigma of a lognormal) of the output length that ``shortest``
        and ``slo`` expect; 0 knows it.
    pinned : adapters, by name, that are loaded at the begin and never evicted.
    ttft_goal_s : the goal that ``slo`` schedules for.
    host_warm : adapters are in host memory at the begin, as far as it holds them.
    power_limit_w : of the whole server; None for the server's own.
    """

    residency: Residency = "lru"
    swap: Swap = "streamed"
    schedule: Schedule = "fcfs"
    fairness_s: float = 1.0
    reserve_s: float | None = None
    routing: Routing = "affine_spill"
    spill_s: float = 0.05
    prefetch: int = 1
    slots: int | None = None
    admission: Admission = "prompt"
    prefill: Prefill = "in_order"
    preemption: Preemption = "recompute"
    prefix_reuse: bool = False
    estimate_error: float = 0.0
    pinned: tuple[str, ...] = ()
    ttft_goal_s: float = 0.2
    host_warm: bool = True
    power_limit_w: float | None = None

    def known_ahead(self, users: int, cards: int) -> str:
        """What a replay takes from output lengths before they are made; empty where nothing.

        Parameters
        ----------
        users : of a card at a time; a card of one reserves the room of its whole request.
        cards : of the server; one leaves nothing to route.
        """
        uses = []
        if self.admission == "whole" or users == 1:
            uses.append("admission reserves KV for the whole output")
        guesses = []
        if self.schedule in ("shortest", "slo"):
            guesses.append(f"the {self.schedule} schedule")
        if self.routing != "round_robin" and cards > 1:
            guesses.append(f"{self.routing} routing")
        if guesses:
            error = self.estimate_error
            known = f"with an error (sigma {error:g})" if error else "exactly"
            uses.append(
                f"{' and '.join(guesses)} {'know' if guesses[1:] else 'knows'} them {known}"
            )
        return "; ".join(uses)

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name}: must be one of {', '.join(choices)}")
        times = (self.fairness_s, self.reserve_s or 0, self.spill_s, self.ttft_goal_s)
        if min(*times, self.estimate_error) < 0:
            raise ValueError("times and errors of a policy are not negative")
        if self.prefetch < 0 or (self.slots is not None and self.slots < 1):
            raise ValueError("prefetch is 0 or more, slots 1 or more")
