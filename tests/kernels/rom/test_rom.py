"""The hardwired matrix-vector product against its definition.

Laws, over random shapes, widths, groups and mixes:

- definition: the compiled product equals the literal product-select scheme bit for bit, for one
  token or many, whatever the threads, and so does code compiled for another instruction set;
- an image stands for its dequantized weights: rounding activations is the only other error;
- packing by parts, saving and loading change nothing;
- error falls with the bits;
- no error leaves a result.
"""

import os
import platform
import subprocess
import sys

import numba
import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from hardwire.kernels.rom.product import apply_all
from hardwire.kernels.rom.rom import BITS, Mix, RomMatrix, product_select
from hardwire.kernels.rom.ternary import Ternary

# The first call of a width compiles it, which takes longer than hypothesis allows an example.
several = examples(40)
seeds = st.integers(0, 2**32 - 1)
heights, widths = st.integers(1, 60), st.integers(1, 200)
groups = st.sampled_from([32, 64, 96, 128])
mixes = st.builds(
    lambda pair, share: Mix(*pair, share),
    st.sampled_from([(3, 4), (3, 6), (4, 6)]),
    st.floats(0.01, 0.99),
)
ternary = st.builds(Ternary, st.sampled_from([None, 0.0, 0.01, 0.03]))
formats = st.one_of(st.sampled_from(BITS), mixes, ternary)
THREADS = [1, min(2, numba.config.NUMBA_NUM_THREADS)]


def draw(seed, out_features, in_features, tokens=1):
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal((out_features, in_features), np.float32) * np.float32(0.02)
    # Some activations stand out by an order of magnitude and some are zero, as in a model.
    x = rng.standard_t(2, (tokens, in_features)).astype(np.float32)
    x[rng.random(x.shape) < 0.1] = 0
    return weights, x


