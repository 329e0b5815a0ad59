"""Formats of weights, KV cache and adapters: what fewer bits save, and what lies off the chip."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from designs import design_arrays, one_of
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from hardwire.models import Chip, InputError, LanguageModel
from hardwire.models.adapter.shape import AdapterShape
from hardwire.models.area import area, transistors
from hardwire.models.energy import token_energy
from hardwire.models.fabric import kv_multiplier, line_bits
from hardwire.models.rom import RomFormat, head_matrix, layer_matrices, rom_bits, rom_weights
from hardwire.models.sram import kv_bytes_on
from hardwire.simulator import predict
from hardwire.simulator.datapath import shape_bytes
from hardwire.simulator.engines import compiled, reference
from hardwire.simulator.program import build_program
from hardwire.simulator.requests import Requests
from hardwire.simulator.timing import Timing, at

HC1, ROMA = Chip.open("hc1"), Chip.open("roma")
LLAMA = LanguageModel.by_name("llama-3.1-8b")
SMALL = LanguageModel.by_name("llama-3.2-1b")
BITNET = LanguageModel.by_name("bitnet-b1.58-2b-4t")
TWO = {"rom.bits_per_weight": 2, "rom.head_bits": 6}
TERNARY = {**TWO, "rom.alphabet": "ternary"}

words = st.fixed_dictionaries(
    {
        "datapath.layers": st.sampled_from(["distinct", "shared"]),
        "rom.product": st.sampled_from(["select", "multiply"]),
    }
)


def joules(chip: Chip, model: LanguageModel = SMALL) -> float:
    """Dynamic energy of a decoded token at a context of 100."""
    token = Timing.of(chip, model).tokens[0]
    return float(sum(token_energy(chip, model, token.activity(100, sampled=True)).values()))


@examples(40)
@given(
    values=design_arrays(),
    chosen=words,
    pair=st.tuples(st.floats(1, 8), st.floats(1, 8)),
    name=st.sampled_from(["rom.bits_per_weight", "rom.head_bits"]),
)
def test_law_fewer_bits_of_a_weight_never_cost_more(
    values: dict[str, np.ndarray], chosen: dict[str, Any], pair: tuple[float, float], name: str
) -> None:
    base = HC1.with_values({**one_of(values, 0), **chosen, "rom.bits_per_weight": 4})
    few, many = (base.with_values({name: bits}) for bits in sorted(pair))
    assert area(few, SMALL)["total"] <= area(many, SMALL)["total"]
    assert transistors(few, SMALL)["total"] <= transistors(many, SMALL)["total"]
    assert joules(few) <= joules(many) * (1 + 1e-12)


@examples(40)
@given(values=design_arrays(), chosen=words)
def test_law_ternary_codes_never_cost_more_than_other_codes_of_2_bits(
    values: dict[str, np.ndarray], chosen: dict[str, Any]
) -> None:
    base = HC1.with_values({**one_of(values, 0), **chosen})
    ternary, binary = (base.with_values(more) for more in (TERNARY, TWO))
    assert area(ternary, SMALL)["total"] <= area(binary, SMALL)["total"]
    assert joules(ternary) <= joules(binary) * (1 + 1e-12)
    assert rom_bits(ternary, SMALL) == rom_bits(binary, SMALL)


def test_a_ternary_chip_by_hand() -> None:
    """Sums of 8 bits and log2 of the inputs; lines for x and -x; 6 bits at the head."""
    chip = HC1.with_values(TERNARY)
    fmt = RomFormat.of(chip, layer_matrices(BITNET)[0])
    assert (fmt.code_bits, fmt.product_bits, fmt.line_bits) == (2, 8, 16)
    assert fmt.sum_bits(2560) == 8 + 12
    head = RomFormat.of(chip, head_matrix(BITNET))
    assert (head.code_bits, head.ternary, head.line_bits) == (6, False, 64 * 13)
    in_layers = BITNET.layers * sum(m.weights for m in layer_matrices(BITNET))
    codes = 2 * in_layers + 6 * BITNET.vocab * BITNET.hidden
    outputs = BITNET.layers * sum(m.out_features for m in layer_matrices(BITNET)) + BITNET.vocab
    assert rom_bits(chip, BITNET) == codes + 16 * outputs
    matrices = 4 * BITNET.layers
    mean = (matrices * 16 + 64 * 13) / (matrices + 1)
    assert line_bits(chip, BITNET) == pytest.approx(16 * (8 + mean))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({**TERNARY, "rom.bits_per_weight": 1.6}, "rom.bits_per_weight: must be 2 or more where"),
        ({"rom.alphabet": "ternary"}, "rom.head_bits: is missing: rom.alphabet ternary is of the"),
        ({"rom.alphabet": "trinary"}, "trinary"),
        ({"rom.embedding": "disk"}, "disk"),
        ({"formats.kv_8bit": "e5m2"}, "e5m2"),
        ({"formats.adapter_format": "int3"}, "int3"),
    ],
)
def test_formats_that_are_none_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        HC1.with_values(values)
    assert len(str(error.value).splitlines()) == 1


# --- the KV cache, and adapters -------------------------------------------------------------------


def test_fp8_takes_a_byte_an_element_and_dearer_multipliers() -> None:
    chip = HC1.with_values({"formats.kv_8bit": "e4m3"})
    assert (kv_bytes_on(HC1, LLAMA), kv_bytes_on(chip, LLAMA)) == (69_632, 65_536)
    factor = HC1.process.mac_fp8_factor
    for name, value in vars(kv_multiplier(chip)).items():
        other = getattr(kv_multiplier(HC1), name)
        assert value == (other if name == "registers" else factor * other)
    more = area(chip, LLAMA)["attention"] / area(HC1, LLAMA)["attention"]
    assert more == pytest.approx(factor)
    slow, fast = (predict(c, LLAMA, prompt=1024, output=1024) for c in (HC1, chip))
    assert fast.decode_tokens_per_s_user > slow.decode_tokens_per_s_user


@pytest.mark.parametrize("eight", ["int8", "e4m3"])
@pytest.mark.parametrize("name", ["hc1", "roma"])
def test_law_fewer_bits_of_the_kv_cache_never_cost_more(name: str, eight: str) -> None:
    model = LanguageModel.by_name(Chip.open(name).model)
    chips = [
        Chip.open(name).with_values({"formats.kv_bits": bits, "formats.kv_8bit": eight})
        for bits in (4, 8, 16)
    ]
    for cost in (
        [kv_bytes_on(chip, model) for chip in chips],
        [float(area(chip, model)["total"]) for chip in chips],
        [joules(chip, model) for chip in chips],
    ):
        assert cost == sorted(cost)
    together = Chip.open(name).with_values(
        {"formats.kv_bits": np.array([4, 8, 16]), "formats.kv_8bit": eight}
    )
    assert area(together, model)["total"] == pytest.approx([area(c, model)["total"] for c in chips])


def test_law_an_adapter_in_fewer_bits_never_takes_more() -> None:
    shapes = [
        AdapterShape.from_text(f"r16:all-linear:{fmt}", LLAMA)
        for fmt in ("int2", "int4", "int8", "float16", "float32")
    ]
    sizes = [shape_bytes(HC1, LLAMA, shape) for shape in shapes]
    assert sizes == sorted(sizes)
    assert sizes[0] == 41_943_040 * 2.5 / 8
    rates = [
        predict(HC1, LLAMA, adapter=shape, prompt=1024, output=1024).decode_tokens_per_s_user
        for shape in shapes
    ]
    assert rates == sorted(rates, reverse=True)


# --- the embedding --------------------------------------------------------------------------------


def test_an_embedding_in_the_host_is_not_in_rom() -> None:
    away = HC1.with_values({"rom.embedding": "host"})
    weights = LLAMA.vocab * LLAMA.hidden
    assert rom_weights(HC1, LLAMA) - rom_weights(away, LLAMA) == weights
    bits = weights * 3.5 + LLAMA.vocab * 16
    assert rom_bits(HC1, LLAMA) - rom_bits(away, LLAMA) == bits
    less = area(HC1, LLAMA)["rom"] - area(away, LLAMA)["rom"]
    assert less == pytest.approx(bits / 1e6 / 60)
    for tied in (SMALL, BITNET):  # the LM head is the table
        assert rom_bits(away, tied) == rom_bits(HC1, tied)


def test_a_row_from_the_host_takes_its_transfer_and_its_energy() -> None:
    """8 KiB of float16 at 25 GB/s behind 2 µs, and the link's energy for each of their bits."""
    away = HC1.with_values({"rom.embedding": "host"})
    here, there = (Timing.of(chip, LLAMA).tokens[0].stages.embedding for chip in (HC1, away))
    seconds = 2e-6 + 8192 / 25e9
    assert there.cycles - here.cycles == np.ceil(seconds * HC1.datapath.clock_ghz * 1e9)
    token = Timing.of(away, LLAMA).tokens[0].activity(100, sampled=True)
    spent = [token_energy(chip, LLAMA, token)["host_link"] for chip in (HC1, away)]
    assert spent[1] - spent[0] == pytest.approx(8 * 8192 * HC1.link.pj_per_bit * 1e-12)


