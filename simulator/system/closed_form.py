"""Rates of a system in closed form: the steps of a token added up, and its busiest unit.

Numbers of links, context, users and places may be arrays; dies and their splits are one walk. A
token alone takes what the engines give, but for means over contexts and over drawn experts. Several
tokens wait for each other's messages (``links``), and are no faster than the unit that each of them
holds longest; see docs/systems-timing.md for the error.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardwire.models.adapter.adapter import Adapter
from hardwire.models.brief import brief, one_line
from hardwire.models.system.placement import HOST
from hardwire.models.system.system import System
from hardwire.simulator.closed_form import predict
from hardwire.simulator.datapath import BYPASS_CYCLES, Stage, overlapped_layers, own_unit
from hardwire.simulator.load import check_load
from hardwire.simulator.system.build import ROUNDING, tick_hz
from hardwire.simulator.system.links import Queues, step_among_others, waited
from hardwire.simulator.system.longest import Longest
from hardwire.simulator.system.program import CAUSES, LINK
from hardwire.simulator.system.routing import Routing
from hardwire.simulator.system.stages import Work
from hardwire.simulator.system.walk import TOKEN_BACK, Part, Send, Step, Walk, walk_of
from hardwire.simulator.timing import mean

DRAWS = 2048
"""Tokens whose experts are drawn for the mean load of the busiest die: its error is under 1%."""


@dataclass(frozen=True)
class SystemRates:
    """What the closed form says of a system and a load. SI units; numbers, or arrays.

    Attributes
    ----------
    decode_tokens_per_s_user, decode_tokens_per_s_system : of one user, and of all.
    token_s : between two tokens of one user.
    ttft_s : mean time to the first token of users who begin together.
    prefill_tokens_per_s : prompt tokens of all users until the last first token.
    latency_s : ``token_s`` by cause, see ``hardwire.simulator.system.program.CAUSES``.
    critical_unit : what each token holds longest, which bounds the rate; of arrays at the first
        point.
    critical_s : for how long.
    in_flight : tokens in the system at once.
    """

    decode_tokens_per_s_user: Any
    decode_tokens_per_s_system: Any
    token_s: Any
    ttft_s: Any
    prefill_tokens_per_s: Any
    latency_s: dict[str, Any]
    critical_unit: str
    critical_s: Any
    in_flight: Any

    def __repr__(self) -> str:
        designs = np.size(self.token_s)
        return one_line(
            self,
            "",
            f"{designs:,} systems" if designs > 1 else "",
            f"{brief(self.decode_tokens_per_s_user)} tokens/s for one user",
            f"{brief(self.decode_tokens_per_s_system)} for all",
            f"bound by {self.critical_unit}",
        )


def rates(
    system: System,
    *,
    prompt: Any,
    output: Any,
    users: Any = 1,
    past: Any = 0,
    adapter: Adapter | None = None,
    routing: str | Routing = "uniform",
    walk: Walk | None = None,
) -> SystemRates:
    """Rates for ``users`` equal requests that arrive together.

    Parameters
    ----------
    prompt, output, users : tokens, and how many; numbers or arrays that broadcast with each other
        and with the numbers of the links.
    past : tokens of context that are in each user's KV cache before.
    routing : of experts, as ``Routing.open`` reads it.
    walk : ``walk_of(system, adapters)`` with this adapter or none, where it is at hand.

    Raises
    ------
    InputError
        If the load has no decode step or nobody, or as ``walk_of``.
    """
    prompt, output, users = check_load(prompt=prompt, output=output, users=users)
    if len(system.dies) == 1 and not system.places and not np.any(past):
        return _of_one(system, prompt, output, users, adapter)
    walk = walk or walk_of(system, () if adapter is None else (adapter,))
    return _Forms(walk, len(walk.adapters), Routing.open(routing)).rates(
        prompt, output, users, past
    )


def _of_one(
    system: System, prompt: Any, output: Any, users: Any, adapter: Adapter | None
) -> SystemRates:
    """One die is its chip: what ``hardwire.simulator.closed_form`` says of it."""
    (die,) = system.dies
    found = predict(
        die.chip, system.model, adapter=adapter, prompt=prompt, output=output, users=users
    )
    parts = found.breakdown_s
    latency = dict.fromkeys(CAUSES, 0.0) | {
        "compute": parts["rom"] + parts["lora"] + parts["norms_activations"],
        "attention": parts["attention"],
        "head": parts["lm_head_sampling"],
    }
    latency["stall"] = np.maximum(found.token_s - sum(latency.values()), 0)[()]
    serial = die.chip.datapath.issue == "serial"
    return SystemRates(
        decode_tokens_per_s_user=found.decode_tokens_per_s_user,
        decode_tokens_per_s_system=found.decode_tokens_per_s_chip,
        token_s=found.token_s,
        ttft_s=found.ttft_s,
        prefill_tokens_per_s=found.prefill_tokens_per_s,
        latency_s=latency,
        critical_unit=f"{die.name}",
        critical_s=found.token_s / users,
        in_flight=1 if serial else users,
    )


class _Forms:
    """The closed forms over one walk, of one row of adapters."""

    def __init__(self, walk: Walk, row: int, routing: Routing) -> None:
        self.walk, self.row, self.system = walk, row, walk.system
        self.hz = tick_hz(walk.system)
        self.hz_of = {
            die.name: float(die.chip.datapath.clock_ghz) * 1e9 for die in walk.system.dies
        }
        self.shared = {die.name: die.chip.datapath.layers == "shared" for die in walk.system.dies}
        self.sequential = {
            die.name: die.chip.lora.order == "sequential" for die in walk.system.dies
        }
        self.routing = routing
        self.times = Counter(id(part.steps) for part in walk.parts)
        self.unlike = {id(part.steps): part for part in walk.parts}.values()

    def rates(self, prompt: Any, output: Any, users: Any, past: Any) -> SystemRates:
        context, spread = past + prompt + output / 2, np.maximum(output - 2, 0)
        causes = self.by_cause(context, spread, head=True)
        token = sum(causes.values())
        longest = self.longest(context, spread, head=True)
        places = self.system.places or np.inf
        flying = np.minimum(users, places)
        queues = self.queues()
        paced = step_among_others(token, flying - 1, queues)
        paced = np.maximum(paced, flying * longest.seconds)
        step = paced * (users / flying)
        latency = dict.fromkeys(CAUSES, 0.0) | causes
        of_links = np.minimum(waited(paced, flying - 1, queues), paced - token)
        of_links = np.where(longest.on_link, paced - token, of_links)[()]
        latency["link_queue"], latency["stall"] = of_links, step - token - of_links
        first, latest = self.first_tokens(prompt, users, past)
        return SystemRates(
            decode_tokens_per_s_user=1 / step,
            decode_tokens_per_s_system=users / step,
            token_s=step,
            ttft_s=first,
            prefill_tokens_per_s=users * prompt / latest,
            latency_s=latency,
            critical_unit=longest.name,
            critical_s=longest.seconds,
            in_flight=flying,
        )

    def first_tokens(self, prompt: Any, users: Any, past: Any) -> tuple[Any, Any]:
        """Mean seconds until users have a first token, and until the last of them has.

        Prompt tokens follow each other without the head; the last one has it. Behind a unit that
        each visits once they leave one by one. One that they visit again and again they may keep
        busy from begin to end, or leave one by one: the middle of both, for all users at once.
        """
        places = self.system.places or np.inf
        inside, wide = past + (prompt + 1) / 2, np.maximum(prompt - 2, 0)
        body = sum(self.by_cause(inside, wide, head=False).values())
        alone = sum(self.by_cause(past + prompt, 0, head=True).values())
        paces = self.by_visits(inside, wide, head=False)
        behinds = self.by_visits(past + prompt, 0, head=True)
        mean: Any = 0.0
        latest: Any = 0.0
        for often, (pace, behind) in enumerate(zip(paces, behinds, strict=True)):
            each = np.maximum(pace.seconds, body / places)
            apart = np.maximum(behind.seconds, each)
            before = users * (prompt - 1) * each
            last = before + alone + (users - 1) * apart
            if often:
                last = (np.maximum(before + users * behind.seconds, alone) + last) / 2
            latest = np.maximum(latest, last)
            mean = np.maximum(mean, last - (0 if often else (users - 1) / 2 * apart))
        return mean, latest

    # --- a token alone ------------------------------------------------------------------------

    def by_cause(self, context: Any, spread: Any, *, head: bool) -> dict[str, Any]:
        """Seconds of a token's steps by cause."""
        found: dict[str, Any] = {}
        for part in self.parts(head):
            times = self.times[id(part.steps)]
            for step in part.steps:
                seconds = times * self.alone(step, context, spread)
                cause = CAUSES[step.cause]
                found[cause] = found.get(cause, 0.0) + seconds
        return found

    def parts(self, head: bool) -> list[Part]:
        return [part for part in self.unlike if head or not part.head]

    def alone(self, step: Step, context: Any, spread: Any) -> Any:
        """Seconds of a step whose units are free."""
        if step.cause == LINK:
            return self.transfer(step)
        seconds: Any = self.fixed(step)
        for die, work in self.growing(step):
            read = self.attention(work, context, spread) / self.hz_of[die]
            seconds = np.maximum(seconds, read)
        return seconds

    @functools.cache  # noqa: B019 - as long as the forms
    def fixed(self, step: Step) -> float:
        """Of what does not grow with context."""
        first, behind = 0.0, 0.0
        for die, work in step.works:
            if work.rates or work.experts:
                continue
            main, side = self.branches(die, work)
            if self.sequential[die]:
                behind = max(behind, side / self.hz_of[die])
                side = 0
            tail = work.tail
            first = max(first, (max(main, side) + tail) / self.hz_of[die])
        if any(work.experts for _, work in step.works):
            first = max(first, self.experts(step)[0])
        return first + behind

    def branches(self, die: str, work: Work) -> tuple[int, int]:
        """Cycles of a matrix and of its side path."""
        if not work.side:
            return work.cycles, 0
        side = work.side[self.row]
        alone = self.sequential[die] and side == BYPASS_CYCLES
        return work.cycles - BYPASS_CYCLES * alone, side

    @functools.cache  # noqa: B019
    def growing(self, step: Step) -> tuple[tuple[str, Work], ...]:
        """Works that grow with context, one of those that are alike."""
        unlike = {(self.hz_of[die], work): (die, work) for die, work in step.works if work.rates}
        return tuple(unlike.values())

    def attention(self, work: Work, context: Any, spread: Any) -> Any:
        """Mean cycles over contexts; a die has its share of their tokens, rounded up."""
        dies = work.dies
        window = -(-work.window // dies) if work.window else None
        stage = Stage(work.name, "attention", work.unit, work.cycles, work.rates, window)
        return mean((context + (dies - 1) / 2) / dies, spread / dies)(stage)

    def transfer(self, step: Step) -> Any:
        """Seconds of the messages of a step: of its turns the mean."""
        total: Any = 0.0
        for share, sends in self.unlike_sends(step):
            seconds: Any = 0.0
            for send in sends:
                held = self.ticks(send) + self.in_ticks(send.latency_s)
                seconds = np.maximum(seconds, held)
            total = total + share * seconds / self.hz
        return total

    def ticks(self, send: Send) -> Any:
        return np.maximum(self.in_ticks(send.bytes / send.bytes_per_s), 1)

    def in_ticks(self, seconds: Any) -> Any:
        return np.ceil(seconds * self.hz - ROUNDING)

    @functools.cache  # noqa: B019
    def unlike_sends(self, step: Step) -> tuple[tuple[float, tuple[Send, ...]], ...]:
        """By turn: its share of the tokens, and what is sent, one of those that are alike.

        Two visits of a token to one link follow each other: their bytes are added.
        """
        turns = math.lcm(*(send.turn[0] for send in step.sends))
        found: Counter[tuple[Any, ...]] = Counter()
        sends_of: dict[tuple[Any, ...], tuple[Send, ...]] = {}
        for turn in range(turns):
            units: dict[str, Send] = {}
            for send in step.sends:
                modulus, remainder = send.turn
                if turn % modulus == remainder:
                    other = units.get(send.unit)
                    more = other.bytes if other else 0
                    units[send.unit] = replace(send, bytes=send.bytes + more)
            unlike = {send.like: send for send in units.values()}
            key = tuple(sorted(unlike))
            found[key] += 1
            sends_of[key] = tuple(unlike[one] for one in key)
        return tuple((count / turns, sends_of[key]) for key, count in found.items())

    # --- experts ------------------------------------------------------------------------------

    @functools.cached_property
    def drawn(self) -> NDArray[np.int64]:
        """Experts of some tokens, layers one behind the other, ``(draws, k)``."""
        model = self.system.model
        assert model.experts is not None
        layers = sum(kind.experts * len(kind.layers) for kind in model.layer_kinds)
        tokens = -(-DRAWS // layers)
        found = self.routing.draw(tokens, layers, model.experts.count, model.experts.active)
        return found.of_token.reshape(-1, model.experts.active).astype(np.int64)

    @functools.cache  # noqa: B019
    def experts(self, step: Step) -> tuple[float, float]:
        """Mean seconds of a step of experts, and that a token holds the busiest of its units.

        The arrays of an expert are its own. Other units of a die, and the one array that layers
        share, are held once for each chosen expert, and once more for what stands beside them.
        """
        model = self.system.model
        assert model.experts is not None
        works = [(die, work) for die, work in step.works if work.experts]
        place = np.zeros(model.experts.count, np.int64)
        for number, (_, work) in enumerate(works):
            place[list(work.experts)] = number
        hz = np.array([self.hz_of[die] for die, _ in works])
        held = np.array([work.cycles for _, work in works]) / hz
        tail = np.array([work.tail for _, work in works]) / hz
        beside = np.zeros(len(works))
        for number, (die, work) in enumerate(works):
            for other, more in step.works:
                if other == die and not more.experts and more.unit == work.unit != "rom":
                    beside[number] += more.cycles / self.hz_of[die]
        own = np.array([work.unit == "rom" and not self.shared[die] for die, work in works])
        chosen = place[self.drawn]
        counts = np.stack([(chosen == number).sum(axis=1) for number in range(len(works))], axis=1)
        visits = np.where(own, counts > 0, counts)
        busy = visits * held + beside
        alone = np.where(busy > 0, busy + tail, 0).max(axis=1).mean()
        of_expert = np.bincount(self.drawn.ravel(), minlength=model.experts.count) / len(self.drawn)
        if self.routing.name == "uniform":
            of_expert[:] = model.experts.active / model.experts.count
        one = (of_expert * np.where(own, held, 0)[place]).max()
        return float(alone), float(max(one, np.where(own, 0, busy.mean(axis=0)).max()))

    # --- the busiest unit ---------------------------------------------------------------------

    def longest(self, context: Any, spread: Any, *, head: bool) -> Longest:
        """The unit that a token holds longest."""
        once, often = self.by_visits(context, spread, head=head)
        return once.longer(often)

    def by_visits(self, context: Any, spread: Any, *, head: bool) -> tuple[Longest, Longest]:
        """Of units that a token visits once, and of others, the one that it holds longest."""
        found = [Longest(*self.of_dies(head))]
        for die, work in self.of_growing(head):
            seconds = self.attention(work, context, spread) / self.hz_of[die]
            found.append(Longest(seconds, f"{die} {own_unit(work.unit, work.name)}"))
        for die, name, works in self.of_shared(head):
            seconds, visits = 0.0, 0
            for count, work in works:
                grows = self.attention(work, context, spread) if work.rates else work.cycles
                seconds, visits = seconds + count * grows / self.hz_of[die], visits + count
            found.append(Longest(seconds, f"{die} {name}", visits))
        for name, sends in self.of_links(head):
            seconds = sum(count * self.ticks(send) for count, send in sends) / self.hz
            times = max(sum(count for count, _ in sends), 1)
            found.append(Longest(seconds, name, times, on_link=True))
        for name, gate in self.gates(head):
            seconds = sum(count * self.alone(step, context, spread) for count, step in gate)
            found.append(Longest(seconds, name))
        once = [one for one in found if one.visits <= 1]
        often = [one for one in found if one.visits > 1]
        nothing = Longest(0.0, "")
        return functools.reduce(Longest.longer, once), functools.reduce(
            Longest.longer, often, nothing
        )

    @functools.cache  # noqa: B019
    def of_dies(self, head: bool) -> tuple[float, str]:
        """Of units that have one visit of a token, which do not grow with context."""
        longest = (0.0, "")
        for part in self.parts(head):
            for step in part.steps:
                for die, work in step.works:
                    if self.shared[die] or work.rates or work.experts:
                        continue
                    main, side = self.branches(die, work)
                    for kind, cycles in ((work.unit, main), ("lora", side)):
                        found = cycles / self.hz_of[die], f"{die} {own_unit(kind, work.name)}"
                        longest = max(longest, found, key=lambda one: one[0])
                if any(work.experts for _, work in step.works):
                    found = self.experts(step)[1], step.name
                    longest = max(longest, found, key=lambda one: one[0])
        return longest

    @functools.cache  # noqa: B019
    def of_growing(self, head: bool) -> tuple[tuple[str, Work], ...]:
        """Attention that is a unit of its own, one of those that are alike."""
        steps = (step for part in self.parts(head) for step in part.steps)
        works = (one for step in steps for one in self.growing(step) if not self.shared[one[0]])
        return tuple({(self.hz_of[die], work): (die, work) for die, work in works}.values())

    @functools.cache  # noqa: B019
    def of_shared(self, head: bool) -> tuple[tuple[str, str, tuple[tuple[int, Work], ...]], ...]:
        """Of dies whose layers share units: the unit, and how often a token makes which visit."""
        found: dict[tuple[str, str], Counter[Work]] = {}
        for part in self.parts(head):
            for step in part.steps:
                for die, work in step.works:
                    if self.shared[die] and not work.experts:
                        times = self.times[id(part.steps)]
                        found.setdefault((die, work.unit), Counter())[work] += times
        return tuple(
            (die, unit, tuple((n, w) for w, n in c.items())) for (die, unit), c in found.items()
        )

    @functools.cache  # noqa: B019
    def of_links(self, head: bool) -> tuple[tuple[str, tuple[tuple[float, Send], ...]], ...]:
        """Links and ports, one of those that carry alike: messages, and how many of each a token
        sends."""
        sends = {
            send.like: send for part in self.parts(head) for s in part.steps for send in s.sends
        }
        unlike = {carried: name for name, carried in self.carried(head).items()}
        return tuple(
            (name, tuple((times, sends[like]) for like, times in carried))
            for carried, name in unlike.items()
        )

    @functools.cache  # noqa: B019
    def carried(self, head: bool) -> dict[str, frozenset[tuple[tuple[Any, ...], float]]]:
        """What a token sends over each link and port, and how often."""
        found: dict[str, dict[tuple[Any, ...], float]] = {}
        for part in self.parts(head):
            for step in part.steps:
                for send in step.sends:
                    times = self.times[id(part.steps)] / send.turn[0]
                    carries = found.setdefault(send.unit, {})
                    carries[send.like] = carries.get(send.like, 0.0) + times
        return {name: frozenset(carries.items()) for name, carries in found.items()}

    def queues(self) -> Queues:
        """Of links that a token visits more than once: what ``step_among_others`` asks for."""
        carried, numbers = self.carried(True), dict[Any, int]()
        held, squares = list[Any](), list[Any]()
        for name, sends in self.of_links(True):
            if sum(times for times, _ in sends) > 1:
                numbers[carried[name]] = len(held)
                ticks = [(times, self.ticks(send) / self.hz) for times, send in sends]
                held.append(sum(times * one for times, one in ticks))
                squares.append(sum(times * one * one for times, one in ticks))
        steps: Counter[tuple[int, ...]] = Counter()
        for part in self.parts(True):
            for step in part.steps:
                kinds = {carried[send.unit] for send in step.sends}
                if links := tuple(sorted(numbers[one] for one in kinds if one in numbers)):
                    steps[links] += self.times[id(part.steps)]
        return held, squares, [(float(times), links) for links, times in steps.items()]

    @functools.cache  # noqa: B019
    def gates(self, head: bool) -> tuple[tuple[str, tuple[tuple[int, Step], ...]], ...]:
        """Stages whose dies have one token of theirs in flight, and the steps that it is there."""
        placement, found = self.system.placement, []
        for number, stage in enumerate(placement.stages):
            chips = [self.system.die(die).chip for die in stage.dies]
            if any(chip.datapath.issue != "serial" for chip in chips):
                continue
            own = replace(self.system.model, layers=len(stage.layers))
            ahead = 0 if head else int(min(overlapped_layers(chip, own) for chip in chips))
            until = stage.layers.stop - ahead
            steps: Counter[Step] = Counter()
            for part in self.walk.parts:
                mine = part.stage == number and part.layer < until
                early = number == 0 and part.stage < 0 and part is self.walk.parts[0]
                early &= placement.embedding in (HOST, *stage.dies)
                late = part.head and head and number + 1 == len(placement.stages)
                late &= set(placement.head) <= set(stage.dies)
                if mine or early or late:
                    steps.update(step for step in part.steps if step.name != TOKEN_BACK)
            name = f"stage {number}, one token at a time"
            found.append((name, tuple((count, step) for step, count in steps.items())))
        return tuple(found)
