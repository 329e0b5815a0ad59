"""The low-rank product against its definition, its reference and its declared work.

Laws, over random shapes and formats:

- definition: the compiled result equals a NumPy transcription of the written order of sums, bit for
  bit, and so does the result of code compiled for another instruction set;
- order in memory: an image gives back the weights that it was made of;
- formats: an image's product equals that of the float32 image of its dequantized weights;
- work: what the loops count, what `phase_work` declares and what the arrays hold are one number;
- no error leaves a changed output.
"""

import copy
import os
import pickle
import platform
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from hardwire.kernels import FORMATS, LowRankImage, Work, phase_work, reference

LANES = 32

# The first call of a format compiles it, which takes longer than hypothesis allows an example.
several = examples(40)
formats = st.sampled_from(FORMATS)
seeds = st.integers(0, 2**32 - 1)
ranks = st.integers(1, 9)
widths = st.integers(1, 300)  # up to two chunks of 128 outputs, and every length of tail


def draw(seed, rank, in_features, out_features, sigma=0.02):
    rng = np.random.default_rng(seed)
    a = (rng.standard_normal((rank, in_features)) * sigma).astype(np.float32)
    b = (rng.standard_normal((out_features, rank)) * sigma).astype(np.float32)
    x = rng.standard_normal(in_features).astype(np.float32)
    y = rng.standard_normal(out_features).astype(np.float32)
    return a, b, x, y


def fused(a, b, c):
    """a * b + c in float32, rounded once.

    The product of two float32 is exact in float64, its sum with c is not. That sum is therefore
    rounded to odd: cut off, with the last bit set where anything was lost. With 53 bits for the 24
    of float32 the second rounding then sees on which side of a tie it is.
    """
    a, b, c = (np.asarray(values, np.float64) for values in (a, b, c))
    product = a * b
    total = product + c
    part = total - product
    lost = (product - (total - part)) + (c - part)  # exact: Knuth's two-sum
    even = total.view(np.int64) & 1 == 0
    toward = np.nextafter(total, np.where(lost > 0, np.inf, -np.inf))
    return np.where((lost != 0) & even, toward, total).astype(np.float32)


def defined(a, b, scale, x, y):
    """The written order of sums, in NumPy."""
    rank, n = a.shape
    padding = -n % LANES
    a = np.pad(a, ((0, 0), (0, padding))).reshape(rank, -1, LANES)
    x = np.pad(x, (0, padding)).reshape(-1, LANES)
    lanes = np.zeros((rank, LANES), np.float32)
    for group in range(len(x)):
        lanes = fused(a[:, group], x[group], lanes)
    while lanes.shape[1] > 1:
        half = lanes.shape[1] // 2
        lanes = lanes[:, :half] + lanes[:, half:]
    for k in range(rank):
        y = fused(lanes[k, 0] * np.float32(scale), b[:, k], y)
    return y


def sqnr_db(exact, value):
    return 10 * np.log10(np.sum(exact**2) / np.sum((value - exact) ** 2))


floats = st.floats(-(2.0**40), 2.0**40, width=32)


@given(floats, floats, floats, st.integers(-3, 3))
def test_oracle_rounds_once(a, b, c, near):
    """Against integers of Python, also where the sum cancels or lies close to a tie."""
    for addend in (c, float(np.float32(-a * b)), float(np.float32(-a * b)) * 2.0**-near):
        exact = Fraction(a) * Fraction(b) + Fraction(addend)
        result = fused(a, b, addend)
        nearest = [result, np.nextafter(result, np.float32(np.inf)), np.nextafter(result, -result)]
        errors = [abs(Fraction(float(value)) - exact) for value in nearest]
        assert errors[0] == min(errors)
        ties = [i for i in range(3) if errors[i] == errors[0] and nearest[i] != result]
        assert not ties or result.view(np.int32) & 1 == 0


@several
@given(seeds, ranks, widths, widths, formats, st.floats(-8, 8, width=32))
def test_definition_is_met_bit_for_bit(seed, rank, in_features, out_features, fmt, scale):
    a, b, x, y = draw(seed, rank, in_features, out_features)
    image = LowRankImage.pack(a, b, scale, fmt)
    expected = defined(*image.dequantized(), scale, x, y)
    image.apply(x, y)
    np.testing.assert_array_equal(y, expected)


