"""Servers whose requests are served by systems of several dies."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from examples import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from serving_runs import MODEL, SHAPES, SMALL, machines, policies, workloads

from hardwire.models import Adapter, Chip
from hardwire.models.errors import InputError
from hardwire.models.server import Server
from hardwire.models.server_of_systems import SystemServer
from hardwire.models.system.system import System
from hardwire.simulator.requests import Requests
from hardwire.simulator.serving.cards.dies import Dies
from hardwire.simulator.serving.fleet import replay_fleet
from hardwire.simulator.serving.load.synthetic import make_workload
from hardwire.simulator.serving.load.workload import Workload
from hardwire.simulator.serving.log import Status
from hardwire.simulator.serving.policies.policy import Policy
from hardwire.simulator.serving.replay import open_server, replay
from hardwire.simulator.system import compiled
from hardwire.simulator.system.build import build_program
from hardwire.simulator.system.measured import measure
from hardwire.simulator.system.token_tables import token_ticks

NAME = "llama-70b-hc1"


@pytest.fixture(scope="module")
def server() -> SystemServer:
    return SystemServer.open(NAME)


def of_one(server: Server, chip: Chip) -> SystemServer:
    """The same server with systems of one die instead of cards."""
    system = System.of_one(chip, MODEL)
    return SystemServer(
        server.name, server.title, system, server.issue, server.machine, server.parameters
    )


def load(requests: int, adapters: int = 0, rate: float = 20.0) -> Workload:
    made = make_workload("sharegpt", rate=rate, requests=requests, seed=3)
    names = tuple(f"a{number}" for number in range(adapters))
    wanted = np.arange(len(made)) % adapters if adapters else np.full(len(made), -1)
    return made.with_adapters(names, wanted.astype(np.int32))


@pytest.mark.slow  # each example times the loads of its adapters anew
@examples(20, HealthCheck.filter_too_much)
@given(machines, workloads(), policies(), st.sampled_from([60.0, 4000.0]))
def test_law_a_system_of_one_die_serves_as_its_card(
    machine: Server, workload: Workload, policy: Policy, spare_w: float
) -> None:
    """The same log to the tick, with adapters, policies and power limits; energy to rounding."""
    limit_w = machine.host_w + machine.cards * spare_w
    policy = dataclasses.replace(policy, power_limit_w=limit_w)
    shapes = [SHAPES[number % len(SHAPES)] for number in range(len(workload.adapters))]
    logs = []
    for one, chip in ((machine, SMALL), (of_one(machine, SMALL), None)):
        try:
            logs.append(replay(one, workload, shapes, policy, chip=chip))
        except InputError as error:
            logs.append(str(error).partition(":")[2][:40])
    card, die = logs
    if isinstance(card, str) or isinstance(die, str):
        assert isinstance(card, str)
        assert isinstance(die, str)
        return
    for name, values in card.to_arrays().items():
        np.testing.assert_array_equal(values, getattr(die, name), err_msg=name)
    assert card.swaps == die.swaps
    assert card.end_s == die.end_s
    assert die.energy_j == pytest.approx(card.energy_j, rel=1e-9)


@pytest.mark.parametrize("sampled", [True, False])
def test_a_token_alone_takes_the_ticks_of_the_engine(server: SystemServer, sampled: bool) -> None:
    """Of eight dies with an adapter, token by token: the tables are no second model of time."""
    adapter = Adapter.from_shape("r16:attention", server.model)
    program = build_program(server.system, (adapter,))
    prompt, output = (1, 6) if sampled else (6, 1)
    requests = Requests.uniform(users=1, prompt=prompt, output=output, adapter=1)
    times = compiled.simulate(program, requests)
    tables = token_ticks(program, 8, sampled=sampled)
    if sampled:
        np.testing.assert_array_equal(np.diff(times.done), tables.latency[1, 2:7])
    else:  # prompt tokens follow each other by what the first stage holds one of them for
        assert times.done[0] <= tables.latency[1, 1]
        assert (tables.interval[1, 1:] < tables.latency[1, 1:]).all()


@pytest.mark.parametrize("users", [1, 4, 16])
def test_users_in_flight_have_the_rate_of_the_engine(server: SystemServer, users: int) -> None:
    """Rounds against tokens that queue, prompts in turn as there; the manual has the figures."""
    machine = dataclasses.replace(server.machine, users_per_card=users, limit_w=20000.0)
    same = np.full(users, 64)
    workload = Workload("equal", np.zeros(users), same, same, np.full(users, -1, np.int32), (), 0.0)
    policy = Policy(prefill="in_turn")
    log = replay(dataclasses.replace(server, machine=machine), workload, (), policy)
    found = (63 / (log.finish_s - log.first_token_s)).mean()
    engine = measure(server.system, prompt=64, output=64, users=users)
    assert found == pytest.approx(engine.decode_tokens_per_s_user, rel=0.001)
    assert log.first_token_s.mean() == pytest.approx(engine.ttft_s, rel=0.02)


def test_pages_and_adapters_fit_on_every_die(server: SystemServer) -> None:
    adapter = Adapter.from_shape("r64:all-linear", server.model)
    dies = Dies(server, [adapter])
    room, key = dies.capacity - 2 * dies.rooms[id(adapter)], id(adapter)
    pages = room // dies.page_bytes
    for name, one in dies.found.items():
        kept = pages * 16 * dies.held[name] + 2 * dies.room_of[key][name]
        assert kept <= one.sram_bytes + 16 * dies.held[name]


def test_a_swap_ends_when_the_last_die_has_its_slice(server: SystemServer) -> None:
    """Eight host links bring eight slices at once; one that they share takes them in turn."""
    adapter = Adapter.from_shape("r16:all-linear", server.model)
    each = Dies(server, [adapter])
    shared = dataclasses.replace(server.system, host_links="shared")
    one = Dies(dataclasses.replace(server, system=shared), [adapter])
    way, other = each.ways[id(adapter)], one.ways[id(adapter)]
    assert way.image_bytes == other.image_bytes
    bandwidth = float(server.system.dies[0].chip.link.bandwidth_gb_per_s) * 1e9
    assert other.bytes_per_s == pytest.approx(bandwidth)
    assert 5 * bandwidth < way.bytes_per_s < 8 * bandwidth
    costs = [dies.costs([adapter], 16, 4000.0) for dies in (each, one)]
    quick, slow = (d.swaps(c)[id(adapter)] for d, c in zip((each, one), costs, strict=True))
    assert quick.streamed < quick.warm < slow.warm


def test_places_cap_users() -> None:
    served = SystemServer.open(NAME)
    few = dataclasses.replace(served, system=dataclasses.replace(served.system, places=3))
    assert served.users == 8
    assert few.users == 3
    workload = load(12, rate=1e4)
    log = replay(few, workload, ())
    running = [(log.start_s <= at) & (log.finish_s > at) for at in log.start_s]
    assert max(int(one.sum()) for one in running) <= 3


@pytest.fixture(scope="module")
def served(server: SystemServer) -> tuple:
    workload = load(24, adapters=3)
    shapes = [Adapter.from_shape("r16:attention", server.model)] * 3
    return workload, shapes, replay(server, workload, shapes)


def test_nothing_is_lost_and_energy_is_of_all_dies(server: SystemServer, served: tuple) -> None:
    workload, _, log = served
    assert (log.status == Status.COMPLETED).all()
    np.testing.assert_array_equal(log.generated, workload.output)
    assert log.units == ("system 0",)
    dies = Dies(server, [])
    rest_w = sum(one.card_idle_w for one in dies.found.values())
    rest_w += sum(float(link.kind.idle_w) for link in server.system.links)
    assert log.rest_w["cards_at_rest"] == pytest.approx(rest_w)


@pytest.mark.slow  # the loop takes long to compile
def test_the_compiled_loop_gives_the_same_log(server: SystemServer, served: tuple) -> None:
    workload, shapes, log = served
    other = replay(server, workload, shapes, engine="compiled")
    assert other.engine == "compiled"
    for name, values in log.to_arrays().items():
        np.testing.assert_array_equal(values, getattr(other, name), err_msg=name)


def test_the_reference_says_that_it_has_no_systems(server: SystemServer, served: tuple) -> None:
    workload, shapes, log = served
    other = replay(server, workload, shapes, engine="reference")
    assert other.engine == "events (the reference walks tokens of one chip, not of several dies)"
    np.testing.assert_array_equal(log.finish_s, other.finish_s)


@pytest.mark.slow  # as above
def test_several_servers_of_systems(server: SystemServer, served: tuple) -> None:
    workload, shapes, log = served
    fleet = replay_fleet(server, workload, shapes, servers=2, routing="least_loaded")
    assert (fleet.whole.status == Status.COMPLETED).all()
    assert fleet.whole.rest_w["host"] == 2 * log.rest_w["host"]


def test_a_power_limit_below_rest_is_refused(server: SystemServer) -> None:
    with pytest.raises(InputError, match=r"a power limit of 300 W for the system is below the"):
        replay(server, load(2), (), Policy(power_limit_w=900.0))


def test_a_chip_is_not_put_into_a_system(server: SystemServer) -> None:
    with pytest.raises(ValueError, match="its dies have their own chips"):
        replay(server, load(2), (), chip=SMALL)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("system: llama-71b-hc1", "bad.yaml: system: 'llama-71b-hc1' is no system in"),
        ("chip: hc1", "bad.yaml: chip"),
        ("issue: sometimes", "bad.yaml: issue"),
    ],
)
def test_a_file_of_a_server_of_systems_that_is_wrong(
    tmp_path: Path, line: str, sentence: str
) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(f"extends: {NAME}\nkind: system\ntitle: bad\n{line}\n")
    with pytest.raises(InputError, match=sentence):
        open_server(file)


def test_a_server_of_cards_does_not_open_one_of_systems() -> None:
    with pytest.raises(InputError, match=r"is a server of systems: replays and comparisons take"):
        Server.open(NAME)
