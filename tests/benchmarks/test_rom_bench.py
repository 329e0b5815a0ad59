"""Speed of the hardwired matrix-vector product at 28672 x 4096, the gate and up of Llama 3.1 8B.

The product goes through four matrices, as a token goes through a model: together they are several
times a last-level cache, so each byte comes from memory. The machine's read bandwidth is that of a
sum over as many bytes with as many threads. The two are timed in turn, round by round, because a
shared machine's bandwidth drifts; `share_of_bandwidth` is the median of the rounds' ratios.
"""

import time

import numba
import numpy as np
import pytest

from hardwire.kernels.rom.rom import BITS, Mix, RomMatrix

OUT, IN, MATRICES, ROUNDS = 28672, 4096, 4, 40


@numba.njit(nogil=True)
def total(values):
    result = np.int64(0)
    for value in values:
        result += value
    return result


@numba.njit(parallel=True)
def read(values, threads):
    """The sum of all values, each thread reading one stretch of them."""
    part = values.size // threads
    totals = np.empty(threads, np.int64)
    for k in numba.prange(threads):
        totals[k] = total(values[k * part : (k + 1) * part])
    return totals.sum()


def seconds(function, *arguments):
    begin = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - begin


@pytest.mark.reference("stream")
@pytest.mark.parametrize("threads", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("bits", [*BITS, Mix()], ids=["3", "4", "6", "mix of 3 and 6"])
def test_one_token(benchmark, bits, threads):
    if threads > numba.config.NUMBA_NUM_THREADS:
        pytest.skip("this machine has one core")
    rng = np.random.default_rng(0)
    out = OUT if benchmark.enabled else OUT // 64
    weights = rng.standard_normal((out, IN), np.float32) * np.float32(0.02)
    packed = RomMatrix.pack(weights, bits)
    del weights
    matrices = [packed]
    for _ in range(MATRICES - 1):
        copies = {name: array.copy() for name, array in packed.arrays().items()}
        matrices.append(RomMatrix.from_arrays(copies))
    x = rng.standard_normal(IN).astype(np.float32)

    def product():
        for matrix in matrices:
            matrix.apply(x, threads)

    product()  # compiled before it is timed
    benchmark.group = f"ROM product {OUT}x{IN}, 1 token, {threads} thread(s)"
    benchmark(product)
    if benchmark.disabled:
        return
    size = sum(matrix.nbytes for matrix in matrices)
    values = np.ones(size // 8, np.int64)
    before = numba.get_num_threads()
    numba.set_num_threads(threads)
    read(values, threads)
    rounds = np.array([(seconds(product), seconds(read, values, threads)) for _ in range(ROUNDS)])
    numba.set_num_threads(before)
    low, middle, high = np.quantile(rounds[:, 1] / rounds[:, 0], [0.1, 0.5, 0.9])
    benchmark.extra_info |= {
        "packed_gb_per_s": round(float(size / np.median(rounds[:, 0])) / 1e9, 2),
        "read_gb_per_s": round(float(size / np.median(rounds[:, 1])) / 1e9, 2),
        "share_of_bandwidth": round(float(middle), 3),
        "share_10_to_90_percent": [round(float(low), 3), round(float(high), 3)],
    }
    print(f"\n{bits} bits, {threads} thread(s): {benchmark.extra_info}")
