"""Rates of a system by an engine: what its tokens took, and where their time went."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np

from hardwire.models.adapter.adapter import Adapter
from hardwire.models.errors import InputError
from hardwire.models.system.system import System
from hardwire.simulator.closed_form import predict
from hardwire.simulator.load import check_load
from hardwire.simulator.requests import AdapterLoad, Requests
from hardwire.simulator.single import Engine
from hardwire.simulator.system.build import build_program
from hardwire.simulator.system.closed_form import SystemRates, rates
from hardwire.simulator.system.program import CAUSES, SystemProgram
from hardwire.simulator.system.routing import Choices, Routing
from hardwire.simulator.system.timeline import SystemTimeline
from hardwire.simulator.system.walk import walk_of


def measure(
    system: System,
    *,
    prompt: int,
    output: int,
    users: int = 1,
    past: int = 0,
    adapter: Adapter | None = None,
    routing: str | Routing = "uniform",
    engine: Engine = "compiled",
    seed: int = 0,
) -> SystemRates:
    """Simulate ``users`` equal requests that arrive together.

    The critical unit is the closed form's: an engine knows only who waited, and not for what the
    rate would be higher. Of one die, the power limit slows it as it slows its chip.

    Parameters
    ----------
    past : tokens of context that are in each user's KV cache before.
    routing, seed : of experts, see ``Routing``.

    Raises
    ------
    InputError
        If the load or the engine is none, or as ``walk_of``.
    """
    if engine not in get_args(Engine):
        raise InputError(f"engine: '{engine}' is not one of {', '.join(get_args(Engine))}")
    prompt, output, users = check_load(prompt=prompt, output=output, users=users)
    held = () if adapter is None else (adapter,)
    walk = walk_of(system, held)
    closed = rates(
        system,
        prompt=prompt,
        output=output,
        users=users,
        past=past,
        adapter=adapter,
        routing=routing,
        walk=walk,
    )
    program = build_program(system, held, past=past, walk=walk)
    requests = Requests.uniform(users, prompt, output, len(held))
    choices = chosen_experts(system, program, requests, Routing.open(routing), seed)
    times = timeline(program, requests, choices, engine)
    decode_hz, prefill_hz = _hz(system, program, adapter, prompt, output, users)
    tokens = [times.of_request(requests, user, decoded=False) for user in range(users)]
    outputs = np.stack([times.done[mine] for mine in tokens])
    of_user = (output - 1) / (outputs[:, -1] - outputs[:, 0]) * decode_hz
    first_s = outputs[:, 0] / prefill_hz
    token_s = 1 / float(of_user.mean())
    decoded = [times.of_request(requests, user, decoded=True) for user in range(users)]
    spent = np.concatenate([times.spent[mine] for mine in decoded]).mean(axis=0)
    return replace(
        closed,
        decode_tokens_per_s_user=float(of_user.mean()),
        decode_tokens_per_s_system=float(of_user.sum()),
        token_s=token_s,
        ttft_s=float(first_s.mean()),
        prefill_tokens_per_s=users * prompt / float(first_s.max()),
        latency_s=dict(zip(CAUSES, (spent / decode_hz).tolist(), strict=True)),
    )


def chosen_experts(
    system: System, program: SystemProgram, requests: Requests, routing: Routing, seed: int = 0
) -> Choices | None:
    """Experts for all tokens of some requests; None for a model without."""
    experts = system.model.experts
    if experts is None:
        return None
    tokens = int(requests.tokens.sum())
    return routing.draw(tokens, program.choices, experts.count, experts.active, seed)


def timeline(
    program: SystemProgram,
    requests: Requests,
    choices: Choices | None,
    engine: Engine = "compiled",
    loads: tuple[AdapterLoad, ...] = (),
) -> SystemTimeline:
    """Run a program on the engine asked for."""
    if engine == "reference":
        from hardwire.simulator.system import reference  # noqa: PLC0415 - SimPy only where it is asked for

        return reference.simulate(program, requests, loads, choices=choices)
    from hardwire.simulator.system import compiled  # noqa: PLC0415 - numba only where it is needed

    return compiled.simulate(program, requests, loads, choices=choices)


def _hz(
    system: System,
    program: SystemProgram,
    adapter: Adapter | None,
    prompt: int,
    output: int,
    users: int,
) -> tuple[float, float]:
    """Ticks per second of decode and of prefill, as far as one die's power limit lets them."""
    if len(system.dies) > 1 or system.places:
        return program.hz, program.hz
    found = predict(
        system.dies[0].chip,
        system.model,
        adapter=adapter,
        prompt=prompt,
        output=output,
        users=users,
    )
    throttles = found.power.throttle, found.prefill_power.throttle
    decode, prefill = (program.hz * float(throttle) for throttle in throttles)
    return decode, prefill