@several
@given(seeds, ranks, widths, widths)
def test_weights_come_back_from_their_order_in_memory(seed, rank, n, m):
    a, b, _, _ = draw(seed, rank, n, m)
    stored = LowRankImage.pack(a, b, 2.0, "float32").dequantized()
    np.testing.assert_array_equal(stored[0], a)
    np.testing.assert_array_equal(stored[1], b)


@several
@given(seeds, ranks, widths, widths, formats)
def test_any_format_equals_the_float32_image_of_its_weights(seed, rank, n, m, fmt):
    a, b, x, y = draw(seed, rank, n, m)
    image = LowRankImage.pack(a, b, 2.0, fmt)
    same = LowRankImage.pack(*image.dequantized(), 2.0, "float32")
    other = y.copy()
    image.apply(x, y)
    same.apply(x, other)
    assert y.tobytes() == other.tobytes()


@several
@given(seeds, ranks, widths, widths, formats)
def test_float64_reference_is_met_to_float32_rounding(seed, rank, n, m, fmt):
    a, b, x, _ = draw(seed, rank, n, m)
    image = LowRankImage.pack(a, b, 2.0, fmt)
    y = np.zeros(m, np.float32)
    image.apply(x, y)
    a, b = image.dequantized()
    # Each of the n / 32 + 5 + rank + 3 roundings on the way to a sum is at most 2^-24 of the sum of
    # magnitudes (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1).
    magnitudes = 2.0 * np.abs(b).astype(np.float64) @ (np.abs(a).astype(np.float64) @ np.abs(x))
    bound = (n / LANES + 6 + rank + 3) * 2.0**-24 * 1.01
    assert np.all(np.abs(y - reference(a, b, 2.0, x)) <= bound * magnitudes + 1e-40)


def test_full_size_error_falls_with_the_bits():
    a, b, x, _ = draw(7, 16, 4096, 4096)
    exact = reference(a, b, 2.0, x)
    quality = {}
    for fmt in FORMATS:
        y = np.zeros(4096, np.float32)
        LowRankImage.pack(a, b, 2.0, fmt).apply(x, y)
        quality[fmt] = sqnr_db(exact, y)
    assert quality["float32"] > 120
    assert 65 < quality["float16"] < 80
    assert 38 < quality["int8"] < 50
    assert 14 < quality["int4"] < 25
    assert 3 < quality["int2"] < 12  # two roundings of 8.8 dB each, of A and of B


@several
@given(seeds, ranks, widths, widths, formats)
def test_counted_work_is_declared_work_is_stored_bytes(seed, rank, n, m, fmt):
    a, b, x, y = draw(seed, rank, n, m)
    image = LowRankImage.pack(a, b, 2.0, fmt)
    uncounted = y.copy()
    image.apply(x, uncounted)
    counted = image.apply_counted(x, y)
    declared = phase_work(rank, n, fmt) + phase_work(rank, m, fmt)
    assert counted == declared
    assert image.nbytes == declared.bytes
    assert y.tobytes() == uncounted.tobytes()


def test_work_of_many_designs_is_one_call():
    work = phase_work(np.array([[8], [16]]), np.array([1024, 4096, 14336]), "int8")
    assert work.macs.tolist() == [[8192, 32768, 114688], [16384, 65536, 229376]]
    assert work.bytes[1, 1] == phase_work(16, 4096, "int8").bytes == 16 * (4096 + 2 * 128)
    assert phase_work(1, 32, "int4") + phase_work(2, 64, "int4") == Work(32 + 128, 18 + 72)


@pytest.mark.parametrize("rank", [0, -1, np.array([16, 0])])
def test_work_of_no_rank_is_refused(rank):
    with pytest.raises(ValueError, match="rank of a low-rank product is at least 1"):
        phase_work(rank, 4096, "int8")


@pytest.mark.parametrize("fmt", FORMATS)
def test_same_input_same_bits(fmt):
    a, b, x, y = draw(3, 16, 1000, 1000)
    image, again = (LowRankImage.pack(a, b, 2.0, fmt) for _ in range(2))
    results = set()
    for i in range(8):
        # The result may not depend on where the arrays begin.
        shifted_x, shifted_y = np.empty(1008, np.float32)[i:], np.empty(1008, np.float32)[i:]
        shifted_x[:1000], shifted_y[:1000] = x, y
        (image if i % 2 else again).apply(shifted_x[:1000], shifted_y[:1000])
        results.add(shifted_y[:1000].tobytes())
    assert len(results) == 1


