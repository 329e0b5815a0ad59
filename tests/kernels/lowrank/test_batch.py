"""The low-rank products of a batch against each token alone.

Laws, over random batches, ranks, formats and widths:

- independence: a token's bits are those of `LowRankImage.apply` on it alone, whatever else is in
  the batch, in whatever order, on however many threads;
- work: what the loops count is what `work` declares, the bytes of each adapter in use once;
- no error leaves a changed output.
"""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from hardwire.kernels import FORMATS, LowRankImage, Work
from hardwire.kernels.lowrank.batch import LowRankBatch

pytestmark = pytest.mark.slow

# The first call of a format compiles it, which takes longer than hypothesis allows an example.
several = examples(40)
seeds = st.integers(0, 2**32 - 1)
widths = st.integers(1, 300)  # up to two chunks of 128 outputs, and every length of tail


@st.composite
def images_of(draw, in_features, out_features):
    kinds = draw(
        st.lists(st.tuples(st.integers(1, 9), st.sampled_from(FORMATS)), min_size=1, max_size=5)
    )
    rng = np.random.default_rng(draw(seeds))
    return [
        LowRankImage.pack(
            rng.standard_normal((rank, in_features)),
            rng.standard_normal((out_features, rank)),
            rng.uniform(-2, 2),
            fmt,
        )
        for rank, fmt in kinds
    ]


@st.composite
def batches(draw):
    in_features, out_features = draw(widths), draw(widths)
    images = draw(images_of(in_features, out_features))
    adapter = draw(st.lists(st.integers(-1, len(images) - 1), max_size=12))
    rng = np.random.default_rng(draw(seeds))
    x = rng.standard_normal((len(adapter), in_features)).astype(np.float32)
    y = rng.standard_normal((len(adapter), out_features)).astype(np.float32)
    return images, x, y, np.array(adapter, np.int64)


def alone(images, x, y, adapter):
    result = y.copy()
    for token, index in enumerate(adapter):
        if index >= 0:
            images[index].apply(x[token], result[token])
    return result


@several
@given(batches())
def test_a_token_gets_the_bits_that_it_gets_alone(batch):
    images, x, y, adapter = batch
    expected = alone(images, x, y, adapter)
    LowRankBatch(images).apply(x, y, adapter)
    assert y.tobytes() == expected.tobytes()


@several
@given(batches(), st.randoms(use_true_random=False))
def test_order_of_tokens_and_of_adapters_changes_no_bit(batch, random):
    images, x, y, adapter = batch
    tokens, places = list(range(len(adapter))), list(range(len(images)))
    random.shuffle(tokens)
    random.shuffle(places)
    new_index = np.append(np.argsort(places), -1)  # the last answers to index -1
    shuffled = y[tokens]
    LowRankBatch([images[i] for i in places]).apply(
        x[tokens], shuffled, new_index[adapter[tokens]].astype(np.int64)
    )
    LowRankBatch(images).apply(x, y, adapter)
    assert shuffled.tobytes() == y[tokens].tobytes()


@several
@given(batches())
def test_counted_work_is_declared_work(batch):
    images, x, y, adapter = batch
    module = LowRankBatch(images)
    declared = module.work(adapter)
    uncounted = y.copy()
    module.apply(x, uncounted, adapter)
    assert module.apply_counted(x, y, adapter) == declared
    assert y.tobytes() == uncounted.tobytes()
    assert declared.bytes == sum(images[a].nbytes for a in set(adapter.tolist()) - {-1})


