"""What a policy takes from the future."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hardwire.models.server import Server
from hardwire.simulator.serving.load.workload import BASE, Workload
from hardwire.simulator.serving.metrics import summarize
from hardwire.simulator.serving.policies.policy import Policy
from hardwire.simulator.serving.replay import replay

PLAIN = Policy(routing="round_robin")
RESERVES = "admission reserves KV for the whole output"


@pytest.mark.parametrize(
    ("policy", "users", "cards", "words"),
    [
        (PLAIN, 4, 10, ""),
        (PLAIN, 1, 10, RESERVES),
        (Policy(routing="round_robin", admission="whole"), 4, 10, RESERVES),
        (Policy(), 4, 10, "affine_spill routing knows them exactly"),
        (Policy(), 4, 1, ""),
        (Policy(schedule="shortest"), 4, 1, "the shortest schedule knows them exactly"),
        (
            Policy(schedule="slo", routing="least_loaded", estimate_error=0.5),
            1,
            2,
            f"{RESERVES}; the slo schedule and least_loaded routing know them with an error "
            "(sigma 0.5)",
        ),
    ],
)
def test_c6_output_lengths_that_are_known_ahead_are_named(
    policy: Policy, users: int, cards: int, words: str
) -> None:
    assert policy.known_ahead(users, cards) == words
    server = Server.open("hc1x10")
    machine = dataclasses.replace(server.machine, cards=cards, users_per_card=users)
    server = dataclasses.replace(server, machine=machine)
    one = np.array([5])
    workload = Workload("one", np.zeros(1), one, one, np.array([BASE], np.int32), (), 0.0)
    said = summarize(workload, replay(server, workload, [], policy))["definitions"]
    whole = f"known ahead, as no server has them: {words}" if words else None
    assert said.get("output lengths") == whole
