"""Speed of the low-rank products of a batch at 4096 x 4096, rank 16.

The best of the NumPy formulations is timed in the same process and stands in `extra_info` beside
the ratio. Adapters have equal numbers of tokens, in random order, which suits NumPy best: a stack
of matrices needs them equal. For a number of threads on both sides, run with OPENBLAS_NUM_THREADS
set to it and look at the rows of that number; OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE stay unset.
"""

import os
import timeit

import numpy as np
import pytest

from kernels import FORMATS, LowRankImage
from kernels.lowrank_batch import LowRankBatch

N, RANK = 4096, 16
SCALE = np.float32(0.01)


def numpy_formulations(a, b, x, y, adapter):
    """Loops of BLAS calls, matmul and einsum over stacks; B transposed and tokens sorted before."""
    bt = np.ascontiguousarray(b.transpose(0, 2, 1))
    count = len(a)
    order = np.argsort(adapter, kind="stable")
    groups = order.reshape(count, -1)

    def loop_over_tokens():
        for token, index in enumerate(adapter):
            y[token] += (SCALE * (a[index] @ x[token])) @ bt[index]

    def loop_over_adapters():
        for index, tokens in enumerate(groups):
            y[tokens] += (SCALE * (x[tokens] @ a[index].T)) @ bt[index]

    def matmul_over_adapters():
        hidden = SCALE * np.matmul(x[groups], a.transpose(0, 2, 1))
        y[groups] += np.matmul(hidden, bt)

    def matmul_over_adapters_transposed():
        hidden = SCALE * np.matmul(a, x[groups].transpose(0, 2, 1))
        y[groups] += np.matmul(hidden.transpose(0, 2, 1), bt)

    def einsum():
        hidden = SCALE * np.einsum("agi,aki->agk", x[groups], a)
        y[groups] += np.einsum("agk,akj->agj", hidden, bt)

    return (
        loop_over_tokens,
        loop_over_adapters,
        matmul_over_adapters,
        matmul_over_adapters_transposed,
        einsum,
    )


def best_of(call):
    return min(timeit.repeat(call, number=5, repeat=40)) / 5


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("tokens", "adapters"), [(1, 1), (8, 8), (32, 8), (128, 16)])
def test_batch(benchmark, tokens, adapters, threads, fmt):
    rng = np.random.default_rng(0)
    a = rng.standard_normal((adapters, RANK, N)).astype(np.float32)
    b = rng.standard_normal((adapters, N, RANK)).astype(np.float32)
    adapter = rng.permutation(np.arange(tokens) % adapters)
    x = rng.standard_normal((tokens, N)).astype(np.float32)
    y = np.zeros((tokens, N), np.float32)
    module = LowRankBatch([LowRankImage.pack(a[i], b[i], SCALE, fmt) for i in range(adapters)])
    module.apply(x, y, adapter, threads)  # compiled before it is timed
    benchmark.group = f"low-rank batch {N}x{N} r{RANK}, {tokens} tokens, {adapters} adapters"
    benchmark(module.apply, x, y, adapter, threads)
    if benchmark.disabled:
        return
    mine = benchmark.stats.stats.min
    best = min(best_of(way) for way in numpy_formulations(a, b, x, y, adapter))
    benchmark.extra_info |= {
        "us": round(mine * 1e6, 1),
        "best_numpy_us": round(best * 1e6, 1),
        "times_numpy": round(best / mine, 2),
        "macs_per_s": round(module.work(adapter).macs / mine),
        "blas_threads": os.environ.get("OPENBLAS_NUM_THREADS", "default"),
    }
