"""The report on number formats: its laws, KL against a hand calculation, files and bad input."""

from __future__ import annotations

import csv
import json
import math
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from rich.console import Console
from small_models import DIMENSIONS, LLAMA, MODELS, write_model
from small_models import write_adapter as write_small_adapter

from hardwire.experiments.cli import app as cli
from hardwire.experiments.formats.divergence import (
    divergence,
    entropy_nats,
    kl_nats,
    scale_to_entropy,
)
from hardwire.experiments.formats.measure import (
    ADAPTER_STRENGTH,
    ENTROPY_NATS,
    FormatReport,
    measure,
)
from hardwire.experiments.formats.plot import formats_figure
from hardwire.experiments.formats.save import save
from hardwire.experiments.formats.stand_in import small_llama
from hardwire.experiments.formats.view import render
from hardwire.experiments.report.build import read_page
from hardwire.experiments.report.build import render as render_pages
from hardwire.experiments.run.tokens import decoder_threads, rom_format
from hardwire.kernels.decoder.base_weights import (
    ROM_BITS,
    WEIGHT_FORMATS,
    formats_of_parts,
    rom_cells,
)
from hardwire.kernels.decoder.checkpoint import Checkpoint, RandomWeights
from hardwire.kernels.decoder.decoder import Decoder
from hardwire.kernels.decoder.kv_cache import KV_BITS, KV_FORMATS
from hardwire.kernels.decoder.layer_weights import ROUTER
from hardwire.kernels.lowrank.formats import FORMATS
from hardwire.kernels.rom.rom import Mix, RomMatrix
from hardwire.models import Adapter, Chip, InputError, LanguageModel
from hardwire.models.language_model import TARGETS, module_path
from hardwire.models.rom import RomFormat
from hardwire.models.rom import RomMatrix as Shape

pytestmark = pytest.mark.filterwarnings("error")

TINY = LanguageModel.from_config(
    DIMENSIONS
    | LLAMA
    | {"hidden_size": 128, "head_dim": 32, "intermediate_size": 256, "vocab_size": 512}
)


