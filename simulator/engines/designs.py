"""The compiled engine for many designs at once: the same cycles, without a program for each.

What an engine needs of a design is a few numbers, for its layers are of few kinds:
``hardwire.simulator.timing`` gives them as arrays over designs. A kernel then runs every design's
load to the last cycle, as ``hardwire.simulator.engines.compiled`` would:

Serial issue
    One token is in flight and users take turns. The sum over contexts of ``⌈c · p / q⌉`` has a
    closed form (a floor sum), so that a design costs the same for any number of tokens.
Pipelined issue, distinct layers
    Tokens keep their order at every unit. A chain of units whose cycles are the same for every
    token acts as one unit with the cycles of its slowest, and a delay of all others: with
    ``E_j = max(A_j, E_{j-1}) + c`` twice over, in either order, token ``j`` leaves at
    ``max_i (A_i + (j - i) max(c, d)) + c + d``. So a layer is two units, a block and attention:
    all that is between two attentions, and attention. Tokens leave the slowest block, the first
    such of several, at least its cycles apart, and the attention behind it at least as far apart as
    attention takes: then nobody waits for a unit behind those two, for later tokens take no less of
    attention. So the units up to there are walked, and the others are a sum. Prompt tokens between
    two steps of attention's ``⌈c · p / q⌉`` take the same cycles and are walked at once. Once
    decode tokens of users never meet at a unit, the rest is a sum, too.
Pipelined issue, shared layers
    Tokens overtake: ``hardwire.simulator.engines.shared`` follows every visit.
Layers of several kinds, or with windows
    They differ in how they grow with context: the ordinary engine,
    ``hardwire.simulator.engines.compiled``, runs design after design.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardwire.models.adapter.adapter import Adapter
from hardwire.models.adapter.shape import AdapterShape
from hardwire.models.chip import Chip
from hardwire.models.language_model import LanguageModel
from hardwire.simulator.datapath import adapter_format
from hardwire.simulator.engines import shared
from hardwire.simulator.program import TokenProgram, build_program
from hardwire.simulator.requests import Requests
from hardwire.simulator.timing import Timing, TokenTiming, at, slower

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class BatchRates:
    """``hardwire.simulator.single.Rates`` of P designs: every value has shape ``(P,)``."""

    decode_tokens_per_s_user: Floats
    decode_tokens_per_s_chip: Floats
    token_s: Floats
    ttft_s: Floats
    prefill_tokens_per_s: Floats
    breakdown_s: dict[str, Floats]


@dataclass(frozen=True)
class BatchProgram:
    """Cycles of P designs with layers of K kinds: what decides their times.

    ``pre`` is what comes before attention in a layer, ``post`` what comes behind it: the slowest
    stage and the sum of the stages, where a stage with a side path takes the longer of the two.

    Attributes
    ----------
    kinds : (layers,) int64, kind of each layer.
    embedding, head_max, head_sum : (P,)
    pre_max, pre_sum, post_max, post_sum : (P, K)
    attention : (P, 1 or 2), fixed cycles of each attention stage, the slowest first.
    rate : (P, 2), numerator and denominator of the cycles of an attention stage per context token.
    parts : fixed cycles by operation, (P,) each.
    overlapped, ahead : (P,) last layers that the next token of a prompt does not wait for in serial
        issue, and their fixed cycles.
    """

    kinds: Ints
    embedding: Ints
    head_max: Ints
    head_sum: Ints
    pre_max: Ints
    pre_sum: Ints
    post_max: Ints
    post_sum: Ints
    attention: Ints
    rate: Ints
    parts: dict[str, Ints]
    overlapped: Ints
    ahead: Ints


def batch_rates(
    chip: Chip,
    model: LanguageModel,
    adapter: Adapter | AdapterShape | None = None,
    *,
    prompt: Any,
    output: Any,
    users: Any,
    power_throttle: Any,
    prefill_throttle: Any,
) -> BatchRates:
    """Simulate and measure P designs, each as ``hardwire.simulator.single.run`` would.

    Parameters
    ----------
    chip : numbers may be arrays ``(P,)``; words (issue, layers, …) are the same for all.
    adapter : the one that all users decode with; the rank of a shape may be an array.
    prompt, output, users : of the load, int or ``(P,)``; ``output`` at least 2.
    power_throttle, prefill_throttle : what the power limit leaves of the rates (see
        ``hardwire.simulator.closed_form.predict``), above 0.

    Raises
    ------
    ValueError
        On a load that is none.
    """
    from hardwire.simulator.engines import designs_jit as jit  # noqa: PLC0415 - numba only where it is needed

    given = [np.asarray(value, np.int64) for value in (prompt, output, users)]
    rates = [
        np.asarray(value, np.float64)
        for value in (chip.datapath.clock_ghz * 1e9, power_throttle, prefill_throttle)
    ]
    if model.sliding_window is not None or len(model.layer_kinds) > 1:
        return _one_by_one(chip, model, adapter, given, rates)
    token = Timing.of(chip, model, () if adapter is None else (adapter,)).tokens[-1]
    program = compile_batch(token, np.broadcast(*given, *rates).size)
    points = len(program.embedding)
    prompts, outputs, count = (np.ascontiguousarray(np.broadcast_to(g, points)) for g in given)
    hz, decode, prefill = (np.ascontiguousarray(np.broadcast_to(r, points)) for r in rates)
    if (prompts < 1).any() or (outputs < 2).any() or (count < 1).any():
        raise ValueError("a load needs prompt >= 1, output >= 2 and users >= 1")
    place = np.concatenate([[0], np.cumsum(count)])
    first = np.empty(place[-1], np.int64)
    last = np.empty(place[-1], np.int64)
    load = (prompts, outputs, place)
    if chip.datapath.issue == "serial":
        early = program.overlapped * program.attention.shape[1]
        jit.serial(*_fixed(program), program.ahead, early, program.rate, *load, first, last)
    elif chip.datapath.layers == "distinct":
        jit.pipelined(
            program.kinds, program.embedding, program.head_max, program.head_sum, program.pre_max,
            program.pre_sum, program.post_max, program.post_sum, program.attention, program.rate,
            *load, first, last,
        )  # fmt: skip
    else:
        shared.ends(token, prompt=prompts, output=outputs, place=place, first=first, last=last)
    rate_user, rate_chip, ttft, latest, grown = (np.empty(points) for _ in range(5))
    jit.measure(
        *load, first, last, hz, decode, prefill, program.rate, rate_user, rate_chip, ttft, latest,
        grown,
    )  # fmt: skip
    breakdown = {name: cycles / hz for name, cycles in program.parts.items()}
    attentions = len(program.kinds) * program.attention.shape[1]
    breakdown["attention"] = breakdown["attention"] + attentions * grown / hz
    return _measured(rate_user, rate_chip, ttft, count * prompts / latest, breakdown, decode)


def _one_by_one(
    chip: Chip,
    model: LanguageModel,
    adapter: Adapter | AdapterShape | None,
    given: list[Ints],
    rates: list[Floats],
) -> BatchRates:
    """``batch_rates`` of a model whose layers are of several kinds, by the ordinary engine."""
    from hardwire.simulator.engines import designs_jit as jit  # noqa: PLC0415 - numba only where it is needed

    timing = Timing.of(chip, model, () if adapter is None else (adapter,))
    parts = timing.tokens[-1].by_operation(lambda stage: stage.cycles)
    points = np.broadcast(*given, *rates, *parts.values(), np.empty(1)).size
    prompts, outputs, count = (np.ascontiguousarray(np.broadcast_to(g, points)) for g in given)
    hz, decode, prefill = (np.ascontiguousarray(np.broadcast_to(r, points)) for r in rates)
    if (prompts < 1).any() or (outputs < 2).any() or (count < 1).any():
        raise ValueError("a load needs prompt >= 1, output >= 2 and users >= 1")
    place = np.concatenate([[0], np.cumsum(count)])
    first, last = np.empty(place[-1], np.int64), np.empty(place[-1], np.int64)
    attention = np.empty(points)
    for point, (users_of, asked, made) in enumerate(
        zip(count.tolist(), prompts.tolist(), outputs.tolist(), strict=True)
    ):
        program = _program_of(chip, model, adapter, point)
        mine = slice(place[point], place[point + 1])
        row = 0 if adapter is None else 1
        first[mine], last[mine] = _run(program, Requests.uniform(users_of, asked, made, row))
        context = np.arange(asked + 1, asked + made)
        reading = program.timing.tokens[-1].by_operation(at(context))
        attention[point] = np.mean(reading["attention"])
    rate_user, rate_chip, ttft, latest, unused = (np.empty(points) for _ in range(5))
    no_rate = np.tile(np.array([0, 1]), (points, 1))
    jit.measure(
        prompts, outputs, place, first, last, hz, decode, prefill, no_rate, rate_user, rate_chip,
        ttft, latest, unused,
    )  # fmt: skip
    cycles = {
        name: np.broadcast_to(np.asarray(part, float), points) for name, part in parts.items()
    }
    cycles["attention"] = attention
    breakdown = {name: part / hz for name, part in cycles.items()}
    return _measured(rate_user, rate_chip, ttft, count * prompts / latest, breakdown, decode)


def _measured(
    rate_user: Floats,
    rate_chip: Floats,
    ttft: Floats,
    prefill: Floats,
    breakdown: dict[str, Floats],
    decode: Floats,
) -> BatchRates:
    """Rates, and a decode step divided by operation, with what is waited for and throttled."""
    token_s = 1 / rate_user
    capped = token_s * (1 - decode)
    waited = token_s - capped - sum(breakdown.values())
    breakdown["waiting"] = np.where(waited > 1e-12 * token_s, waited, 0.0)
    breakdown["power_cap"] = capped
    return BatchRates(rate_user, rate_chip, token_s, ttft, prefill, breakdown)


def compile_batch(token: TokenTiming, points: int = 1) -> BatchProgram:
    """The numbers of ``hardwire.simulator.program.build_program`` for arrays of designs.

    Parameters
    ----------
    points : designs, where nothing of the token is an array.
    """
    parts = token.by_operation(lambda stage: stage.cycles)
    spans: dict[str, list[Any]] = {"pre_max": [], "pre_sum": [], "post_max": [], "post_sum": []}
    (of_layer,) = token.stages.kinds
    attention = of_layer.attention
    head = token.head_parts
    for kind in token.kinds:
        for span, stages in (("pre", of_layer.before), ("post", of_layer.behind)):
            slowest: Any = 0
            total: Any = 0
            for stage in stages:
                for part in token.parts(stage, kind.side):
                    slowest, total = np.maximum(slowest, part), total + part
            spans[f"{span}_max"].append(slowest)
            spans[f"{span}_sum"].append(total)
    ahead = token.ahead(lambda stage: stage.cycles)
    found = np.broadcast(
        *parts.values(), ahead, token.overlapped, *(v for vs in spans.values() for v in vs), *head,
        *(x for stage in attention for x in (stage.cycles, *slower(stage.rates))), np.empty(points),
    ).shape  # fmt: skip

    def whole(value: Any) -> Ints:
        return np.ascontiguousarray(np.broadcast_to(np.asarray(value).astype(np.int64), found))

    return BatchProgram(
        kinds=token.kind_of,
        embedding=whole(token.stages.embedding.cycles),
        head_max=whole(np.max(np.stack([whole(c) for c in head]), axis=0)),
        head_sum=whole(sum(head)),
        **{name: np.stack([whole(v) for v in values], axis=1) for name, values in spans.items()},
        attention=np.stack([whole(stage.cycles) for stage in attention], axis=1),
        rate=np.stack([whole(part) for part in slower(attention[0].rates)], axis=1),
        parts={name: whole(value) for name, value in parts.items()},
        overlapped=whole(token.overlapped),
        ahead=whole(ahead),
    )


def _fixed(program: BatchProgram) -> tuple[Ints, Ints]:
    """Cycles of a token that do not depend on context, and how many stages do, ``(P,)`` each."""
    layers, stages = len(program.kinds), program.attention.shape[1]
    times = np.bincount(program.kinds, minlength=program.pre_sum.shape[1])
    body = program.embedding + (program.pre_sum + program.post_sum) @ times
    body += layers * program.attention.sum(axis=1)
    growing = np.full(len(body), layers * stages, np.int64)
    return np.stack([body, program.head_sum], axis=1), growing


def _program_of(
    chip: Chip, model: LanguageModel, adapter: Adapter | AdapterShape | None, point: int
) -> TokenProgram:
    """The ordinary engine's program of one design."""
    values = {name: chip.value(name) for name in chip.parameters}
    chosen = {k: v[point].item() for k, v in values.items() if np.ndim(v) == 1}
    if isinstance(adapter, AdapterShape):
        rank = int(adapter.rank[point] if np.ndim(adapter.rank) else adapter.rank)
        fmt = adapter_format(chip, adapter)
        adapter = Adapter.from_shape(f"r{rank}:{'+'.join(adapter.targets)}:{fmt}", model)
    return build_program(chip._replaced(chosen), model, [] if adapter is None else [adapter])


def _run(program: TokenProgram, requests: Requests) -> tuple[Ints, Ints]:
    """Cycles of the first and last output token of each user, by the ordinary engine."""
    from hardwire.simulator.engines.compiled import simulate  # noqa: PLC0415 - numba only where it is needed

    done = simulate(program, requests).done
    ends = done.reshape(-1, requests.tokens[0])
    return ends[:, requests.prompt[0] - 1], ends[:, -1]
