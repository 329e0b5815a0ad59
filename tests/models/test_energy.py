"""Energy and power, against arithmetic done here by hand on the numbers of the chip files."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from designs import design_arrays, one_of
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from hardwire.models.adapter.shape import AdapterShape
from hardwire.models.area import area, logic_area
from hardwire.models.chip import Chip
from hardwire.models.energy import (
    Activity,
    card_power_by_part,
    idle_power,
    pj_per_weight_use,
    power,
    static_power,
    swap_energy,
    token_energy,
    transfer_energy,
)
from hardwire.models.fabric import registers, units
from hardwire.models.language_model import LanguageModel
from hardwire.simulator.closed_form import predict
from hardwire.simulator.serving.cards.costs import token_costs
from hardwire.simulator.timing import Timing

HC1 = Chip.open("hc1")
LLAMA = LanguageModel.by_name("llama-3.1-8b")
CONTEXT = 1536

# Weights that one token of Llama 3.1 8B is multiplied by: 32 layers and the LM head.
ACTIVE_WEIGHTS = 32 * 218_103_808 + 525_336_576
# (inputs, outputs) of q+k+v, o, gate+up and down.
LAYER = [(4096, 6144), (4096, 4096), (4096, 28_672), (14_336, 4096)]

OUTPUTS = 32 * sum(outputs for _, outputs in LAYER) + 128_256


def activity(
    chip: Chip = HC1, context: Any = CONTEXT, adapter: AdapterShape | None = None
) -> Activity:
    """A token that is sampled."""
    adapters = () if adapter is None else (adapter,)
    return Timing.of(chip, LLAMA, adapters).tokens[-1].activity(context, sampled=True)


def test_energy_of_a_token_by_hand() -> None:
    # r16 beside all linear layers: 41,943,040 weights, 8.5 bits each with their scales.
    found = token_energy(HC1, LLAMA, activity(adapter=AdapterShape.of(LLAMA, "all-linear", 16)))
    stored = ACTIVE_WEIGHTS * 3.5 + OUTPUTS * 16
    assert found["rom_read"] == pytest.approx(stored / 8 * 1.13e-12)
    assert found["select"] == pytest.approx(ACTIVE_WEIGHTS * 34e-15)
    # 183.5 bits of a tree over 16 products of 10.5 bits, and a sum of 22.5 (of 24.5 in down).
    added = ACTIVE_WEIGHTS * (183.5 + 22.5) / 16 + 32 * 14_336 * 4096 * 2 / 16
    assert found["accumulate"] == pytest.approx(added * 0.9e-15 * 1.9)
    # A multiply and an addition for each output; for each 32 of its inputs, 234.5 million of each.
    assert found["rescale"] == pytest.approx(OUTPUTS * 2 * 0.25e-12)
    grouped = HC1.with_values({"rom.scale_group": 32})
    assert token_energy(grouped, LLAMA, activity())["rescale"] == pytest.approx(117e-6, rel=0.01)
    # Inputs of 8 bits and results of 24 over 28.5 mm of die.
    inputs, outputs = 32 * (3 * 4096 + 14_336) + 4096, 32 * 43_008 + 128_256
    bits = inputs * 8 + outputs * 24
    assert found["die_wires"] == pytest.approx(bits * 815**0.5 * 60e-15)
    # 65,536 elements of K and V per token, 8 bits and a scale of 16 for 32 of them: all of them
    # read, one token's written.
    assert found["kv"] == pytest.approx(65_536 * 34 / 32 * (CONTEXT + 1) * 1.07e-12)
    # Scores and weighted sum: 32 layers × 32 heads × 128, twice, for each token of context.
    assert found["attention"] == pytest.approx(2 * 32 * 32 * 128 * CONTEXT * 0.10e-12)
    assert found["softmax"] == pytest.approx(32 * 32 * CONTEXT * 4 * 0.25e-12)
    assert found["lora"] == pytest.approx(41_943_040 * 0.10e-12 + 44_564_480 * 1.07e-12)
    # Two norms, residuals on the way, RoPE on 40 heads of 128, SiLU·mul; and the final norm.
    elements = 32 * (4 * 4096 + 40 * 128 + 14_336) + 2 * 4096
    assert found["vector"] == pytest.approx(elements * 4 * 0.25e-12)
    # 128,256 logits of 16 bits against a list of eight.
    assert found["topk"] == pytest.approx(128_256 * 8 * 16 * 0.9e-15)


def test_registers_that_work_by_hand() -> None:
    """Facts on HC1: its outputs accumulate in 469.0e6 output-cycles a token, before the fill."""
    cycles = activity().unit_cycles
    summing = sum(32 * outputs * inputs // 16 for inputs, outputs in LAYER) + 128_256 * 4096 // 16
    filling = (32 * 43_008 + 128_256) * 24
    assert summing == pytest.approx(469.0e6, rel=1e-4)
    assert cycles["matrix_adders"] == summing + filling
    assert cycles["sampling"] == 128_256 / 128 + 24
    # Without rounding up: 69,632 bytes of K and V for each token of 32 layers, 8,192 a cycle.
    assert cycles["attention"] == pytest.approx(
        32 * (2 * 5 + 3 * 24) + CONTEXT * 69_632 / 8192, rel=1e-6
    )
    each = {"matrix_adders": 24, "attention": 32_768 * 16, "lora": 4096 * 16,
            "vector_units": 256 * 64, "broadcast": 16 * (8 + 2**3.5 * 12),
            "sampling": 128 * 32}  # fmt: skip
    clocked = sum(cycles[block] * number for block, number in each.items())
    working = token_energy(HC1, LLAMA, activity())["working_registers"]
    assert working == pytest.approx(clocked * (2.0e-15 * (1 - 0.22) + 1.0e-15))


def test_energy_of_broadcasting_products_by_hand() -> None:
    """2^3.5 products of 12 bits for each input, on wires of matrix area over 0.25 mm."""
    bit_mm = 0.0
    for inputs, outputs in [*LAYER * 32, (4096, 128_256)]:
        length_mm = inputs * outputs * 3.5 / 60e6 / 0.25
        bit_mm += inputs * 2**3.5 * 12 * length_mm
    assert token_energy(HC1, LLAMA, activity())["broadcast"] == pytest.approx(bit_mm * 60e-15)


def test_idle_power_by_hand() -> None:
    """Logic of 176 mm², 3,584 Mib of SRAM and 28,131 Mb of ROM; 1.380 GHz at 0.75 V and 85 °C."""
    found = idle_power(HC1, LLAMA)
    stored = 8_029_995_008 * 3.5 + 16 * (OUTPUTS + 128_256)
    blocks = area(HC1, LLAMA)
    assert found["logic_leakage"] == pytest.approx(logic_area(blocks) * 0.1)
    assert found["sram_leakage"] == pytest.approx(448 * 8 * 1.0e-3)
    assert found["rom_leakage"] == pytest.approx(stored * 1e-6 * 0.116e-3)
    hz = 1.379764e9
    assert found["clock_spine"] == pytest.approx(blocks["total"] * 7e-12 * hz)
    for block, number in registers(HC1, LLAMA).items():
        assert found[f"waiting_{block}"] == pytest.approx(number * 2.0e-15 * 0.22 * hz)
    assert found["toggling_adders"] == 0
    assert static_power(HC1, LLAMA) == sum(found.values())


def test_adders_that_all_toggle_would_melt_the_card() -> None:
    """24.07e6 adders of 14 bits, 12.6 fJ an addition at 1.38 GHz: 418 W, before glitches."""
    chip = HC1.with_values({"power.idle_toggle": 1, "process.glitch_factor": 1})
    assert idle_power(chip, LLAMA)["toggling_adders"] == pytest.approx(385, rel=0.01)
    assert token_energy(chip, LLAMA, activity())["accumulate"] == 0  # they toggle anyway


def test_leakage_doubles_in_22_kelvin_and_grows_with_voltage() -> None:
    def leakage(**settings: float) -> Any:
        chip = HC1.with_values({k.replace("__", "."): v for k, v in settings.items()})
        return idle_power(chip, LLAMA)["sram_leakage"]

    assert leakage(power__junction_c=85 + 32 * np.log(2)) == pytest.approx(2 * leakage())
    assert leakage(datapath__supply_v=0.9) == pytest.approx(1.2 * leakage())


def test_energies_grow_with_the_square_of_the_voltage() -> None:
    higher = HC1.with_values({"datapath.supply_v": 0.825})
    before, after = (token_energy(chip, LLAMA, activity(chip)) for chip in (HC1, higher))
    link = after.pop("host_link"), before.pop("host_link")
    assert link[0] == link[1]  # its signals have a supply of their own
    assert all(after[name] == pytest.approx(1.21 * before[name]) for name in before)
    idle, hot = idle_power(HC1, LLAMA), idle_power(higher, LLAMA)
    assert hot["clock_spine"] == pytest.approx(1.21 * idle["clock_spine"])


def test_power_is_the_sum_of_its_blocks_and_board() -> None:
    report = power(HC1, LLAMA, activity(), 16_960.0)
    moved = sum(joule * 16_960 for joule in report.blocks_j.values())
    assert report.throttle == 1 and report.tokens_per_s == 16_960
    assert report.chip_w == pytest.approx(sum(report.idle_blocks_w.values()) + moved)
    assert report.card_w == pytest.approx(report.chip_w / 0.88 + 15)
    assert sum(card_power_by_part(HC1, report).values()) == pytest.approx(report.card_w)
    per_weight = report.chip_w / (16_960 * ACTIVE_WEIGHTS)
    assert pj_per_weight_use(report, LLAMA) == pytest.approx(per_weight * 1e12)


@examples(60)
@given(values=design_arrays(1), rate=st.floats(1, 1e6))
def test_law_power_is_the_sum_of_its_blocks(values: dict[str, np.ndarray], rate: float) -> None:
    """Of any chip at any rate, held by its limit or not: nothing is in two blocks or in none."""
    chip = HC1.with_values(one_of(values, 0))
    report = power(chip, LLAMA, activity(chip), rate)
    if not report.throttle:
        return
    moved = sum(joule * float(report.tokens_per_s) for joule in report.blocks_j.values())
    assert report.chip_w == pytest.approx(sum(report.idle_blocks_w.values()) + moved)
    card_w = report.chip_w / chip.power.regulator_efficiency + chip.power.board_w
    assert report.card_w == pytest.approx(card_w)
    assert sum(card_power_by_part(chip, report).values()) == pytest.approx(card_w)


def test_b10_energy_at_a_utilization_has_the_waiting_in_it() -> None:
    """Of an hour, half decoding and half waiting."""
    report = power(HC1, LLAMA, activity(), 16_960.0)
    joule = 1800 * (report.card_w + report.idle_w)
    assert report.energy_j_at(0.5) == pytest.approx(joule / (1800 * 16_960))
    assert report.energy_j_at(1) == report.energy_j_per_token


@examples(100)
@given(values=design_arrays(1), rate=st.floats(1, 1e6))
def test_idle_is_least_and_the_limit_most(values: dict[str, np.ndarray], rate: float) -> None:
    chip = HC1.with_values(one_of(values, 0))
    report = power(chip, LLAMA, activity(chip), rate)
    assert all(value >= 0 for value in (*report.idle_blocks_w.values(), *report.blocks_j.values()))
    assert report.idle_w <= report.card_w * (1 + 1e-12)
    if report.throttle:
        assert report.card_w <= chip.power.limit_w * (1 + 1e-12)
    else:
        assert report.card_w == report.idle_w >= chip.power.limit_w


@examples(50)
@given(
    values=design_arrays(1),
    shares=st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted),
    load=st.floats(0.01, 1),
)
def test_gating_never_raises_power(
    values: dict[str, np.ndarray], shares: list[float], load: float
) -> None:
    """As long as no unit works more cycles than there are."""
    chip = HC1.with_values(one_of(values, 0))
    done = activity(chip)
    busiest = max(
        np.max(cycles / units(chip, LLAMA)[block]) for block, cycles in done.unit_cycles.items()
    )
    rate = load * chip.datapath.clock_ghz * 1e9 / busiest
    gated, loose = (
        power(
            chip._replaced({"power.idle_clock_share": share, "power.limit_w": np.inf}),
            LLAMA,
            done,
            rate,
        ).card_w
        for share in shares
    )
    assert gated <= loose * (1 + 1e-12)


@examples(50)
@given(values=design_arrays(1), faster=st.floats(1.01, 3))
def test_a_faster_clock_at_the_same_voltage_takes_more_power(
    values: dict[str, np.ndarray], faster: float
) -> None:
    chip = HC1.with_values(one_of(values, 0))._replaced({"power.limit_w": np.inf})
    ghz = chip.datapath.clock_ghz
    slow, fast = (
        power(chip._replaced({"datapath.clock_ghz": ghz * k}), LLAMA, activity(chip), 1e4 * k)
        for k in (1, faster)
    )
    assert fast.card_w > slow.card_w and fast.idle_w > slow.idle_w


@examples(100)
@given(limit_w=st.floats(97, 400), rate=st.floats(1, 1e6))
def test_the_limit_is_met_exactly_or_not_reached(limit_w: float, rate: float) -> None:
    chip = HC1.with_values({"power.limit_w": limit_w})
    report = power(chip, LLAMA, activity(), rate)
    assert 0 < report.throttle <= 1
    if report.throttle < 1:
        assert report.card_w == pytest.approx(limit_w)
    else:
        assert report.card_w <= limit_w * (1 + 1e-12)
    assert report.energy_j_per_token * rate * report.throttle == pytest.approx(report.card_w)


def test_a_limit_below_the_idle_power_leaves_no_rate() -> None:
    chip = HC1.with_values({"power.limit_w": np.array([20.0, 300.0])})
    report = power(chip, LLAMA, activity(), 16_960.0)
    assert report.throttle.tolist() == [0, 1]
    assert report.card_w[0] == pytest.approx(report.static_w / 0.88 + 15)
    assert np.isinf(report.energy_j_per_token[0]) and np.isfinite(report.energy_j_per_token[1])


@examples(50)
@given(values=design_arrays(), rate=st.floats(1e3, 1e6))
def test_arrays_equal_scalars(values: dict[str, np.ndarray], rate: float) -> None:
    chips = HC1.with_values(values)
    together = dataclasses.asdict(power(chips, LLAMA, activity(chips), rate))
    for index in range(3):
        chip = HC1.with_values(one_of(values, index))
        alone = dataclasses.asdict(power(chip, LLAMA, activity(chip), rate))
        for blocks in ("blocks_j", "idle_blocks_w"):
            for block, value in alone.pop(blocks).items():
                found = np.broadcast_to(together[blocks][block], 3)[index]
                assert found == pytest.approx(value), block
        for name, value in alone.items():
            assert np.broadcast_to(together[name], 3)[index] == pytest.approx(value), name


@examples(50)
@given(context=st.integers(0, 100_000), more=st.integers(1, 10_000))
def test_more_context_takes_more_energy(context: int, more: int) -> None:
    blocks = token_energy(HC1, LLAMA, activity(context=np.array([context, context + more])))
    for name, joule in blocks.items():
        if name in ("kv", "attention", "softmax", "working_registers"):
            assert joule[1] > joule[0] >= 0
        else:
            assert np.ndim(joule) == 0


@pytest.mark.parametrize(
    ("parameter", "less", "more"),
    [
        ("sram.capacity_mib", 448, 512),
        ("datapath.lanes", 16, 17),
        ("datapath.clock_ghz", 1.0, 1.1),
        ("datapath.supply_v", 0.75, 0.76),
        ("rom.registers_per_output", 24, 25),
        ("power.junction_c", 85, 86),
        ("power.idle_clock_share", 0.22, 0.23),
        ("power.idle_toggle", 0, 0.01),
        ("process.sram_leakage_mw_per_mib", 1, 2),
        ("process.logic_leakage_w_per_mm2", 0.10, 0.11),
        ("process.rom_leakage_mw_per_mbit", 0.116, 0.117),
        ("process.clock_spine_pj_per_mm2", 7, 8),
        ("process.flop_clock_fj", 2.0, 2.1),
    ],
)
def test_more_hardware_takes_more_static_power(parameter: str, less: float, more: float) -> None:
    first, second = static_power(HC1.with_values({parameter: np.array([less, more])}), LLAMA)
    assert second > first


@pytest.mark.parametrize(
    ("parameter", "block"),
    [
        ("process.rom_read_pj_per_byte", "rom_read"),
        ("process.select_fj", "select"),
        ("process.adder_fj_per_bit", "accumulate"),
        ("process.glitch_factor", "accumulate"),
        ("process.wire_fj_per_bit_mm", "broadcast"),
        ("process.sram_pj_per_byte", "kv"),
        ("process.mac_int8_pj", "attention"),
        ("process.fp16_op_pj", "vector"),
    ],
)
def test_c8_a_block_is_proportional_to_its_energy(parameter: str, block: str) -> None:
    value = HC1.parameters[parameter].value
    double = HC1.with_values({parameter: 2 * value})
    before = token_energy(HC1, LLAMA, activity())
    after = token_energy(double, LLAMA, activity())
    assert after[block] == pytest.approx(2 * before[block])
    together = {
        "process.adder_fj_per_bit": {"accumulate", "topk"},
        "process.wire_fj_per_bit_mm": {"broadcast", "die_wires"},
        "process.fp16_op_pj": {"vector", "softmax", "rescale"},
    }.get(parameter, {block})
    for name, joule in before.items():
        assert after[name] == pytest.approx((1 + (name in together)) * joule), name


@pytest.mark.parametrize(
    ("parameter", "of_lora_pj"),
    [("process.sram_pj_per_byte", 44_564_480 * 1.07), ("process.mac_int8_pj", 41_943_040 * 0.10)],
)
def test_an_adapter_shares_the_energy_of_memory_and_multipliers(
    parameter: str, of_lora_pj: float
) -> None:
    """Doubled, each adds to the side paths what the adapter reads, or multiplies, and no more."""
    done = activity(adapter=AdapterShape.of(LLAMA, "all-linear", 16))
    double = HC1.with_values({parameter: 2 * HC1.parameters[parameter].value})
    before, after = (token_energy(chip, LLAMA, done) for chip in (HC1, double))
    assert after["lora"] - before["lora"] == pytest.approx(of_lora_pj * 1e-12)


def test_products_are_counted_from_the_tensors_of_the_model() -> None:
    """Each weight of each matrix once a token: by the shapes of the file, not by a formula."""
    weights = sum(
        math.prod(shape)
        for name, shape in LLAMA.tensors().items()
        if len(shape) == 2 and "embed_tokens" not in name
    )
    assert weights == ACTIVE_WEIGHTS
    read = token_energy(HC1, LLAMA, activity())["rom_read"]
    assert read == pytest.approx((weights * 3.5 + OUTPUTS * 16) / 8 * 1.13e-12)


def test_a_chip_that_multiplies_pays_for_products_and_not_for_their_lines() -> None:
    chip = HC1.with_values({"rom.product": "multiply"})
    select, multiply = (token_energy(c, LLAMA, activity(c)) for c in (HC1, chip))
    assert multiply["multiply"] == pytest.approx(ACTIVE_WEIGHTS * 35e-15)
    assert "select" not in multiply and "multiply" not in select
    assert multiply["broadcast"] / select["broadcast"] == pytest.approx(8 / (2**3.5 * 12))


def test_b10_run_and_replay_charge_one_user_the_same_joules() -> None:
    """Tokens of a prompt and of an answer, summed at their contexts, and the card at rest."""
    prompt, output = 64, 64
    costs = token_costs(HC1, LLAMA, [], longest=prompt + output)
    dynamic = costs.body_j[0, 1:prompt].sum() + costs.whole_j[0, prompt : prompt + output].sum()
    cycles = costs.body[0, 1:prompt].sum() + costs.whole[0, prompt : prompt + output].sum()
    replayed = dynamic / costs.regulator_efficiency + costs.idle_w * cycles / costs.clock_hz
    found = predict(HC1, LLAMA, prompt=prompt, output=output)
    assert costs.idle_w == pytest.approx(found.idle_w)
    # A run's mean contexts are half a token off, and its last prompt token skips the head.
    assert found.energy_j_per_request == pytest.approx(replayed, rel=5e-3)


def test_what_moves_over_the_host_link_by_hand() -> None:
    """31 pJ for each bit, and 1.07 pJ for each byte that SRAM takes; the card's regulators lose."""
    moved = transfer_energy(HC1, 44_564_480)
    assert moved["host_link"] == pytest.approx(44_564_480 * 8 * 31e-12)
    assert moved["sram_transfers"] == pytest.approx(44_564_480 * 1.07e-12)
    assert swap_energy(HC1, 44_564_480) == pytest.approx(sum(moved.values()) / 0.88)
    # A token's number crosses it once, in four bytes.
    assert token_energy(HC1, LLAMA, activity())["host_link"] == pytest.approx(32 * 31e-12)


@examples(50)
@given(first=st.integers(0, 10**9), second=st.integers(0, 10**9), volts=st.floats(0.6, 1.0))
def test_transfers_add_up_and_the_link_keeps_its_own_voltage(
    first: int, second: int, volts: float
) -> None:
    chip = HC1.with_values({"datapath.supply_v": volts})
    together = transfer_energy(chip, first + second)
    for part, joule in together.items():
        apart = transfer_energy(chip, first)[part] + transfer_energy(chip, second)[part]
        assert joule == pytest.approx(apart)
    assert together["host_link"] == transfer_energy(HC1, first + second)["host_link"]
