"""A card's times against the engines that walk every unit."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hardwire.models import Adapter, Chip, LanguageModel
from hardwire.models.server import Server
from hardwire.simulator.engines.compiled import simulate
from hardwire.simulator.program import build_program
from hardwire.simulator.requests import Requests
from hardwire.simulator.serving.load.workload import BASE, Workload
from hardwire.simulator.serving.policies.policy import Policy
from hardwire.simulator.serving.replay import replay
from hardwire.simulator.swap import swap_latency

CHIP = Chip.open("hc1")
MODEL = LanguageModel.open("llama-3.1-8b")
ADAPTER = Adapter.from_shape("r16:all-linear:int8", MODEL)
HERTZ = float(CHIP.datapath.clock_ghz) * 1e9


def one_card(issue: str, users: int) -> Server:
    server = Server.open("hc1x10")
    machine = dataclasses.replace(server.machine, cards=1, users_per_card=users)
    return dataclasses.replace(server, issue=issue, machine=machine)


def together(prompt: list[int], output: list[int], adapter: int = BASE) -> Workload:
    count = len(prompt)
    return Workload(
        "together",
        np.zeros(count),
        np.array(prompt),
        np.array(output),
        np.full(count, adapter, np.int32),
        ("a",),
        0.0,
    )


@pytest.mark.parametrize("adapter", [BASE, 0])
def test_serial_times_are_those_of_the_engine_to_the_cycle(adapter: int) -> None:
    """One request after the other; the first also loads and switches, as `swap_latency` says."""
    prompt, output = [1, 700, 33], [1, 20, 300]
    workload = together(prompt, output, adapter)
    log = replay(one_card("serial", 1), workload, [ADAPTER], Policy())
    program = build_program(CHIP, MODEL, [ADAPTER])
    switch = int(CHIP.lora.switch_cycles) if adapter >= 0 else 0
    clock = 0
    if adapter >= 0:
        clock = round(swap_latency(CHIP, MODEL, ADAPTER).streamed * HERTZ) - switch
    for number in range(3):
        alone = Requests.uniform(1, prompt[number], output[number], adapter + 1)
        done = simulate(program, alone).output_times(alone, 0)
        clock += switch
        assert round(log.first_token_s[number] * HERTZ) == clock + done[0]
        assert round(log.finish_s[number] * HERTZ) == clock + done[-1]
        clock += int(done[-1])


def test_users_that_take_turns_end_when_the_engine_says() -> None:
    """Serial issue with several users: token by token in turn, the same total to the cycle."""
    prompt, output = [40, 40, 40], [25, 25, 25]
    log = replay(one_card("serial", 3), together(prompt, output), [ADAPTER], Policy())
    requests = Requests.uniform(3, 40, 25)
    done = simulate(build_program(CHIP, MODEL), requests).done
    assert round(log.finish_s.max() * HERTZ) == done.max()


@pytest.mark.parametrize(
    ("users", "prompt", "output"),
    [(1, 500, 50), (1, 2000, 50), (4, 300, 100), (8, 100, 200), (4, 1000, 200)],
)
def test_rounds_stay_near_the_engine_under_pipelined_issue(
    users: int, prompt: int, output: int
) -> None:
    """Rounds put decode on a grid of one latency, 59 µs: first tokens are off by one at most."""
    workload = together([prompt] * users, [output] * users)
    # The engines know no power limit, which under pipelined issue holds prompts back.
    unlimited = CHIP.with_values({"power.limit_w": 50_000})
    log = replay(
        one_card("pipelined", users),
        workload,
        [ADAPTER],
        Policy(power_limit_w=100_000, prefill="in_turn"),
        chip=unlimited,
    )
    requests = Requests.uniform(users, prompt, output)
    times = simulate(build_program(CHIP, MODEL, issue="pipelined"), requests)
    outputs = np.stack([times.output_times(requests, user) for user in range(users)]) / HERTZ
    assert log.first_token_s == pytest.approx(outputs[:, 0], abs=65e-6)
    assert log.finish_s == pytest.approx(outputs[:, -1], rel=0.01)


def test_a_lone_prompt_takes_what_the_engine_says_under_pipelined_issue() -> None:
    """But for one layer's attention, which the engine takes with the first token; 0.03 %."""
    server = one_card("pipelined", 1)
    fast = CHIP.with_values({"power.limit_w": 50_000})
    policy = Policy(power_limit_w=100_000)
    log = replay(server, together([2000], [2]), [ADAPTER], policy, chip=fast)
    requests = Requests.uniform(1, 2000, 2)
    times = simulate(build_program(CHIP, MODEL, issue="pipelined"), requests)
    first = times.output_times(requests, 0)[0] / HERTZ
    assert log.first_token_s[0] == pytest.approx(first, rel=5e-4)


def test_prompts_in_order_end_one_after_the_other() -> None:
    """The work is the same: the last ends when it does in turn, the first long before."""
    fast = CHIP.with_values({"power.limit_w": 50_000})
    in_order, in_turn = (
        replay(
            one_card("pipelined", 3),
            together([1500] * 3, [5] * 3),
            [ADAPTER],
            Policy(power_limit_w=100_000, prefill=prefill),
            chip=fast,
        ).first_token_s
        for prefill in ("in_order", "in_turn")
    )
    assert in_order.max() == pytest.approx(in_turn.max(), abs=130e-6)
    assert in_turn.min() == pytest.approx(in_turn.max(), abs=65e-6)
    assert in_order.min() < 0.5 * in_turn.min()