@pytest.mark.parametrize("fmt", ["float32", "int8"])
@pytest.mark.parametrize("rank", [3, 16, 21])
def test_many_tokens_of_wide_modules_equal_each_alone(rank, fmt):
    """Rows of A by fours, columns in parts, and what is left of tokens, rows and columns."""
    rng = np.random.default_rng(rank)
    n_in, n_out, tokens = 1060, 300, 11
    images = [
        LowRankImage.pack(
            rng.standard_normal((rank, n_in)), rng.standard_normal((n_out, rank)), 1, fmt
        )
        for _ in range(2)
    ]
    adapter = np.array([0] * (tokens - 2) + [1, -1])
    x = rng.standard_normal((tokens, n_in)).astype(np.float32)
    y = rng.standard_normal((tokens, n_out)).astype(np.float32)
    expected = alone(images, x, y, adapter)
    module = LowRankBatch(images)
    for threads in (1, 2):
        got = y.copy()
        assert module.apply_counted(x, got, adapter, threads) == module.work(adapter)
        assert got.tobytes() == expected.tobytes()


@pytest.mark.parametrize("threads", [2, 3, 7])
def test_threads_change_no_bit_and_no_work(threads):
    rng = np.random.default_rng(threads)
    ranks = [1, 4, 6, 64, 256]
    images = [
        LowRankImage.pack(
            rng.standard_normal((rank, 1000)), rng.standard_normal((2100, rank)), 0.1, "float32"
        )
        for rank in ranks
    ]
    adapter = rng.integers(-1, len(images), 40)
    x = rng.standard_normal((40, 1000)).astype(np.float32)
    y = rng.standard_normal((40, 2100)).astype(np.float32)
    expected = alone(images, x, y, adapter)
    module = LowRankBatch(images)
    for _ in range(5):
        result = y.copy()
        assert module.apply_counted(x, result, adapter, threads) == module.work(adapter)
        assert result.tobytes() == expected.tobytes()


@pytest.mark.parametrize("rank", [1, 3, 5, 16, 255, 256])
@pytest.mark.parametrize("fmt", FORMATS)
def test_ranks_at_full_width(rank, fmt):
    rng = np.random.default_rng(rank)
    image = LowRankImage.pack(
        rng.standard_normal((rank, 2048)), rng.standard_normal((1024, rank)), 0.5, fmt
    )
    # 4 tokens together, then 2, then 1.
    x = rng.standard_normal((7, 2048)).astype(np.float32)
    y = np.zeros((7, 1024), np.float32)
    expected = alone([image], x, y, [0] * 7)
    LowRankBatch([image]).apply(x, y, np.zeros(7, np.int64))
    assert y.tobytes() == expected.tobytes()


def test_more_adapters_than_tokens_use_only_their_own():
    rng = np.random.default_rng(2)
    images = [
        LowRankImage.pack(
            rng.standard_normal((2, 64)), rng.standard_normal((128, 2)), 1.0, "float32"
        )
        for _ in range(300)
    ]
    adapter = np.array([299, 7, 299, -1, 0])
    x = rng.standard_normal((5, 64)).astype(np.float32)
    y = np.zeros((5, 128), np.float32)
    expected = alone(images, x, y, adapter)
    module = LowRankBatch(images)
    module.apply(x, y, adapter)
    assert y.tobytes() == expected.tobytes()
    assert not y[3].any()
    assert module.work(adapter) == Work(4 * 2 * (64 + 128), 3 * images[0].nbytes)


@pytest.mark.parametrize("n", [128, 100])
def test_output_may_be_the_input(n):
    rng = np.random.default_rng(3)
    images = [
        LowRankImage.pack(rng.standard_normal((3, n)), rng.standard_normal((n, 3)), 1.0, "float32")
        for _ in range(2)
    ]
    x = rng.standard_normal((5, n)).astype(np.float32)
    adapter = np.array([0, 1, 1, -1, 0])
    expected = alone(images, x, x, adapter)
    LowRankBatch(images).apply(x, x, adapter)
    assert x.tobytes() == expected.tobytes()


def test_a_value_that_is_not_finite_stays_in_its_token():
    image = LowRankImage.pack(np.ones((2, 64)), np.ones((130, 2)), 1.0, "float32")
    x, y = np.ones((3, 64), np.float32), np.zeros((3, 130), np.float32)
    x[1, 5] = np.nan
    LowRankBatch([image]).apply(x, y, np.zeros(3, np.int64))
    assert np.isnan(y[1]).all()
    assert (y[[0, 2]] == 128).all()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_a_copy_outlives_its_original(copied):
    module = LowRankBatch([image(), image()])
    other = copied(module)
    del module
    x, y = np.ones((2, 8), np.float32), np.zeros((2, 4), np.float32)
    other.apply(x, y, np.array([0, 1]))
    assert (y == 16).all()


