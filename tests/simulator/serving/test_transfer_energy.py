"""What moves over host links takes energy by its bytes, and nothing else of a replay changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from serving_runs import LAWS, MODEL, SMALL, columns, machine, runs, serve

from hardwire.models import Adapter
from hardwire.models.sram import kv_bytes_per_token
from hardwire.simulator.serving.cards.hardware import PAGE_TOKENS
from hardwire.simulator.serving.load.workload import Workload
from hardwire.simulator.serving.log import ServingLog
from hardwire.simulator.serving.policies.policy import Policy
from hardwire.simulator.serving.replay import replay

EFFICIENCY = float(SMALL.power.regulator_efficiency)
BIT_J = float(SMALL.link.pj_per_bit) * 1e-12
PAGE = int(PAGE_TOKENS * kv_bytes_per_token(MODEL, SMALL.formats.kv_bits))


def moved_bytes(log: ServingLog) -> float:
    """What the energy of the links says that was moved."""
    return log.energy_by_j["host_link"] * EFFICIENCY / (8 * BIT_J)


@LAWS
@given(runs)
def test_link_energy_is_that_of_its_bytes(run: Any) -> None:
    """Adapters' images; and whole KV pages, out and back, where preemption offloads them."""
    log = serve(run)
    loaded = int(log.spans[0].bytes.sum())
    if run[2].preemption == "recompute" or not log.preemptions.any():
        assert moved_bytes(log) == pytest.approx(loaded, rel=1e-12)
    else:
        pages = (moved_bytes(log) - loaded) / PAGE
        assert pages == pytest.approx(round(pages), abs=1e-6)
        assert round(pages) % 2 == 0 and pages >= 2 * log.preemptions.sum() - 1e-6
    stored = log.energy_by_j["sram_transfers"] * EFFICIENCY / 1.07e-12
    assert stored == pytest.approx(moved_bytes(log), rel=1e-9)


def test_links_without_energy_save_each_bit_and_no_time() -> None:
    """Two adapters that load, and the numbers of all tokens; serial issue is far from its limit."""
    adapters = [Adapter.from_shape(f"r{rank}:qv", MODEL) for rank in (1, 4)]
    count = 6
    workload = Workload(
        "both", np.arange(count) * 1e-3, np.full(count, 20), np.full(count, 10),
        np.arange(count, dtype=np.int32) % 2, ("a", "b"), 1.0,
    )  # fmt: skip
    server = machine(2, 1, "serial", "shared")
    log, cheap = (
        replay(server, workload, adapters, Policy(), chip=chip)
        for chip in (SMALL, SMALL.with_values({"link.pj_per_bit": 0}))
    )
    assert columns(cheap) == columns(log)
    bits = 32 * count * (20 + 10 - 1) + 8 * int(log.spans[0].bytes.sum())
    saved = (log.energy_j - cheap.energy_j) * EFFICIENCY
    assert log.swaps >= 2 and saved == pytest.approx(bits * BIT_J, rel=1e-6)
