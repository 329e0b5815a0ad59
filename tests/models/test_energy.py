"""Energy and power, against arithmetic done here by hand on the numbers of the chip files."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from designs import design_arrays, one_of
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from hardwire.models.chip import Chip
from hardwire.models.energy import Activity, power, static_power, token_energy
from hardwire.models.language_model import LanguageModel

HC1 = Chip.open("hc1")
LLAMA = LanguageModel.by_name("llama-3.1-8b")
CONTEXT = 1536

# Weights that one token of Llama 3.1 8B is multiplied by: 32 layers and the LM head.
ACTIVE_WEIGHTS = 32 * 218_103_808 + 525_336_576
# (inputs, outputs) of q+k+v, o, gate+up and down.
LAYER = [(4096, 6144), (4096, 4096), (4096, 28_672), (14_336, 4096)]


def test_energy_of_a_token_by_hand() -> None:
    # r16 beside all linear layers: 41,943,040 weights, 8.5 bits each with their scales.
    lora = Activity(CONTEXT, adapter_macs=41_943_040, adapter_bytes=44_564_480)
    found = token_energy(HC1, LLAMA, lora)
    assert found["rom read"] == pytest.approx(ACTIVE_WEIGHTS * 3.5 / 8 * 0.08e-12)
    assert found["accumulate"] == pytest.approx(ACTIVE_WEIGHTS * 14 * 0.9e-15)
    # 65,536 elements of K and V per token, 8 bits and a scale of 16 for 32 of them: all of them
    # read, one token's written.
    assert found["kv"] == pytest.approx(65_536 * 34 / 32 * (CONTEXT + 1) * 1.07e-12)
    # Scores and weighted sum: 32 layers × 32 heads × 128, twice, for each token of context.
    assert found["attention"] == pytest.approx(2 * 32 * 32 * 128 * CONTEXT * 0.10e-12)
    assert found["lora"] == pytest.approx(41_943_040 * 0.10e-12 + 44_564_480 * 1.07e-12)
    # Two norms, residuals on the way, RoPE on 40 heads of 128, SiLU·mul.
    elements = 32 * (4 * 4096 + 40 * 128 + 14_336)
    assert found["vector"] == pytest.approx(elements * 4 * 0.25e-12)


def test_energy_of_broadcasting_products_by_hand() -> None:
    """2^3.5 products of 12 bits for each input, on wires of matrix area over 0.25 mm."""
    bit_mm = 0.0
    for inputs, outputs in [*LAYER * 32, (4096, 128_256)]:
        length_mm = inputs * outputs * 3.5 / 57.8e6 / 0.25
        bit_mm += inputs * 2**3.5 * 12 * length_mm
    assert token_energy(HC1, LLAMA, Activity(CONTEXT))["broadcast"] == pytest.approx(
        bit_mm * 60e-15
    )


def test_static_power_by_hand() -> None:
    """ROM 486.2, SRAM 156.6 and logic 157.7 mm2, leaking and clocked at 1.380 GHz."""
    leakage = 157.7 * 0.06 + 156.6 * 0.01 + 486.2 * 0.0067
    clock = (157.7 + 0.15 * (486.2 + 156.6)) * 85e-12 * 1.379764e9
    assert static_power(HC1, LLAMA) == pytest.approx(leakage + clock, rel=1e-3)


def test_power_is_static_and_dynamic_and_board() -> None:
    report = power(HC1, LLAMA, Activity(CONTEXT), 16_960.0)
    dynamic_w = report.dynamic_j_per_token * 16_960
    assert report.throttle == 1
    assert report.dynamic_j_per_token == pytest.approx(sum(report.blocks_j.values()))
    assert report.chip_w == pytest.approx(report.static_w + dynamic_w)
    assert report.card_w == pytest.approx(report.chip_w / 0.88 + 15)


@examples(100)
@given(limit_w=st.floats(66, 400), rate=st.floats(1, 1e6))
def test_the_limit_is_met_exactly_or_not_reached(limit_w: float, rate: float) -> None:
    chip = HC1.with_values({"power.limit_w": limit_w})
    report = power(chip, LLAMA, Activity(CONTEXT), rate)
    assert 0 < report.throttle <= 1
    if report.throttle < 1:
        assert report.card_w == pytest.approx(limit_w)
    else:
        assert report.card_w <= limit_w * (1 + 1e-12)
    assert report.energy_j_per_token * rate * report.throttle == pytest.approx(report.card_w)


def test_a_limit_below_the_idle_power_leaves_no_rate() -> None:
    chip = HC1.with_values({"power.limit_w": np.array([20.0, 300.0])})
    report = power(chip, LLAMA, Activity(CONTEXT), 16_960.0)
    assert report.throttle.tolist() == [0, 1]
    assert report.card_w[0] == pytest.approx(report.static_w / 0.88 + 15)
    assert np.isinf(report.energy_j_per_token[0]) and np.isfinite(report.energy_j_per_token[1])


@examples(50)
@given(values=design_arrays(), rate=st.floats(1e3, 1e6))
def test_arrays_equal_scalars(values: dict[str, np.ndarray], rate: float) -> None:
    activity = Activity(CONTEXT, 1e6, 1e6)
    together = dataclasses.asdict(power(HC1.with_values(values), LLAMA, activity, rate))
    for index in range(3):
        one = power(HC1.with_values(one_of(values, index)), LLAMA, activity, rate)
        alone = dataclasses.asdict(one)
        for block, value in alone.pop("blocks_j").items():
            found = np.broadcast_to(together["blocks_j"][block], 3)[index]
            assert found == pytest.approx(value), block
        for name, value in alone.items():
            assert np.broadcast_to(together[name], 3)[index] == pytest.approx(value), name


@examples(50)
@given(context=st.integers(0, 100_000), more=st.integers(1, 10_000))
def test_more_context_takes_more_energy(context: int, more: int) -> None:
    blocks = token_energy(HC1, LLAMA, Activity(np.array([context, context + more])))
    for name, joule in blocks.items():
        if name in ("kv", "attention"):
            assert joule[1] > joule[0] >= 0
        else:
            assert np.ndim(joule) == 0


@pytest.mark.parametrize(
    ("parameter", "less", "more"),
    [
        ("sram.capacity_mib", 448, 512),
        ("datapath.lanes", 16, 17),
        ("datapath.clock_ghz", 1.0, 1.1),
        ("process.sram_leakage_w_per_mm2", 0.01, 0.02),
        ("process.logic_leakage_w_per_mm2", 0.06, 0.07),
        ("process.rom_leakage_w_per_mm2", 0.0067, 0.0068),
        ("process.clock_pj_per_mm2_cycle", 85, 86),
        ("process.clock_array_share", 0.15, 0.16),
    ],
)
def test_more_hardware_takes_more_static_power(parameter: str, less: float, more: float) -> None:
    first, second = static_power(HC1.with_values({parameter: np.array([less, more])}), LLAMA)
    assert second > first


@pytest.mark.parametrize(
    ("parameter", "block"),
    [
        ("process.rom_read_pj_per_byte", "rom read"),
        ("process.adder_fj_per_bit", "accumulate"),
        ("process.wire_fj_per_bit_mm", "broadcast"),
        ("process.sram_pj_per_byte", "kv"),
        ("process.mac_int8_pj", "attention"),
        ("process.fp16_op_pj", "vector"),
    ],
)
def test_a_block_is_proportional_to_its_energy(parameter: str, block: str) -> None:
    value = HC1.parameters[parameter].value
    double = HC1.with_values({parameter: 2 * value})
    before = token_energy(HC1, LLAMA, Activity(CONTEXT))
    after = token_energy(double, LLAMA, Activity(CONTEXT))
    assert after[block] == pytest.approx(2 * before[block])
    for name in set(before) - {block}:
        assert after[name] == before[name], name


@pytest.mark.parametrize(
    ("parameter", "of_lora_pj"),
    [("process.sram_pj_per_byte", 44_564_480 * 1.07), ("process.mac_int8_pj", 41_943_040 * 0.10)],
)
def test_an_adapter_shares_the_energy_of_memory_and_multipliers(
    parameter: str, of_lora_pj: float
) -> None:
    """Doubled, each adds to the side paths what the adapter reads, or multiplies, and no more."""
    activity = Activity(CONTEXT, adapter_macs=41_943_040, adapter_bytes=44_564_480)
    double = HC1.with_values({parameter: 2 * HC1.parameters[parameter].value})
    before, after = (token_energy(chip, LLAMA, activity) for chip in (HC1, double))
    assert after["lora"] - before["lora"] == pytest.approx(of_lora_pj * 1e-12)


def test_products_are_counted_from_the_tensors_of_the_model() -> None:
    """Each weight of each matrix once a token: by the shapes of the file, not by a formula."""
    weights = sum(
        math.prod(shape)
        for name, shape in LLAMA.tensors().items()
        if len(shape) == 2 and "embed_tokens" not in name
    )
    assert weights == ACTIVE_WEIGHTS
    read = token_energy(HC1, LLAMA, Activity(CONTEXT))["rom read"]
    assert read == pytest.approx(weights * 3.5 / 8 * 0.08e-12)