def test_importing_is_free_of_numba_and_of_compilation():
    check = (
        "import sys, hardwire.kernels.lowrank.batch; assert 'numba' not in sys.modules;"
        " from hardwire.kernels.lowrank.batch_jit import alone, team;"
        " assert not alone.signatures and not team.signatures"
    )
    subprocess.run([sys.executable, "-c", check], check=True)


def image(in_features=8, out_features=4):
    return LowRankImage.pack(np.ones((2, in_features)), np.ones((out_features, 2)), 1.0, "float32")


def test_images_of_one_module_only():
    with pytest.raises(ValueError, match="at least 1 adapter image"):
        LowRankBatch([])
    with pytest.raises(ValueError, match=r"image 1 is of a module of shape \(5, 8\), image 0 of"):
        LowRankBatch([image(), image(8, 5)])


def ones(*shape, dtype=np.float32):
    return np.ones(shape, dtype)


def frozen(values):
    values.flags.writeable = False
    return values


HERE = np.zeros(3, np.int64)


@pytest.mark.parametrize(
    ("x", "y", "adapter", "threads", "message"),
    [
        (ones(3, 7), ones(3, 4), HERE, 1, r"x must have shape \(3, 8\), not \(3, 7\)"),
        (ones(2, 8), ones(3, 4), HERE, 1, r"x must have shape \(3, 8\), not \(2, 8\)"),
        (ones(8), ones(3, 4), HERE, 1, r"x must have shape \(3, 8\), not \(8,\)"),
        (ones(3, 8), ones(3, 5), HERE, 1, r"y must have shape \(3, 4\), not \(3, 5\)"),
        (ones(3, 8, dtype=float), ones(3, 4), HERE, 1, "x must be a NumPy array of float32"),
        (ones(3, 8), ones(3, 4, dtype=np.float16), HERE, 1, "y must be a NumPy array of float32"),
        (ones(8, 3).T, ones(3, 4), HERE, 1, "x must be contiguous"),
        (ones(3, 8), ones(3, 8)[:, ::2], HERE, 1, "y must be contiguous"),
        (ones(3, 8), frozen(ones(3, 4)), HERE, 1, "y must be writeable"),
        (ones(3, 8), ones(3, 4), HERE.astype(np.int32), 1, "adapter must be a NumPy array of int6"),
        (ones(3, 8), ones(3, 4), [0, 0, 0], 1, "adapter must be a NumPy array of int64"),
        (ones(3, 8), ones(3, 4), HERE[None], 1, "adapter must have one dimension"),
        (ones(3, 8), ones(3, 4), np.zeros(6, np.int64)[::2], 1, "and be contiguous"),
        (ones(3, 8), ones(3, 4), HERE, 0, "at least 1 thread, not 0"),
        (ones(3, 8), ones(3, 4), np.array([0, 0, 1]), 1, "token 2 asks for adapter 1, which is no"),
        (ones(3, 8), ones(3, 4), np.array([0, 2, 0]), 2, "there: the batch has adapters 0 to 0"),
        (ones(3, 8), ones(3, 4), np.array([-2, 0, 0]), 1, "token 0 asks for adapter -2, which is"),
    ],
)
def test_bad_batches_leave_the_output_alone(x, y, adapter, threads, message):
    module = LowRankBatch([image()])
    for method in (module.apply, module.apply_counted):
        with pytest.raises(ValueError, match=message):
            method(x, y, adapter, threads)
    assert np.all(y == 1)


def test_work_of_an_evicted_adapter_is_refused():
    with pytest.raises(ValueError, match="token 1 asks for adapter 3, which is not there"):
        LowRankBatch([image()]).work(np.array([0, 3]))