@pytest.mark.parametrize("issue", ["serial", "pipelined"])
@pytest.mark.parametrize("layers", ["distinct", "shared"])
def test_engines_and_closed_form_agree_on_a_row_from_the_host(issue: str, layers: str) -> None:
    chip = HC1.with_values(
        {"rom.embedding": "host", "datapath.issue": issue, "datapath.layers": layers}
    )
    program = build_program(chip, SMALL)
    requests = Requests.uniform(users=2, prompt=2, output=2)
    ends = [engine.simulate(program, requests).done for engine in (compiled, reference)]
    assert np.array_equal(*ends)
    alone = compiled.simulate(program, Requests.uniform(users=1, prompt=1, output=1)).done[-1]
    token = Timing.of(chip, SMALL).tokens[0]
    assert alone == sum(token.by_operation(at(1)).values())


def test_a_row_from_the_host_takes_more_cycles_of_a_faster_clock() -> None:
    away = HC1.with_values({"rom.embedding": "host"})
    timing = Timing.of(away, SMALL)
    faster = away._replaced({"datapath.clock_ghz": 2 * HC1.datapath.clock_ghz})
    again = timing.recounted(faster, "datapath.clock_ghz")
    cycles = [t.tokens[0].stages.embedding.cycles for t in (timing, again)]
    assert cycles[1] > 1.9 * cycles[0]
    assert again.tokens[0].fixed == Timing.of(faster, SMALL).tokens[0].fixed