def test_output_may_be_the_input():
    a, b, x, _ = draw(4, 4, 100, 100)
    image = LowRankImage.pack(a, b, 2.0, "int8")
    expected = defined(*image.dequantized(), 2.0, x, x)
    image.apply(x, x)
    np.testing.assert_array_equal(x, expected)


OTHER_CPU = """
import numpy as np
from hardwire.kernels import LowRankImage
rng = np.random.default_rng(5)
a, b = rng.standard_normal((5, 333)), rng.standard_normal((333, 5))
x = rng.standard_normal(333).astype(np.float32)
for fmt in ("float32", "float16", "int4", "int2"):
    y = np.zeros(333, np.float32)
    LowRankImage.pack(a, b, 0.5, fmt).apply(x, y)
    print(y.tobytes().hex())
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="compares x86-64 instruction sets")
def test_another_instruction_set_gives_the_same_bits(tmp_path, capsys):
    other = {"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": ""}
    run = subprocess.run(
        [sys.executable, "-c", OTHER_CPU],
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), **other},
        capture_output=True,
        text=True,
        check=True,
    )
    exec(OTHER_CPU, {})
    assert run.stdout == capsys.readouterr().out
    assert len(run.stdout) == 4 * (333 * 4 * 2 + 1)


def test_importing_is_free_of_numba_and_of_compilation():
    check = (
        "import sys, hardwire.kernels as kernels; kernels.phase_work(16, 4096, 'int8');"
        " assert 'numba' not in sys.modules; from hardwire.kernels.lowrank.batch_jit import one;"
        " assert not one.signatures"
    )
    subprocess.run([sys.executable, "-c", check], check=True)


@several
@given(seeds, st.integers(1, 100), st.sampled_from(["int8", "int4"]), st.integers(-44, 15))
def test_integer_weights_are_within_half_a_step(seed, n, fmt, exponent):
    a, b, _, _ = draw(seed, 2, n, 1, sigma=2.0**exponent)
    image = LowRankImage.pack(a, b, 1.0, fmt)
    stored = image.dequantized()[0]
    top = 127 if fmt == "int8" else 7
    steps = image.a_scales.view(np.float16).reshape(-1, 2).T  # both rows lie in one block
    steps = steps.astype(np.float64).repeat(LANES, axis=1)[:, :n]
    assert np.all(np.abs(stored - a.astype(np.float64)) <= steps / 2)
    assert np.all(np.abs(stored) <= top * steps)


@pytest.mark.parametrize("fmt", ["int8", "int4", "int2"])
def test_groups_of_zeros_have_scale_zero(fmt):
    a = np.zeros((1, 96), np.float32)
    a[0, 40] = -3
    image = LowRankImage.pack(a, np.ones((1, 1)), 1.0, fmt)
    scales = image.a_scales.view(np.float16)
    assert scales[0] == scales[2] == 0 < abs(scales[1])
    np.testing.assert_allclose(image.dequantized()[0], a, rtol=2**-11)


@pytest.mark.parametrize("fmt", ["int8", "int4"])
def test_codes_span_the_symmetric_range_exactly(fmt):
    top = 127 if fmt == "int8" else 7
    a = np.linspace(-top, top, 2 * top + 1, dtype=np.float32)[None]
    a = np.concatenate([np.full((1, LANES), top, np.float32), a], axis=1)
    for begin in range(0, a.shape[1] - 1, LANES):
        a[0, begin] = top  # so that each group's scale is 1 and its weights are their codes
    image = LowRankImage.pack(a, np.ones((1, 1)), 1.0, fmt)
    whole = a.shape[1] // LANES * LANES
    np.testing.assert_array_equal(image.dequantized()[0][:, :whole], a[:, :whole])


@several
@given(seeds, st.integers(2, 100), st.integers(-3, 15))
def test_int2_uses_all_four_codes_and_keeps_the_largest_weight(seed, n, exponent):
    """Codes -2 to 1 of a signed scale: the largest of each group is -2, the rest nearest or 1."""
    a, b, _, _ = draw(seed, 1, n, 1, sigma=2.0**exponent)
    image = LowRankImage.pack(a, b, 1.0, "int2")
    stored = image.dequantized()[0][0].astype(np.float64)
    steps = image.a_scales.view(np.float16).astype(np.float64).repeat(LANES)[:n]
    codes = np.divide(stored, steps, out=np.zeros(n), where=steps != 0)
    for begin in range(0, n, LANES):
        group = slice(begin, begin + LANES)
        largest = np.abs(a[0, group]).argmax()
        assert codes[group][largest] == -2
    assert set(codes) <= {-2, -1, 0, 1}
    clipped = (codes == 1) & (a[0] / np.where(steps, steps, 1) > 1)
    assert np.all((np.abs(stored - a[0]) <= np.abs(steps) * 0.5001) | clipped)


def test_image_cannot_be_changed():
    a, b, _, _ = draw(1, 2, 64, 64)
    image = LowRankImage.pack(a, b, 1.0, "float32")
    with pytest.raises(ValueError, match="read-only"):
        image.a_codes[0] = 1
    a[0, 0] = 5
    assert image.a_codes[0] != 5


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_a_copy_outlives_its_original(copied):
    a, b, x, y = draw(2, 3, 70, 70)
    expected, image = y.copy(), LowRankImage.pack(a, b, 1.0, "int8")
    image.apply(x, expected)  # has now looked up where its arrays lie
    other = copied(image)
    assert other.row[:4].tolist() != image.row[:4].tolist()
    del image
    other.apply(x, y)
    assert y.tobytes() == expected.tobytes()


def changed(matrix, value):
    matrix = matrix.copy()
    matrix[1, 1] = value
    return matrix


A, B = np.ones((2, 8), np.float32), np.ones((4, 2), np.float32)


@pytest.mark.parametrize(
    ("a", "b", "scale", "fmt", "message"),
    [
        (A, B, 1.0, "fp8", "unknown number format 'fp8'"),
        (A[0], B, 1.0, "int8", "low-rank A must be a matrix"),
        (A, B[None], 1.0, "int8", "low-rank B must be a matrix"),
        (A, np.ones((4, 3)), 1.0, "int8", r"\(2, 8\) and B \(4, 3\) differ in rank: 2 and 3"),
        (np.ones((0, 8)), np.ones((4, 0)), 1.0, "int8", "is empty"),
        (np.ones((2, 0)), B, 1.0, "int8", "is empty"),
        (A, np.ones((0, 2)), 1.0, "float32", "is empty"),
        (changed(A, np.nan), B, 1.0, "int4", "low-rank A holds values that are not finite"),
        (A, changed(B, -np.inf), 1.0, "int4", "low-rank B holds values that are not finite"),
        (changed(A.astype(float), 1e300), B, 1.0, "float32", "A holds values that are not finite"),
        (A, B, np.nan, "int8", "scale must be a finite float32, not nan"),
        (A, B, 1e39, "int8", r"scale must be a finite float32, not 1e\+39"),
        (A, changed(B, 65520), 1.0, "float16", "low-rank B: a weight of 65520 exceeds"),
        (changed(A, -1e7), B, 1.0, "int8", "low-rank A: a scale of 78740.2 exceeds the largest"),
        (changed(A, 5e5), B, 1.0, "int4", "low-rank A: a scale of 71428.6 exceeds the largest"),
    ],
)
def test_weights_that_cannot_be_packed(a, b, scale, fmt, message):
    with pytest.raises(ValueError, match=message):
        LowRankImage.pack(a, b, scale, fmt)


def vector(n, dtype=np.float32):
    return np.ones(n, dtype)


def frozen(values):
    values.flags.writeable = False
    return values


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (vector(7), vector(4), r"x must have shape \(8,\), not \(7,\)"),
        (vector((1, 8)), vector(4), r"x must have shape \(8,\), not \(1, 8\)"),
        (vector(8), vector(5), r"y must have shape \(4,\), not \(5,\)"),
        (vector(8, np.float64), vector(4), "x must be a NumPy array of float32"),
        (vector(8, ">f4"), vector(4), "x must be a NumPy array of float32"),
        (vector(8), vector(4, np.float16), "y must be a NumPy array of float32"),
        ([1.0] * 8, vector(4), "x must be a NumPy array of float32"),
        (vector(16)[::2], vector(4), "x must be contiguous"),
        (vector(8), vector(8)[::2], "y must be contiguous"),
        (vector(8), frozen(vector(4)), "y must be writeable"),
    ],
)
@pytest.mark.parametrize("method", ["apply", "apply_counted"])
def test_bad_vectors_leave_the_output_alone(x, y, message, method):
    image = LowRankImage.pack(A, B, 1.0, "int8")
    with pytest.raises(ValueError, match=message):
        getattr(image, method)(x, y)
    assert np.all(y == 1)