def quantized(x, group):
    """What the definition's 8-bit activations stand for, in float64."""
    padded = np.zeros(-(-x.size // group) * group)
    padded[: x.size] = x
    padded = padded.reshape(-1, group)
    steps = np.abs(padded).max(axis=1, keepdims=True) / 127
    codes = np.rint(padded / np.where(steps > 0, steps, 1))
    return (codes * steps).reshape(-1)[: x.size]


def sqnr_db(exact, value):
    return 10 * np.log10(np.sum(exact**2) / np.sum((value - exact) ** 2))


@several
@given(seeds, heights, widths, formats, groups, st.integers(1, 10), st.sampled_from(THREADS))
def test_product_equals_its_definition_bit_for_bit(seed, m, n, bits, group, tokens, threads):
    weights, x = draw(seed, m, n, tokens)
    matrix = RomMatrix.pack(weights, bits, group)
    expected = np.stack([product_select(matrix, row) for row in x])
    assert matrix.apply(x, threads).tobytes() == expected.tobytes()
    assert matrix.apply(x[0], threads).tobytes() == expected[0].tobytes()


@examples(20)
@given(
    seeds,
    widths,
    st.lists(st.tuples(heights, formats), min_size=1, max_size=4),
    st.integers(1, 20),
    st.sampled_from(THREADS),
)
def test_products_of_one_input_are_those_of_each_matrix(seed, n, kinds, tokens, threads):
    matrices = [RomMatrix.pack(draw(seed + i, m, n)[0], bits) for i, (m, bits) in enumerate(kinds)]
    x = draw(seed, 1, n, tokens)[1]
    for matrix, y in zip(matrices, apply_all(matrices, x, threads), strict=True):
        expected = np.stack([matrix.apply(row) for row in x])
        assert y.tobytes() == expected.tobytes()


def test_rows_in_any_order_land_where_they_belong():
    """Stored blocks of rows with gaps, from the first lane on, too."""
    weights, x = draw(5, 40, 64, 8)
    packed = RomMatrix.pack(weights, 4)
    arrays = {name: array.copy() for name, array in packed.arrays().items()}
    order = np.random.default_rng(0).permutation(48)
    for name, axes in (("codes4", (0, 2, 1, 3)), ("scales4", (0, 2, 1))):
        # Lanes are moved as whole: codes lie as (vectors, lanes, 4 inputs) within a block.
        shape = (3, -1, 16, 4) if name == "codes4" else (3, -1, 16)
        back = np.argsort(axes)
        lanes = arrays[name].reshape(shape).transpose(axes)
        moved = lanes.reshape(48, *lanes.shape[2:])[order].reshape(lanes.shape).transpose(back)
        arrays[name] = np.ascontiguousarray(moved).reshape(arrays[name].shape)
    arrays["rows4"] = arrays["rows4"].reshape(-1)[order].reshape(3, 16)
    moved = RomMatrix.from_arrays(arrays)
    assert moved.apply(x).tobytes() == packed.apply(x).tobytes()


def test_matrices_of_one_product_must_share_its_input():
    narrow, wide = (RomMatrix.pack(draw(0, 4, n)[0], 4) for n in (32, 64))
    other = RomMatrix.pack(draw(0, 4, 64)[0], 4, 64)
    with pytest.raises(ValueError, match="at least one matrix"):
        apply_all([], np.zeros(32, np.float32))
    for pair in ([narrow, wide], [wide, other]):
        with pytest.raises(ValueError, match="share inputs and group"):
            apply_all(pair, np.zeros((1, pair[0].in_features), np.float32))


def weights_of_largest_codes(n, bits=6):
    """A row whose stored codes are as large as can be: one -2^(b - 1) among 2^(b - 1) - 1."""
    row = np.full(n, 2.0 ** (bits - 1) - 1, np.float32)
    row[::32] = -(2.0 ** (bits - 1))
    return row


@pytest.mark.parametrize(("bits", "n"), [*((bits, 4096) for bits in BITS), (6, 16384)])
def test_extreme_codes_do_not_overflow(bits, n):
    """Every cell and activation at the end of its range, in groups as long as a row.

    The last one's sum, beyond 2^24, is rounded to float32 before it is scaled.
    """
    weights = np.full((16, n), -1.0, np.float32)
    weights[1] = weights_of_largest_codes(n, bits)
    matrix = RomMatrix.pack(weights, bits, n)
    np.testing.assert_array_equal(matrix.dequantized()[:2], weights[:2])
    for x in (np.ones(n, np.float32), np.tile(np.float32([1, -1]), n // 2)):
        y = matrix.apply(x)
        assert y.tobytes() == product_select(matrix, x).tobytes()
        np.testing.assert_allclose(y, weights @ x, rtol=1e-6, atol=1e-3)


@pytest.mark.parametrize("size", [1e-45, 3e-43, 1e-38, 1e30])
def test_activations_of_any_magnitude(size):
    weights, x = draw(1, 20, 70)
    x = (np.sign(x[0]) * np.float32(size)).astype(np.float32)
    matrix = RomMatrix.pack(weights, 4)
    assert matrix.apply(x).tobytes() == product_select(matrix, x).tobytes()


@several
@given(seeds, heights, widths, formats, groups)
def test_product_is_that_of_the_dequantized_weights(seed, m, n, bits, group):
    weights, x = draw(seed, m, n)
    matrix = RomMatrix.pack(weights, bits, group)
    stored = matrix.dequantized().astype(np.float64)
    exact = stored @ quantized(x[0], group)
    magnitudes = np.abs(stored) @ np.abs(quantized(x[0], group))
    # Three roundings per group, and two in an activation scale; see Higham, section 3.1.
    bound = (n // group + 6) * 2.0**-24 * magnitudes * 1.5
    assert np.all(np.abs(matrix.apply(x[0]) - exact) <= bound + 1e-40)


@several
@given(seeds, heights, widths, st.sampled_from(BITS), groups)
def test_weights_are_rounded_to_the_nearest_code(seed, m, n, bits, group):
    weights, _ = draw(seed, m, n)
    matrix = RomMatrix.pack(weights, bits, group)
    stored = matrix.dequantized()
    (section,) = matrix.sections
    scales = section.scales.view(np.float16).astype(np.float32).transpose(0, 2, 1)
    steps = np.abs(scales.reshape(-1, scales.shape[2])[:m].repeat(group, axis=1)[:, :n])
    # Clipped where a smaller scale served the group better, and then at most by 3/8 of the range.
    half = 2 ** (bits - 1)
    inside = np.abs(weights) < (half - 1) * steps
    assert np.all(np.abs(stored - weights)[inside] <= 0.5001 * steps[inside])
    assert np.all(np.abs(stored) <= half * steps)


@several
@given(seeds, heights, widths, ternary, groups)
def test_a_ternary_weight_is_its_scale_its_negative_or_nothing(seed, m, n, rule, group):
    """By the formula of BitNet b1.58, group by group, in float64 but for the scale's float16."""
    weights, _ = draw(seed, m, n)
    matrix = RomMatrix.pack(weights, rule, group)
    assert matrix.format.ternary and matrix.format.code_bits == 2
    stored = matrix.dequantized()
    for begin in range(0, n, group):
        part = weights[:, begin : begin + group].astype(np.float64)
        mean = np.abs(part).mean(axis=1) if rule.scale is None else np.full(m, rule.scale)
        scale = mean.astype(np.float16).astype(np.float64)[:, None]
        want = np.clip(np.rint(part / scale), -1, 1) * scale if scale.all() else 0 * part
        got = stored[:, begin : begin + group]
        # A quotient next to a half may round the other way in float32.
        near = np.abs(np.abs(part) - scale / 2) < 1e-6 * scale
        assert np.all((got == want) | near)


def test_ternary_takes_2_bits_a_weight_and_loses_what_theory_says():
    """Of a Gaussian: 1 - 2 g E[|w|; |w| > g/2] + g² P(|w| > g/2) with g = E|w|, 5.8 dB."""
    weights, _ = draw(6, 96, 1024)
    matrix = RomMatrix.pack(weights, Ternary(float(np.abs(weights).mean())), 1024)
    assert matrix.nbytes * 8 / weights.size == 2 + 16 / 1024
    assert sqnr_db(weights, matrix.dequantized()) == pytest.approx(5.8, abs=0.1)
    again = RomMatrix.pack(matrix.dequantized(), Ternary(float(matrix.dequantized().max())), 1024)
    np.testing.assert_array_equal(again.dequantized(), matrix.dequantized())


def test_codes_that_are_not_ternary_are_refused():
    weights, _ = draw(2, 16, 32)
    arrays = dict(RomMatrix.pack(weights, Ternary()).arrays())
    arrays["codes2"] = np.zeros_like(arrays["codes2"])
    with pytest.raises(ValueError, match="`codes2` holds codes that are not ternary"):
        RomMatrix.from_arrays(arrays)


@pytest.mark.parametrize(("bad", "why"), [(np.nan, "not finite"), (1e9, "beyond float16")])
def test_ternary_weights_out_of_range_are_refused(bad, why):
    with pytest.raises(ValueError, match=why):
        RomMatrix.pack(np.full((2, 32), bad, np.float32), Ternary())


def test_signal_to_noise_rises_with_the_bits(record_property):
    weights, _ = draw(7, 512, 1024)
    x = np.random.default_rng(8).standard_normal((4, 1024)).astype(np.float32)
    exact = x.astype(np.float64) @ weights.T.astype(np.float64)
    quality = {}
    for bits in (3, Mix(), 4, 6):
        matrix = RomMatrix.pack(weights, bits)
        quality[bits] = sqnr_db(weights, matrix.dequantized()), sqnr_db(exact, matrix.apply(x))
        record_property(f"sqnr_db {bits}", [float(one) for one in quality[bits]])
    of_weights, of_outputs = zip(*quality.values(), strict=True)
    assert list(of_weights) == sorted(of_weights)
    assert list(of_outputs) == sorted(of_outputs)
    assert np.allclose(of_weights, [15.7, 16.5, 21.7, 33.7], atol=0.3)
    assert of_outputs[-1] > 32  # of the 6-bit weights' 33.7: 8-bit activations add little


def test_mix_gives_the_higher_width_to_the_rows_that_gain_most():
    weights, _ = draw(3, 40, 64)
    weights[[5, 17, 33]] *= 10
    low, high = RomMatrix.pack(weights, Mix(share=0.075)).sections
    assert (low.bits, high.bits) == (3, 6)
    assert high.rows[high.rows >= 0].tolist() == [5, 17, 33]
    assert sorted([*low.rows[low.rows >= 0], 5, 17, 33]) == list(range(40))


@pytest.mark.parametrize(("bits", "size"), [(3, 3.5), (4, 4.5), (6, 6.5), (Mix(), 4.0)])
def test_bits_per_weight_of_whole_blocks(bits, size):
    weights, _ = draw(2, 96, 256)
    assert RomMatrix.pack(weights, bits).nbytes * 8 / weights.size == size


@several
@given(seeds, widths, st.lists(st.tuples(heights, formats), min_size=1, max_size=4), groups)
def test_stack_is_the_parts_one_below_the_other(seed, n, parts, group):
    weights, x = draw(seed, sum(m for m, _ in parts), n, 2)
    matrices, begin = [], 0
    for m, bits in parts:
        matrices.append(RomMatrix.pack(weights[begin : begin + m], bits, group))
        begin += m
    stacked = RomMatrix.stack(matrices)
    expected = np.concatenate([matrix.apply(x) for matrix in matrices], axis=1)
    assert stacked.apply(x).tobytes() == expected.tobytes()
    dequantized = np.concatenate([matrix.dequantized() for matrix in matrices])
    np.testing.assert_array_equal(stacked.dequantized(), dequantized)


def test_rows_may_be_packed_a_few_at_a_time():
    weights, _ = draw(4, 50, 100)
    parts = RomMatrix.stack([RomMatrix.pack(weights[i : i + 7], 3) for i in range(0, 50, 7)])
    np.testing.assert_array_equal(parts.dequantized(), RomMatrix.pack(weights, 3).dequantized())


@several
@given(seeds, heights, widths, formats, groups)
def test_arrays_restore_the_matrix(seed, m, n, bits, group):
    weights, x = draw(seed, m, n)
    matrix = RomMatrix.pack(weights, bits, group)
    again = RomMatrix.from_arrays(matrix.arrays())
    assert again.nbytes == matrix.nbytes
    assert again.apply(x).tobytes() == matrix.apply(x).tobytes()


def test_arrays_go_through_a_file(tmp_path):
    weights, x = draw(5, 30, 90)
    matrix = RomMatrix.pack(weights, Mix())
    np.savez(tmp_path / "matrix.npz", **matrix.arrays())
    with np.load(tmp_path / "matrix.npz", allow_pickle=False) as arrays:
        again = RomMatrix.from_arrays(arrays)
    assert again.apply(x).tobytes() == matrix.apply(x).tobytes()


def test_zeros_and_tiny_weights_are_zero():
    weights = np.zeros((3, 64), np.float32)
    weights[1] = 1e-9  # below half of the smallest float16
    matrix = RomMatrix.pack(weights, 3)
    assert not matrix.dequantized().any()
    assert not matrix.apply(np.ones(64, np.float32)).any()


def test_matrix_cannot_be_changed_and_changes_no_input():
    weights, _ = draw(6, 20, 40)
    arrays = {name: array.copy() for name, array in RomMatrix.pack(weights, 4).arrays().items()}
    section = RomMatrix.from_arrays(arrays).sections[0]
    for array in (section.codes, section.scales, section.rows):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    assert all(array.flags.writeable for array in arrays.values())


def test_threads_of_numba_are_left_as_they_were():
    weights, x = draw(6, 20, 40)
    before = numba.get_num_threads()
    RomMatrix.pack(weights, 4).apply(x, 1)
    assert numba.get_num_threads() == before


def test_no_token_is_no_output():
    matrix = RomMatrix.pack(np.ones((5, 40)), 4)
    assert matrix.apply(np.empty((0, 40), np.float32)).shape == (0, 5)


OTHER_CPU = """
import sys
import numpy as np
from hardwire.kernels.rom.rom import RomMatrix
with np.load(sys.argv[1]) as arrays:
    weights, x = arrays["weights"], arrays["x"]
sys.stdout.write(RomMatrix.pack(weights, 6).apply(x).tobytes().hex())
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="compares x86-64 instruction sets")
def test_another_instruction_set_gives_the_same_bits(tmp_path):
    weights, x = draw(5, 37, 333, 5)
    weights[0], x[0] = weights_of_largest_codes(333), 1  # the largest sums of byte products
    np.savez(tmp_path / "case.npz", weights=weights, x=x)
    baseline = {"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": ""}
    run = subprocess.run(
        [sys.executable, "-c", OTHER_CPU, str(tmp_path / "case.npz")],
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), **baseline},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == RomMatrix.pack(weights, 6).apply(x).tobytes().hex()


def test_importing_is_free_of_numba():
    check = "import sys, hardwire.kernels.rom.rom; assert 'numba' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True)


def changed(value):
    weights = np.ones((20, 40))
    weights[3, 7] = value
    return weights


@pytest.mark.parametrize(
    ("weights", "bits", "group", "message"),
    [
        (np.ones(8), 4, 32, r"must be a matrix with rows and columns, not of shape \(8,\)"),
        (np.ones((0, 8)), 4, 32, "must be a matrix with rows and columns"),
        (changed(np.nan), 3, 32, "hold values that are not finite"),
        (changed(-np.inf), Mix(), 32, "hold values that are not finite"),
        (changed(1e300), 6, 32, "hold values that are not finite"),
        (changed(1e6), 4, 32, "1e\\+06 needs a scale beyond float16 at 4 bits"),
        (changed(1), 5, 32, "ROM cells have 3, 4 or 6 bits, a Mix of two, or are Ternary, not 5"),
        (changed(1), 4, 48, "multiple of 32 inputs up to 65536, not 48"),
        (changed(1), 4, 0, "multiple of 32 inputs up to 65536, not 0"),
        (changed(1), 4, 65568, "multiple of 32 inputs up to 65536, not 65568"),
    ],
)
def test_weights_that_cannot_be_packed(weights, bits, group, message):
    with pytest.raises(ValueError, match=message):
        RomMatrix.pack(weights, bits, group)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((6, 3, 0.5), "two of .* bits, the lower first, not 6 and 3"),
        ((3, 5, 0.5), "two of .* bits, the lower first, not 3 and 5"),
        ((3, 6, 0.0), "share of a mix lies between 0 and 1, not 0.0"),
        ((3, 6, float("nan")), "share of a mix lies between 0 and 1, not nan"),
    ],
)
def test_impossible_mixes(arguments, message):
    with pytest.raises(ValueError, match=message):
        Mix(*arguments)


@pytest.mark.parametrize(
    ("x", "threads", "message"),
    [
        (np.ones(7, np.float32), 1, r"x must have shape \(8,\) or \(tokens, 8\), not \(7,\)"),
        (np.ones((1, 1, 8), np.float32), 1, "x must have shape"),
        (np.ones(8), 1, "x must be a NumPy array of float32"),
        ([1.0] * 8, 1, "x must be a NumPy array of float32"),
        (np.ones((8, 2), np.float32).T, 1, "x must be contiguous"),
        (np.full(8, np.nan, np.float32), 1, "x holds values that are not finite"),
        (np.float32([1, 2, 3, 4, 5, 6, 7, -np.inf]), 1, "x holds values that are not finite"),
        (np.ones(8, np.float32), 0, "threads must be from 1 to"),
        (np.ones(8, np.float32), 10**6, "threads must be from 1 to"),
    ],
)
def test_bad_activations(x, threads, message):
    matrix = RomMatrix.pack(np.ones((4, 8)), 4)
    with pytest.raises(ValueError, match=message):
        matrix.apply(x, threads)


def test_stacks_that_do_not_fit():
    one, other = RomMatrix.pack(np.ones((4, 8)), 4), RomMatrix.pack(np.ones((4, 9)), 4)
    with pytest.raises(ValueError, match="share inputs and group: 8 and 32, not 9 and 32"):
        RomMatrix.stack([one, other])
    with pytest.raises(ValueError, match="at least one part"):
        RomMatrix.stack([])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": None}, "need a `shape` of three integers"),
        ({"shape": np.array([8, 4, 33])}, "impossible shape"),
        ({"shape": np.array([80, 4, 32])}, "`codes4` must be uint8"),
        ({"codes4": None}, "`codes4` must be uint8"),
        ({"scales4": np.zeros((1, 1, 16), np.float16)}, "`scales4` must be uint16"),
        ({"scales4": np.full((1, 1, 16), 0x7C00, np.uint16)}, "scales that are not finite"),
        ({"rows4": None}, "each of 4 outputs exactly once"),
        ({"rows4": np.zeros((1, 16), np.int32)}, "each of 4 outputs exactly once"),
        ({"rows4": np.full((1, 16), -2, np.int32)}, "each of 4 outputs exactly once"),
    ],
)
def test_arrays_that_are_no_matrix(changes, message):
    arrays = {**RomMatrix.pack(np.ones((4, 8)), 4).arrays(), **changes}
    with pytest.raises(ValueError, match=message):
        RomMatrix.from_arrays({k: v for k, v in arrays.items() if v is not None})