# --- arrays of units ------------------------------------------------------------------------------


def test_an_array_of_units_of_a_stated_width() -> None:
    """ROMA's 16,384 units of 16 weights: 256 inputs by 1,024 outputs, whatever the matrix."""
    path = ROMA.datapath
    assert path.lanes * path.outputs_per_pass == 16_384 * 16
    model = LanguageModel.by_name(ROMA.model)
    (of_layer,) = Timing.of(ROMA, model).tokens[0].stages.kinds
    cycles = {stage.name: stage.cycles for stage in of_layer.all if stage.matrices}
    for matrix in layer_matrices(model):
        passes = -(-matrix.in_features // 256) * -(-matrix.out_features // 1024)
        assert cycles[matrix.name] == passes + path.fill_cycles


# --- the manual -----------------------------------------------------------------------------------


def test_the_table_of_ternary_codes_is_what_the_model_says() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "area-power-cost.md"
    lines = page.read_text(encoding="utf-8").split("| Codes of the layers |")[1].splitlines()[2:6]
    chips = [HC1.with_values({**TWO, "rom.bits_per_weight": 3}), HC1.with_values(TWO)]
    chips.append(HC1.with_values(TERNARY))
    areas = [area(chip, BITNET) for chip in chips]
    joule = [
        predict(chip, BITNET, prompt=1024, output=1024).power.energy_j_per_token for chip in chips
    ]
    blocks = [[found[name] for found in areas] for name in ("rom", "matrix_adders", "total")]
    for line, row in zip(lines, [*blocks, [1e3 * value for value in joule]], strict=True):
        said = line.strip("|").split("|")[1:]
        digits = len(said[0].split(".")[1].strip())
        assert [float(text) for text in said] == [round(float(value), digits) for value in row]
