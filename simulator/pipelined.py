"""Pipelined issue in closed form: tokens that follow each other at the pace of the busiest unit.

For numbers or arrays with one element per design. Exact but for means over contexts, and for tokens
that queue on units which layers share: ``hardwire.simulator.queueing`` follows those.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from hardwire.simulator.queueing import queued_step, queues
from hardwire.simulator.timing import TokenTiming, at, mean, rate

EXACT, FOLLOWED, FEW = 1e-3, 3e-2, 0.15
"""What the closed form's times are off by at most, relative: alone and behind each other; where
some steps stand for all, and few prompt tokens meet, on shared units; where these are two or three.
From some thousand random designs and loads, of which ``hardwire validate`` measures one."""

PARTS = 4
"""Into which a request's contexts are divided where one of two times is the longer."""

SAMPLES = 16
"""Contexts that stand for all where layers attend to windows."""

NONE = 1e-9
"""The width of no contexts, which have a mean all the same."""


def initiation_cycles(
    token: TokenTiming, context: Any, spread: Any = 0, *, inside_prompt: bool = False
) -> tuple[Any, str]:
    """Cycles per token of the busiest unit, which bounds pipelined issue, and its name.

    ``context`` and ``spread`` as ``hardwire.simulator.timing.mean``.

    A token ``inside_prompt`` does not visit the LM head. With arrays the name is that of the unit
    which is busiest at the first point.
    """
    busy = token.by_unit(mean(context, spread), inside_prompt=inside_prompt)
    name = max(busy, key=lambda unit: np.ravel(busy[unit])[0])
    return functools.reduce(np.maximum, busy.values()), name


def busiest_cycles(token: TokenTiming, low: Any, high: Any, *, inside_prompt: bool = False) -> Any:
    """Cycles per token of the busiest unit, whichever it is, averaged over contexts.

    Units take the same for every token, but for those of attention, which grow evenly and can
    become the busiest on the way: the mean from ``low`` to ``high`` of the larger of the two. Where
    layers have windows, the mean over ``SAMPLES`` contexts between them.
    """
    if any(stage.window is not None for _, stage in token.attention()):
        return _sampled_busiest(token, low, high, inside_prompt=inside_prompt)
    fixed = functools.reduce(
        np.maximum, token.by_unit(lambda stage: 0, inside_prompt=inside_prompt).values()
    )
    visits = token.layers if token.shared else 1
    width = np.maximum(high - low, NONE)
    over: Any = 0
    for stage in token.kinds[0].stages.attention:
        slope = visits * rate(stage.rates)
        begin = visits * mean(low)(stage) - fixed
        end = begin + slope * width
        above = np.maximum(end, 0) ** 2 - np.maximum(begin, 0) ** 2
        over = np.maximum(over, above / (2 * slope * width))
    return fixed + over


def _sampled_busiest(token: TokenTiming, low: Any, high: Any, *, inside_prompt: bool) -> Any:
    each = (high - low) / SAMPLES
    total: Any = 0
    for part in range(SAMPLES):
        reading = mean(low + (part + 0.5) * each, each)
        busy = token.by_unit(reading, inside_prompt=inside_prompt)
        total = total + functools.reduce(np.maximum, busy.values())
    return total / SAMPLES


def first_token_cycles(token: TokenTiming, prompt: Any, users: Any) -> tuple[Any, Any]:
    """Cycles until the last of users who begin together has a first token, pipelined issue.

    Tokens follow each other from the begin, at the pace of the busiest unit.

    Layers of their own: the longest way through tokens and stages. It follows the busiest unit
    from token to token and goes once through all stages, best with the last token, which takes the
    longest; only the first layer's attention it takes with the first token, where the busiest unit
    is behind that. So it is exact but for the mean rounding of attention.

    Shared layers: all tokens are in the first layers at once and keep the unit that has most to do
    for them at work, until the last of them leave the last layer, one visit behind the other.

    Returns
    -------
    last, apart : cycles until the last user's token, and between the tokens of two users.
    """
    whole = sum(token.by_operation(at(prompt)).values())
    busiest = functools.reduce(np.maximum, token.by_unit(at(prompt), inside_prompt=True).values())
    widest = functools.reduce(np.maximum, token.head_parts)
    if not token.shared:
        apart = np.maximum(busiest, widest)
        each = busiest_cycles(token, 0.5, prompt - 0.5, inside_prompt=True)
        way = users * (prompt - 1) * each + whole - _passed_early(token, prompt)
        return way + (users - 1) * apart, apart
    leaving = busiest / token.layers
    apart = np.maximum(leaving, widest)
    inside, _ = initiation_cycles(token, (prompt + 1) / 2, prompt - 1, inside_prompt=True)
    work = users * prompt * inside
    alone = whole - token.head + (users - 1) * leaving
    return np.maximum(work, alone) + (users - 1) * (apart - leaving) + token.head, apart


def _passed_early(token: TokenTiming, prompt: Any) -> Any:
    """What attention takes less with the first token, where the busiest unit is behind it."""
    first = token.kinds[token.kind_of[0]].stages
    alike = [kind for kind in token.kinds if kind.stages is first]
    ahead = [token.stages.embedding.cycles, *(at(1)(stage) for stage in first.attention)]
    for stage in first.before:
        ahead += [token.alone(stage, kind.side) for kind in alike]
        ahead += [kind.side[stage.name] for kind in alike if stage.name in kind.side]
    busiest = functools.reduce(np.maximum, token.by_unit(at(1), inside_prompt=True).values())
    less = sum(at(prompt)(stage) - at(1)(stage) for stage in first.attention)
    return np.where(busiest > functools.reduce(np.maximum, ahead), less, 0)


def step_cycles(token: TokenTiming, *, prompt: Any, output: Any, users: Any) -> Any:
    """Mean cycles of a user's decode step in pipelined issue.

    The longer of a token's own time and all users' time on the busiest unit; where tokens queue
    for more than that, as ``hardwire.simulator.queueing`` follows them.
    """
    step: Any = 0
    for part in range(PARTS):
        low, high = (prompt + 0.5 + (output - 1) * (part + i) / PARTS for i in (0, 1))
        whole = sum(token.by_operation(mean((low + high) / 2, high - low)).values())
        step = step + np.maximum(whole, users * busiest_cycles(token, low, high)) / PARTS
    behind = queues(token, prompt + output / 2, users)
    if not np.any(behind):
        return step
    where = np.broadcast_to(behind, np.broadcast(step, prompt, output, users).shape)
    step = np.array(np.broadcast_to(step, where.shape), float)
    load = {"prompt": prompt, "output": output, "users": users}
    step[where] = queued_step(token, **load, where=np.atleast_1d(where))
    return step[()]


def error_bound(token: TokenTiming, *, prompt: Any, users: Any) -> Any:
    """What step and first token in pipelined issue are off by at most, relative to the engine."""
    if not token.shared:
        return EXACT
    tokens = np.asarray(users * prompt)
    meet = (np.asarray(users) > 1) | ((tokens > 1) & (tokens < 16))
    bound = np.where(meet, FOLLOWED, EXACT)
    return np.where((tokens == 2) | (tokens == 3), FEW, bound)[()]