@pytest.fixture(scope="module")
def report() -> FormatReport:
    return measure(TINY, None, None, tokens=96, seed=3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_model(tmp_path / "model", "llama")
    return tmp_path / "model"


def refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object
) -> str:
    """The one sentence on standard error; nothing on standard output, exit status 2."""
    monkeypatch.setattr(sys, "argv", ["hardwire", "formats", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    captured = capsys.readouterr()
    assert (stop.value.code, captured.out) == (2, ""), captured.err
    assert captured.err.startswith("hardwire: ") and captured.err.count("\n") == 1
    return captured.err


# --- divergence -----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_measurement_says_how_far_it_is_and_another_seed_measures_another() -> None:
    told: list[tuple[int, int]] = []
    report = measure(
        TINY, None, None, tokens=4, report=lambda done, total: told.append((done, total))
    )
    total = len(report.base) + len(report.adapters)
    assert told == [(done, total) for done in range(1, total + 1)]
    assert measure(TINY, None, None, tokens=4, seed=1) != report


def test_kl_equals_a_hand_calculation() -> None:
    """p = (1/2, 1/4, 1/4), q = (1/4, 1/2, 1/4): KL = ln(2)/2 - ln(2)/4."""
    p = np.log(np.array([[0.5, 0.25, 0.25], [0.2, 0.2, 0.6]], np.float32))
    q = np.log(np.array([[0.25, 0.5, 0.25], [0.2, 0.2, 0.6]], np.float32)) + np.float32(7)
    np.testing.assert_allclose(kl_nats(p, q), [math.log(2) / 4, 0], atol=1e-6)
    found = divergence(p, q)
    assert found.kl_nats == pytest.approx(math.log(2) / 8, abs=1e-6)
    assert found.kl_p99_nats == pytest.approx(0.99 * math.log(2) / 4, abs=1e-6)
    assert found.same_top == 0.5


def test_sqnr_of_logits_ignores_what_softmax_ignores() -> None:
    logits = np.array([[1, -1], [3, 1]], np.float32)
    noisy = logits + np.array([[0.1, -0.1], [5.1, 4.9]], np.float32)
    assert divergence(logits, noisy).logits_sqnr_db == pytest.approx(20, abs=1e-4)


@examples(50)
@given(
    hnp.arrays(np.float32, (2, 3, 7), elements=st.floats(-2000, 2000, width=32)),
    st.integers(-5, 5),
)
def test_kl_is_never_negative(logits: np.ndarray, shift: int) -> None:
    exact, other = logits
    assert (kl_nats(exact, other) >= 0).all() and np.isfinite(kl_nats(exact, other)).all()
    assert (kl_nats(exact, exact) == 0).all()
    assert kl_nats(exact, exact + np.float32(shift)).max() < 1e-6


def test_what_is_equal_has_no_error() -> None:
    logits = np.random.default_rng(0).standard_normal((70, 11), dtype=np.float32)
    found = divergence(logits, logits.copy())
    assert (found.logits_sqnr_db, found.kl_nats, found.kl_p99_nats) == (math.inf, 0, 0)
    assert found.same_top == 1


@pytest.mark.parametrize("nats", [0.1, 1.0, 3.0])
def test_the_entropy_that_is_asked_for(nats: float) -> None:
    logits = np.random.default_rng(0).standard_normal((70, 64), dtype=np.float32)
    assert entropy_nats(logits, scale_to_entropy(logits, nats)) == pytest.approx(nats, abs=1e-3)
    with pytest.raises(ValueError, match="between 0 and"):
        scale_to_entropy(logits, 5)


# --- the weights format of a mix ------------------------------------------------------------


def test_the_mixed_format_packs_each_matrix_as_a_mix() -> None:
    source = RandomWeights(TINY, 0)
    decoder = Decoder.random(TINY, 0, "rom3+6")
    for target in TARGETS:
        (weights,) = source.blocks(f"{module_path(1, target)}.weight")
        packed = decoder.base.layers[1].matrices[target]
        assert isinstance(packed, RomMatrix)
        np.testing.assert_array_equal(
            packed.dequantized(), RomMatrix.pack(weights, Mix()).dequantized()
        )
        bits = {s.bits: np.count_nonzero(s.rows >= 0) for s in packed.sections}
        assert bits == {3: len(weights) - round(len(weights) / 6), 6: round(len(weights) / 6)}


def test_every_block_of_rows_has_its_sixth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hardwire.kernels.decoder.checkpoint.BLOCK_BYTES", 4 * 128 * 96)
    packed = Decoder.random(TINY, 0, "rom3+6").base.head
    assert isinstance(packed, RomMatrix)
    (wide,) = (s.rows[s.rows >= 0] for s in packed.sections if s.bits == 6)
    assert np.bincount(np.sort(wide) // 96).tolist() == [16, 16, 16, 16, 16, 5]
    assert packed.out_features == TINY.vocab


@pytest.mark.parametrize(
    ("bits", "fmt"),
    [(3, "rom3"), (3.1, "rom3+6"), (3.5, "rom3+6"), (3.75, "rom4"), (4, "rom4"), (6, "rom6")],
)
def test_a_chip_is_computed_in_the_narrowest_format_that_holds_it(bits: float, fmt: str) -> None:
    chip = Chip.open("hc1")
    assert rom_format(chip.with_values({"rom.bits_per_weight": bits})) == f"{fmt}/row"
    values = {"rom.bits_per_weight": bits, "rom.scale_group": 32}
    assert rom_format(chip.with_values(values)) == fmt


TERNARY = {"rom.alphabet": "ternary", "rom.bits_per_weight": 2, "rom.head_bits": 6}


@pytest.mark.parametrize(
    ("name", "values", "fmt"),
    [
        ("hc1", {}, "rom3+6/row"),
        ("roma", {}, "rom4/128"),
        ("hc1", TERNARY, "ternary/tensor:rom6/row"),
    ],
)
def test_what_is_judged_is_what_is_priced(name: str, values: dict[str, Any], fmt: str) -> None:
    """Area and energy of a chip take the widths of the matrices that are measured for it."""
    chip = Chip.open(name).with_values(values)
    assert rom_format(chip) == fmt
    layers, head = formats_of_parts(fmt)
    assert layers in WEIGHT_FORMATS and formats_of_parts(layers) == (layers, head)
    weights = np.random.default_rng(0).standard_normal((192, 512), dtype=np.float32)
    bits, group = rom_cells(layers)
    packed = RomMatrix.pack(weights, bits, min(group, 512))
    shape = Shape("o", 512, 192, ())
    judged, priced = packed.format, RomFormat.of(chip, shape)
    assert judged.stored_bits(shape) == 8 * packed.nbytes
    assert judged.code_bits == priced.code_bits
    assert judged.groups(512) == priced.groups(512)
    assert judged.sum_bits(512) == priced.sum_bits(512)
    assert judged.ternary == priced.ternary
    assert judged.line_bits == priced.line_bits
    # The kernels have no zero point, which is 2 bits of ROMA's scales.
    assert priced.scale_bits - judged.scale_bits == {"hc1": 0, "roma": 2}[name]


@pytest.mark.parametrize("fmt", ["rom5", "rom4/", "rom4/16", "rom4/48", "rom4/rows", "rom4/65568"])
def test_a_format_of_weights_that_is_none_is_refused(fmt: str) -> None:
    with pytest.raises(ValueError, match=f"weights must be one of float32, rom3.* not '{fmt}'"):
        Decoder.random(TINY, 0, fmt)


# --- the report -----------------------------------------------------------------------------


@pytest.mark.slow
def test_error_falls_with_bits(report: FormatReport) -> None:
    weights = [row for row in report.base if row.kv_bits == 32 and row.weights in ROM_BITS]
    cache = sorted(
        (r for r in report.base if r.weights == "float32" and r.kv_format != "e4m3"),
        key=lambda row: row.kv_bits,
    )
    assert [row.weights for row in weights] == list(ROM_BITS)
    for rows in (weights, cache):
        sqnr = [row.error.logits_sqnr_db for row in rows]
        kl = [row.error.kl_nats for row in rows]
        assert sqnr == sorted(sqnr) and kl == sorted(kl, reverse=True)
    products = [row.product_sqnr_db for row in weights]
    assert products == sorted(products) and products[0] > 14 and products[-1] < 36
    for rank in {row.rank for row in report.adapters}:
        rows_of_rank = [row for row in report.adapters if row.rank == rank]
        assert [row.adapter_format for row in rows_of_rank] == list(FORMATS)
        sqnr = [row.product_sqnr_db for row in rows_of_rank]
        kl = [row.error.kl_nats for row in rows_of_rank]
        assert sqnr == sorted(sqnr, reverse=True) and kl == sorted(kl)


def test_the_mix_lies_between_its_widths(report: FormatReport) -> None:
    found = {row.weights: row for row in report.base if row.kv_bits == 32}
    low, mix, four, six = (found[fmt] for fmt in ("rom3", "rom3+6", "rom4", "rom6"))
    assert low.weight_bits < mix.weight_bits < six.weight_bits
    assert low.product_sqnr_db < mix.product_sqnr_db < four.product_sqnr_db < six.product_sqnr_db


def test_fp8_lies_between_integers_of_4_and_8_bits(report: FormatReport) -> None:
    """3 bits of mantissa and a sign against 7 and a sign, but no scale: half a bit less."""
    found = {r.kv_format: r for r in report.base if r.weights == "float32"}
    sqnr = [found[fmt].error.logits_sqnr_db for fmt in ("int4", "e4m3", "int8")]
    assert sqnr == sorted(sqnr) and found["e4m3"].kv_stored_bits == 8


def test_ternary_weights_are_the_coarsest_and_the_smallest(report: FormatReport) -> None:
    """2 bits and a scale for each output in the layers; the LM head has 6 bits."""
    found = {row.weights: row for row in report.base if row.kv_bits == 32}
    ternary, low = found["ternary/tensor"], found["rom3"]
    assert ternary.weight_bits < low.weight_bits
    assert ternary.product_sqnr_db < low.product_sqnr_db


def test_float32_is_its_own_reference(report: FormatReport) -> None:
    exact = report.base[0]
    assert (exact.weights, exact.kv_bits, exact.weight_bits) == ("float32", 32, 32)
    floats = [row.error for row in report.adapters if row.adapter_format == "float32"]
    for error in (exact.error, *floats):
        assert (error.logits_sqnr_db, error.kl_nats, error.same_top) == (math.inf, 0, 1)
    assert exact.product_sqnr_db == math.inf
    assert {(row.weights, row.kv_bits) for row in report.base} == {
        (weights, bits) for weights in WEIGHT_FORMATS for bits in KV_BITS
    }
    assert [row.kv_format for row in report.base] == list(KV_FORMATS) * len(WEIGHT_FORMATS)


def test_the_declared_premises_hold(report: FormatReport) -> None:
    assert report.adapter_strength == pytest.approx(ADAPTER_STRENGTH, rel=1e-3)
    assert report.entropy_nats == pytest.approx(ENTROPY_NATS, abs=0.3)
    assert {row.rank for row in report.adapters} == {1, 4, 16, 64}  # 256 is wider than the model
    big, small = LanguageModel.open("llama-3.1-8b"), small_llama()
    for name in ("layers", "hidden", "intermediate", "heads", "kv_heads", "vocab"):
        assert getattr(big, name) == 8 * getattr(small, name), name


def test_stored_bits_are_those_of_the_arrays(report: FormatReport) -> None:
    kv = {row.kv_format: row.kv_stored_bits for row in report.base}
    assert kv == {"float32": 32, "float16": 16, "int8": 8.5, "e4m3": 8, "int4": 4.5}
    weights = {row.weights: row.weight_bits for row in report.base}
    assert (weights["rom3"], weights["rom4"], weights["rom6"]) == (3.5, 4.5, 6.5)
    images = {row.adapter_format: row.adapter_bits for row in report.adapters}
    assert images == {"float32": 32, "float16": 16, "int8": 8.5, "int4": 4.5, "int2": 2.5}


@pytest.mark.slow
def test_a_model_and_an_adapter_of_files(folder: Path, tmp_path: Path) -> None:
    model = LanguageModel.open(str(folder))
    adapter = Adapter.open(write_small_adapter(tmp_path / "mine", "patterns", model), model)
    report = measure(model, folder, adapter, tokens=40)
    assert not report.random_weights and report.adapter == "mine"
    images = [(row.adapter_format, row.rank) for row in report.adapters]
    assert images == [(fmt, 7) for fmt in FORMATS]
    exact, packed = Decoder.load(folder), Decoder.load(folder, "rom4", kv_bits=8)
    text = np.random.default_rng(0).integers(0, model.vocab, 40)
    (row,) = (row for row in report.base if (row.weights, row.kv_format) == ("rom4", "int8"))
    assert row.error == divergence(exact.logits(text), packed.logits(text))
    exact.add_adapter("int4", adapter, "int4")
    want = divergence(exact.logits(text, adapter), exact.logits(text, "int4"))
    assert {row.adapter_format: row.error for row in report.adapters}["int4"] == want


@pytest.mark.slow
def test_experts_and_heads_of_latent_attention_are_measured() -> None:
    few = {"num_hidden_layers": 2, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 2}
    few |= {"topk_group": 1, "num_attention_heads": 2}
    model = LanguageModel.from_config(DIMENSIONS | MODELS["deepseek_v3"] | few, name="m")
    report = measure(model, None, None, tokens=6)
    found = {row.weights: row for row in report.base if row.kv_bits == 32}
    sqnr = [found[fmt].product_sqnr_db for fmt in ("rom3", "rom4", "rom6", "float32")]
    assert sqnr == sorted(sqnr) and sqnr[0] > 14 and sqnr[-1] == math.inf
    assert report.base[0].error.logits_sqnr_db == math.inf
    assert report.adapter_strength == pytest.approx(ADAPTER_STRENGTH, rel=1e-3)
    packed = Decoder.random(model, 0, "rom3").base.layers[-1]
    assert isinstance(router := packed.matrices[ROUTER], RomMatrix)
    assert [section.bits for section in router.sections] == [6]


def test_a_model_that_no_memory_holds_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    message = refused(monkeypatch, capsys, "--model", "deepseek-v3")
    assert re.search(r"deepseek-v3: takes 2,499\.8 GiB in float32, in which formats", message)


# --- tables, files, bad input ---------------------------------------------------------------


@pytest.mark.parametrize("width", [80, 120])
def test_tables_are_whole(report: FormatReport, width: int) -> None:
    console = Console(width=width, file=sys.stderr, record=True)
    console.print(render(report))
    text = console.export_text()
    assert "…" not in text and "random weights" in text and "nats" in text
    for fmt in (*ROM_BITS, "16-bit", "8-bit", "e4m3", "4-bit", "ternary/tensor", *FORMATS):
        assert f"\n{fmt} " in text, fmt


def test_the_figure_draws_what_has_an_error(report: FormatReport) -> None:
    base, kl, _, adapter_kl = formats_figure(report).axes
    assert [len(line.get_xdata()) for line in base.lines] == [4, 4, 3, 1]
    assert [len(line.get_xdata()) for line in kl.lines] == [4, 3, 1]
    assert [len(line.get_xdata()) for line in adapter_kl.lines] == [4, 4, 4, 4]


@pytest.mark.slow
def test_the_command_saves_all_files_the_same_again_or_none(
    folder: Path,
    report: FormatReport,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    arguments = ["--model", folder, "--tokens", 12, "--seed", 5, "--save", out]
    monkeypatch.setattr(sys, "argv", ["hardwire", "formats", *map(str, arguments), "--json"])
    printed, files = [], []
    for _ in range(2):
        with pytest.raises(SystemExit):
            cli.main()
        printed.append(capsys.readouterr().out)
        files.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert printed[0] == printed[1] and files[0] == files[1]
    assert set(files[0]) == {"formats.json", "formats.csv", "formats.png"}
    manual = (Path(__file__).resolve().parents[3] / "docs" / "cli.md").read_text(encoding="utf-8")
    (listed,) = re.findall(r"^`--save DIR` writes `formats.*?\n\n", manual, re.M | re.S)
    assert set(re.findall(r"`(formats\.\w+)`", listed)) == set(files[0])
    data = json.loads(printed[0])
    assert (data["tokens"], data["seed"], data["random_weights"]) == (12, 5, False)
    assert data["base"][0]["logits_sqnr_db"] is None
    with (out / "formats.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(data["base"]) + len(data["adapters"])
    assert rows[0]["logits_sqnr_db"] == "inf" and rows[0]["rank"] == ""
    assert (rows[-1]["adapter_format"], rows[-1]["rank"]) == ("int2", "64")
    assert float(rows[-1]["kl_nats"]) == pytest.approx(data["adapters"][-1]["kl_nats"], rel=1e-5)

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hardwire.experiments.formats.save.save_figure", full_disk)
    monkeypatch.setattr("hardwire.experiments.formats.measure.measure", lambda *_, **__: report)
    message = refused(monkeypatch, capsys, *arguments[:-1], out)
    assert "--save" in message and "No space left on device" in message
    assert {path.name: path.read_bytes() for path in out.iterdir()} == files[0]
    refused(monkeypatch, capsys, *arguments[:-1], tmp_path / "fresh")
    assert not (tmp_path / "fresh").exists()


def test_a_saved_measurement_has_a_page(report: FormatReport, tmp_path: Path) -> None:
    save(report, tmp_path)
    page = read_page(tmp_path)
    assert page.verdict.startswith("3-bit weights move the output by ") and page.warnings
    alone, together, adapters, _ = page.sections
    bars, table = alone.blocks
    assert table.table is not None and together.blocks[0].table is not None
    assert [row[0] for row in table.table.rows] == [
        "rom3", "rom3+6", "rom4", "rom6", "rom3+6/row", "rom4/128", "ternary/tensor",
        "16-bit KV", "8-bit KV", "e4m3 KV", "4-bit KV",
    ]  # fmt: skip
    assert bars.chart is not None and len(bars.chart.data) == 11 and " dB with " in bars.text
    first = next(row for row in report.base if row.weights == "rom3")
    assert table.table.rows[0][1] == f"{first.weight_bits:.2f}"
    assert together.blocks[0].table.rows[0][0] == "float32"
    assert adapters.blocks[-1].table is not None
    assert len(adapters.blocks[-1].table.rows) == len(report.adapters)
    html = render_pages([page])
    assert html.count('<figure class="chart"') == 2
    assert page.verdict in html and "∞" in html


def test_bad_input_is_one_sentence(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(folder / "config.json", bare)
    cases: list[tuple[list[object], list[str]]] = [
        (["--model", "no/such"], ["no/such", "does not exist"]),
        (["--model", "llama-3.1-8"], ["llama-3.1-8b"]),
        (["--model", bare], ["bare", "neither model.safetensors nor"]),
        (["--model", folder, "--tokens", 1025], ["--tokens 1025", "1,024 positions"]),
        (["--model", folder, "--adapter", tmp_path / "none"], ["does not exist"]),
        (["--model", folder, "--adapter", "none"], ["--adapter none", "PEFT folder"]),
        (["--model", folder, "--adapter", "r4:qv"], ["r4:qv", "shape without weights"]),
    ]
    for arguments, words in cases:
        message = refused(monkeypatch, capsys, *arguments)
        assert all(word in message for word in words), message


def test_a_weight_beyond_a_format_is_named(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = LanguageModel.open(str(folder))
    adapter = Adapter.open(write_small_adapter(tmp_path / "mine", "qv", model), model)
    weights, blocks = Adapter.weights, Checkpoint.blocks

    def large_a(
        self: Adapter, layer: int, target: str
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        a, b = weights(self, layer, target)
        return a * np.float32(1e9), b

    def large_q(self: Checkpoint, name: str) -> Iterator[NDArray[np.float32]]:
        factor = np.float32(1e9 if name.endswith("layers.1.self_attn.q_proj.weight") else 1)
        for block in blocks(self, name):
            yield block * factor

    with monkeypatch.context() as patch:
        patch.setattr(Adapter, "weights", large_a)
        with pytest.raises(InputError, match=r"mine: model\.layers\.0\.self_attn\..*float16"):
            measure(model, folder, adapter, tokens=4)
    monkeypatch.setattr(Checkpoint, "blocks", large_q)
    with pytest.raises(InputError, match=r"model: in rom3: .*float16"):
        measure(model, folder, None, tokens=4)


def test_threads_are_no_more_than_numba_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("numba.config.NUMBA_NUM_THREADS", 1)
    assert decoder_threads() == 1
