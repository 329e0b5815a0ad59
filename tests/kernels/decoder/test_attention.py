"""Attention, norm and activation: compiled equals plain, bit for bit; what pages keep."""

import math

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from hardwire.kernels.decoder.activation import (
    EXP_RANGE,
    clamped_swiglu_plain,
    exp_plain,
    gelu_mul_plain,
    relu2_mul_plain,
    silu_mul_plain,
    soft_cap_plain,
    tanh_plain,
)
from hardwire.kernels.decoder.attention import ScoreRule, attend, attend_plain
from hardwire.kernels.decoder.decoder_jit import relu2_mul, rms_norm, silu_mul
from hardwire.kernels.decoder.dense import DenseMatrix
from hardwire.kernels.decoder.float8 import from_e4m3, to_e4m3
from hardwire.kernels.decoder.kv_cache import KV_BITS, PAGE_TOKENS, KVCache, Sequence
from hardwire.kernels.decoder.norm import rms_norm_plain, sum_lanes
from hardwire.kernels.decoder.rope import LLAMA_3_1_ROPE, Rope
from hardwire.kernels.lowrank.lowrank import LowRankImage

seeds = st.integers(0, 2**32 - 1)


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def filled(cache: KVCache, sequence: Sequence, keys: np.ndarray, values: np.ndarray) -> None:
    """Write tokens to layer 0 of a cache as owner 7."""
    first = cache.extend(sequence, len(keys), 7)
    positions = first + np.arange(len(keys))
    pages = np.array(sequence.pages)[positions // PAGE_TOKENS]
    cache.write(0, pages, positions % PAGE_TOKENS, keys, values)


@examples(60)
@given(
    seed=seeds,
    tokens=st.integers(1, 100),
    kv_heads=st.integers(1, 3),
    share=st.integers(1, 3),
    half_dim=st.integers(1, 40),
    bits=st.sampled_from([*KV_BITS, "e4m3"]),
    scale=st.sampled_from([1e-3, 1.0, 30.0]),
)
def test_compiled_attention_equals_its_definition(
    seed: int, tokens: int, kv_heads: int, share: int, half_dim: int, bits: int | str, scale: float
) -> None:
    dim = 2 * half_dim
    cache = KVCache(1, kv_heads, dim, bits)
    other, sequence = Sequence(), Sequence()
    filled(cache, other, normal(seed + 9, 40, kv_heads, dim), normal(seed + 8, 40, kv_heads, dim))
    keys, values = normal(seed, tokens, kv_heads, dim), normal(seed + 1, tokens, kv_heads, dim)
    filled(cache, sequence, keys * np.float32(scale), values)
    stored_keys, stored_values = cache.restored(0, sequence)
    q = normal(seed + 2, 2, share * kv_heads, dim)
    counts = np.array([tokens, (tokens + 1) // 2])
    out = attend(q, cache, 0, np.array([sequence.pages] * 2), counts, np.full(2, 7))
    for got, one, count in zip(out, q, counts, strict=True):
        expected = attend_plain(one, stored_keys[:count], stored_values[:count])
        np.testing.assert_array_equal(got, expected)


@examples(60)
@given(
    seed=seeds,
    cuts=st.lists(st.integers(1, PAGE_TOKENS), min_size=1, max_size=6),
    window=st.none() | st.integers(1, 70),
    cap=st.none() | st.sampled_from([1.0, 30.0]),
    sinks=st.booleans(),
    latent=st.booleans(),
    bits=st.sampled_from([32, 8, 4]),
)
def test_windows_caps_sinks_and_latents_equal_their_definition(
    seed: int,
    cuts: list[int],
    window: int | None,
    cap: float | None,
    sinks: bool,
    latent: bool,
    bits: int,
) -> None:
    """A layer with a ring of pages reads what one that keeps all tokens would read."""
    kv_heads, dim, wide, heads = (1, 72, 40, 3) if latent else (2, 24, 24, 4)
    shape = {"kv_heads": kv_heads, "head_dim": dim, "bits": bits, "latent": wide if latent else 0}
    whole, ring = KVCache(1, **shape), KVCache(1, **shape, windows=(window,))
    rule = ScoreRule(0.3, window, cap, normal(seed, heads) if sinks else None)
    all_tokens, kept = Sequence(), Sequence()
    for number, cut in enumerate(cuts):
        keys, values = (normal(seed + 2 * number + i, cut, kv_heads, dim) for i in (1, 2))
        for cache, sequence in ((whole, all_tokens), (ring, kept)):
            first = cache.extend(sequence, cut, 7)
            positions = first + np.arange(cut)
            table = np.array(sequence.ring or sequence.pages)
            pages = table[positions // PAGE_TOKENS % len(table)]
            cache.write(0, pages, positions % PAGE_TOKENS, keys, None if latent else values)
        counts = first + 1 + np.arange(cut)
        tables = np.zeros((cut, ring.ring_pages or len(kept.pages)), np.int64)
        tables[:, : len(kept.ring or kept.pages)] = kept.ring or kept.pages
        q = normal(seed + 99 + number, cut, heads, dim)
        got = attend(q, ring, 0, tables, counts, np.full(cut, 7), rule)
        restored = whole.restored(0, all_tokens)
        for place in {0, cut - 1}:
            k, v = (part[: counts[place]] for part in restored)
            np.testing.assert_array_equal(got[place], attend_plain(q[place], k, v, rule))
        again = attend_plain(q[-1], *ring.restored(0, kept), rule)
        np.testing.assert_array_equal(again, got[-1])
    assert ring.pages_in_use <= (-(-window // PAGE_TOKENS) + 1 if window else len(kept.pages))
    ring.release(kept)
    assert ring.pages_in_use == 0
    if latent:
        scales = 0 if bits == 32 else 16 * 3 / dim  # of three groups of up to 32 elements
        assert ring.nbytes * 8 == pytest.approx(ring.elements * (bits + scales))


@examples(15)
@given(
    seed=seeds,
    parts=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 40)), min_size=1, max_size=6),
    window=st.none() | st.integers(1, 50),
    bits=st.sampled_from([32, 16, 8]),
    threads=st.integers(1, 3),
)
def test_tokens_attend_as_each_does_alone(
    seed: int, parts: list[tuple[int, int]], window: int | None, bits: int, threads: int
) -> None:
    """Runs of several sequences in one batch, longer and shorter than what attends together."""
    cache, sequences = KVCache(1, 2, 16, bits), [Sequence() for _ in range(3)]
    tokens: list[tuple[Sequence, int]] = []
    for number, (user, count) in enumerate(parts):
        sequence, first = sequences[user], sequences[user].length
        filled(cache, sequence, *(normal(seed + 2 * number + i, count, 2, 16) for i in (0, 1)))
        tokens += [(sequence, first + i + 1) for i in range(count)]
    tables = np.zeros((len(tokens), max(len(s.pages) for s in sequences)), np.int64)
    for row, (sequence, _) in zip(tables, tokens, strict=True):
        row[: len(sequence.pages)] = sequence.pages
    counts, owners = np.array([count for _, count in tokens]), np.full(len(tokens), 7)
    q, rule = normal(seed + 99, len(tokens), 6, 16), ScoreRule(0.3, window)
    whole = attend(q, cache, 0, tables, counts, owners, rule, threads)
    for t in range(len(tokens)):
        one = slice(t, t + 1)
        alone = attend(q[one], cache, 0, tables[one], counts[one], owners[one], rule)
        np.testing.assert_array_equal(whole[one], alone)


def test_attention_is_close_to_float64() -> None:
    q, keys, values = normal(0, 4, 64), normal(1, 90, 2, 64), normal(2, 90, 2, 64)
    wide = keys.astype(float).repeat(2, axis=1), values.astype(float).repeat(2, axis=1)
    scores = np.einsum("hd,thd->ht", q.astype(float), wide[0]) / 8
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    expected = np.einsum("ht,thd->hd", weights, wide[1]) / weights.sum(axis=1)[:, None]
    np.testing.assert_allclose(attend_plain(q, keys, values), expected, rtol=0, atol=1e-6)


@examples(60)
@given(
    seed=seeds,
    cuts=st.lists(st.integers(1, 20), min_size=1, max_size=6),
    heads=st.integers(1, 3),
    half_dim=st.integers(1, 40),
    bits=st.sampled_from([*KV_BITS, "e4m3"]),
)
def test_pages_keep_what_is_written(
    seed: int, cuts: list[int], heads: int, half_dim: int, bits: int | str
) -> None:
    """Two sequences, written in turns and pieces, come back within half a step of the format."""
    shape = (sum(cuts), heads, 2 * half_dim)
    written = [(normal(seed + i, *shape), normal(seed + 2 + i, *shape)) for i in range(2)]
    cache, sequences, begin = KVCache(1, heads, 2 * half_dim, bits), [Sequence(), Sequence()], 0
    for cut in cuts:
        for sequence, (keys, values) in zip(sequences, written, strict=True):
            filled(cache, sequence, keys[begin : begin + cut], values[begin : begin + cut])
        begin += cut
    for sequence, pair in zip(sequences, written, strict=True):
        for got, want in zip(cache.restored(0, sequence), pair, strict=True):
            if bits == 32:
                np.testing.assert_array_equal(got, want)
            elif bits == 16:
                np.testing.assert_array_equal(got, want.astype(np.float16).astype(np.float32))
            elif bits == "e4m3":
                np.testing.assert_array_equal(got, from_e4m3(to_e4m3(want)))
            else:
                # The same rounding as an adapter's image, whose rank holds one head of one token.
                for head, wanted in zip(
                    got.reshape(-1, 2 * half_dim), want.reshape(-1, 2 * half_dim), strict=True
                ):
                    image = LowRankImage.pack(wanted[None], [[1.0]], 1, f"int{bits}")
                    np.testing.assert_array_equal(head, image.dequantized()[0][0])


def test_e4m3_by_its_definition() -> None:
    """All 254 finite codes: (-1)^s 2^(e - 7) (1 + m / 8), and 2^-6 m / 8 where e is 0."""
    codes = np.array([c for c in range(256) if c & 127 != 127], np.uint8).view(np.int8)
    values = from_e4m3(codes)
    for code, value in zip(codes.view(np.uint8).tolist(), values.tolist(), strict=True):
        e, m = code >> 3 & 15, code & 7
        size = 2.0 ** (e - 7) * (1 + m / 8) if e else 2.0**-6 * m / 8
        assert value == (-size if code & 128 else size)
    np.testing.assert_array_equal(to_e4m3(values), codes)
    assert values.max() == 448 and values[values > 0].min() == 2.0**-9


@examples(60)
@given(seed=seeds, exponent=st.integers(-14, 12))
def test_e4m3_is_the_nearest_with_ties_to_even_and_saturates(seed: int, exponent: int) -> None:
    codes = np.arange(127, dtype=np.uint8).view(np.int8)
    grid = from_e4m3(codes)
    ties = (grid[:-1] + grid[1:]) / 2
    x = np.abs(np.concatenate([normal(seed, 50) * np.float32(2.0**exponent), ties]))
    got = to_e4m3(x).view(np.uint8).astype(int)
    wide = np.minimum(x, 448)[:, None].astype(float)
    away = np.abs(grid[None].astype(float) - wide)
    assert np.all(away[np.arange(len(x)), got] == away.min(axis=1))
    assert np.all(got[50:] % 2 == 0)


def test_16_bits_saturate() -> None:
    cache, sequence = KVCache(1, 1, 2, 16), Sequence()
    filled(cache, sequence, np.array([[[1e6, -1e6]]], "f4"), np.array([[[1e-9, 70000]]], "f4"))
    keys, values = cache.restored(0, sequence)
    assert keys.tolist() == [[[65504, -65504]]] and values.tolist() == [[[0, 65504]]]


@examples(60)
@given(
    seed=seeds,
    rows=st.integers(1, 4),
    size=st.integers(1, 200),
    scale=st.sampled_from([1e-4, 1, 1e4]),
)
def test_compiled_norm_equals_its_definition(seed: int, rows: int, size: int, scale: float) -> None:
    x, gain = normal(seed, rows, size) * np.float32(scale), normal(seed + 1, size)
    out = np.empty_like(x)
    rms_norm(x, gain, 1e-5, out)
    np.testing.assert_array_equal(out, rms_norm_plain(x, gain, 1e-5))
    wide = x.astype(float)
    exact = wide / np.sqrt((wide**2).mean(axis=1, keepdims=True) + 1e-5) * gain
    np.testing.assert_allclose(out, exact, rtol=1e-5)


@examples(30)
@given(seed=seeds, size=st.integers(1, 10_000), scale=st.sampled_from([1, 100]))
def test_compiled_activation_equals_its_definition(seed: int, size: int, scale: int) -> None:
    gate, up = normal(seed, size) * np.float32(scale), normal(seed + 1, size)
    expected = silu_mul_plain(gate, up)
    wide = gate.astype(float)
    silu_mul(gate, up)
    np.testing.assert_array_equal(gate, expected)
    exact = wide / (1 + np.exp(-np.maximum(wide, -700))) * up
    np.testing.assert_allclose(gate, exact, rtol=1e-5, atol=1e-30)


@examples(30)
@given(seed=seeds, size=st.integers(1, 300), scale=st.sampled_from([1, 100]))
def test_compiled_relu2_equals_its_definition(seed: int, size: int, scale: int) -> None:
    gate, up = normal(seed, size) * np.float32(scale), normal(seed + 1, size)
    expected = relu2_mul_plain(gate, up)
    exact = np.where(gate > 0, gate.astype(float) ** 2 * up, 0)
    relu2_mul(gate, up)
    np.testing.assert_array_equal(gate, expected)
    np.testing.assert_allclose(gate, exact, rtol=1e-6)


def test_exp_is_within_two_units_in_the_last_place() -> None:
    x = np.linspace(*EXP_RANGE, 1_000_001, dtype=np.float32)
    exact = np.exp(x.astype(np.float64))
    units = np.abs(exp_plain(x) - exact) / np.spacing(exact.astype(np.float32))
    assert units.max() < 2
    assert exp_plain(np.float32([0.0])) == 1


@examples(40)
@given(
    seed=seeds,
    tokens=st.integers(1, 10),
    rows=st.integers(1, 20),
    columns=st.integers(1, 100),
    threads=st.integers(1, 3),
)
def test_dense_product_equals_its_definition(
    seed: int, tokens: int, rows: int, columns: int, threads: int
) -> None:
    w, x = normal(seed, rows, columns), normal(seed + 1, tokens, columns)
    matrix = DenseMatrix.from_blocks((rows, columns), [w[: rows // 2], w[rows // 2 :]])
    expected = sum_lanes(x[:, None, :] * w)
    np.testing.assert_array_equal(matrix.apply(x, threads), expected)
    with pytest.raises(ValueError, match="x must be float32 of shape"):
        matrix.apply(x.astype(float))


def test_llama_3_1_frequencies() -> None:
    """Published dimensions, values of transformers."""
    got = LLAMA_3_1_ROPE.inverse_frequencies(128)
    places = [0, 1, 16, 28, 29, 30, 31, 32, 33, 34, 35, 36, 48, 63]
    expected = [1, 0.8146172, 0.03760603, 3.2114e-3, 2.1666e-3, 1.37189e-3, 8.56751e-4]
    expected += [5.24846e-4, 3.12694e-4, 1.78508e-4, 9.5562e-5, 7.78466e-5, 6.64787e-6, 3.06893e-7]
    np.testing.assert_allclose(got[places], expected, rtol=3e-5)
    np.testing.assert_allclose(Rope(100.0).inverse_frequencies(4), [1, 0.1], rtol=1e-7)


def test_tanh_is_within_two_units_in_the_last_place() -> None:
    x = np.linspace(-12, 12, 200_001, dtype=np.float32)
    exact = np.tanh(x.astype(np.float64))
    units = np.abs(tanh_plain(x) - exact) / np.spacing(np.abs(exact).astype(np.float32))
    assert units.max() < 2
    np.testing.assert_allclose(soft_cap_plain(x, 3.0), 3 * np.tanh(x / 3), rtol=0, atol=1e-6)


def test_gelu_and_the_clamped_activation_are_close_to_float64() -> None:
    gate, up = normal(0, 1000) * np.float32(5), normal(1, 1000) * np.float32(5)
    g, u = gate.astype(float), up.astype(float)
    exact = 0.5 * g * (1 + np.tanh(math.sqrt(2 / math.pi) * (g + 0.044715 * g**3))) * u
    np.testing.assert_allclose(gelu_mul_plain(gate, up), exact, rtol=1e-5, atol=2e-6)
    g, u = np.minimum(g, 7), np.clip(u, -7, 7)
    exact = g / (1 + np.exp(-1.702 * g)) * (u + 1)
    got = clamped_swiglu_plain(gate, up, 1.702, 7.0)
    np.testing.assert_allclose(got, exact, rtol=1e-5, atol=1e-6)
    assert np.abs(gate).max() > 7 and np.abs(up).max() > 7
