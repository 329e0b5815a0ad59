"""Power at full activity: hand arithmetic, and that no load takes more."""

from __future__ import annotations

import numpy as np
import pytest
from designs import design_arrays
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from hardwire.models.chip import Chip
from hardwire.models.energy import power, token_energy
from hardwire.models.language_model import LanguageModel
from hardwire.models.peak import peak_power
from hardwire.simulator.closed_form import predict
from hardwire.simulator.timing import Timing

HC1, ROMA = Chip.open("hc1"), Chip.open("roma")
LLAMA, SMALL = (LanguageModel.by_name(chip.model) for chip in (HC1, ROMA))
HZ = HC1.datapath.clock_ghz * 1e9


def test_full_activity_of_hc1_by_hand() -> None:
    found = peak_power(HC1, LLAMA)
    outputs = 32 * (6144 + 4096 + 28_672 + 4096) + 128_256
    assert found["select"] == pytest.approx(16 * outputs * 34e-15 * HZ)
    # A layer reads 8,192 B a cycle; its side paths share the port.
    assert found["sram_ports"] == pytest.approx(32 * 8192 * 1.07e-12 * HZ)
    assert found["attention"] == pytest.approx(32 * HC1.attention.macs_per_cycle * 0.1e-12 * HZ)
    assert found["host_link"] == pytest.approx(25e9 * 8 * 31e-12)
    chip = sum(w for part, w in found.items() if part not in ("regulators", "board"))
    assert found["regulators"] == pytest.approx(chip / 0.88 - chip) and found["board"] == 15


def test_rom_is_read_at_the_rate_of_the_passes() -> None:
    """All matrices in one token's time of theirs: what its words take, over 256 or 896 cycles."""
    context = np.array(1)
    token = Timing.of(HC1, LLAMA).tokens[-1].activity(context, sampled=True)
    whole = token_energy(HC1, LLAMA, token)["rom_read"]
    found = peak_power(HC1, LLAMA)["rom_read"]
    assert whole * HZ / 896 < found < whole * HZ / 256


@pytest.mark.parametrize(("chip", "model"), [(HC1, LLAMA), (ROMA, SMALL)], ids=["hc1", "roma"])
@pytest.mark.parametrize("issue", ["serial", "pipelined"])
def test_no_load_takes_more(chip: Chip, model: LanguageModel, issue: str) -> None:
    """Not even tokens that start as fast as the busiest unit lets them, whatever the limit."""
    timing = Timing.of(chip, model)
    free = chip.with_values({"power.limit_w": 1e5})
    for context in (1, 1024):
        interval = timing.intervals(context, inside_prompt=False)[0, context]
        cycles = timing.tables(context)[1][0, context]
        rate = chip.datapath.clock_ghz * 1e9 / (cycles if issue == "serial" else interval)
        activity = timing.tokens[-1].activity(context, sampled=True)
        assert power(free, model, activity, rate).card_w < sum(peak_power(free, model).values())


@examples(20)
@given(values=design_arrays(3), issue=st.sampled_from(["serial", "pipelined"]))
def test_no_design_takes_more_than_all_of_it_at_once(
    values: dict[str, np.ndarray], issue: str
) -> None:
    """Three users of any design, its power limit lifted."""
    chip = HC1._replaced({**values, "datapath.issue": issue, "power.limit_w": np.full(3, 1e5)})
    found = predict(chip, LLAMA, users=3, prompt=64, output=64)
    full = sum(peak_power(chip, LLAMA).values())
    assert np.all(found.power.card_w <= full) and np.all(found.prefill_power.card_w <= full)


@examples(25)
@given(
    values=design_arrays(5),
    name=st.sampled_from(
        ["datapath.lanes", "lora.macs_per_cycle", "attention.macs_per_cycle", "sram.capacity_mib"]
    ),
)
def test_more_hardware_never_takes_less(values: dict[str, np.ndarray], name: str) -> None:
    chip = HC1._replaced(values)
    section, field = name.split(".")
    more = chip._replaced({name: getattr(getattr(chip, section), field) * 2})
    less_w, more_w = (sum(peak_power(c, LLAMA).values()) for c in (chip, more))
    assert np.all(more_w >= less_w * (1 - 1e-12))
