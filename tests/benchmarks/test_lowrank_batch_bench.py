"""Speed of the low-rank products of a batch at 4096 x 4096, rank 16.

The best of the NumPy formulations and the float32 images are timed in turn with it in the same
process, and stand in `extra_info` beside the ratios. Adapters have equal numbers of tokens, in
random order, which suits NumPy best: a stack of matrices needs them equal. For a number of threads
on both sides, run with OPENBLAS_NUM_THREADS set to it and look at the rows of that number;
OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE stay unset.
"""

import os

import numpy as np
import pytest
from test_lowrank_bench import interleaved
from test_lowrank_bench import numpy_formulations as for_one_token

from hardwire.kernels import FORMATS, LowRankImage
from hardwire.kernels.lowrank.batch import LowRankBatch

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

    only = for_one_token([(a[0], b[0])], x[0], y[0]) if len(adapter) == 1 else ()
    return (
        loop_over_tokens,
        loop_over_adapters,
        matmul_over_adapters,
        matmul_over_adapters_transposed,
        einsum,
        *only,
    )


@pytest.mark.reference("vector")
@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("threads", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("tokens", "adapters"),
    [
        pytest.param(1, 1, marks=pytest.mark.slow),
        (8, 8),
        pytest.param(32, 8, marks=pytest.mark.slow),
        pytest.param(128, 16, marks=pytest.mark.slow),
    ],
)
def test_batch(benchmark, tokens, adapters, threads, fmt):
    rng = np.random.default_rng(0)
    a = rng.standard_normal((adapters, RANK, N)).astype(np.float32)
    b = rng.standard_normal((adapters, N, RANK)).astype(np.float32)
    adapter = rng.permutation(np.arange(tokens) % adapters)
    x = rng.standard_normal((tokens, N)).astype(np.float32)
    y = np.zeros((tokens, N), np.float32)
    modules = {
        kind: LowRankBatch([LowRankImage.pack(a[i], b[i], SCALE, kind) for i in range(adapters)])
        for kind in {fmt, "float32"}
    }
    module, wide = modules[fmt], modules["float32"]

    def product():
        module.apply(x, y, adapter, threads)

    def product_in_float32():
        wide.apply(x, y, adapter, threads)

    product()  # compiled before it is timed
    benchmark.group = f"low-rank batch {N}x{N} r{RANK}, {tokens} tokens, {adapters} adapters"
    benchmark(product)
    if benchmark.disabled:
        return
    formulations = numpy_formulations(a, b, x, y, adapter)
    times = interleaved((product, product_in_float32, *formulations), y)
    best = min(formulations, key=times.get)
    benchmark.extra_info |= {
        "us": round(times[product] * 1e6, 1),
        "best_numpy": best.__name__,
        "best_numpy_us": round(times[best] * 1e6, 1),
        "times_numpy": round(times[best] / times[product], 2),
        "times_float32": round(times[product_in_float32] / times[product], 2),
        "macs_per_s": round(module.work(adapter).macs / times[product]),
        "blas_threads": os.environ.get("OPENBLAS_NUM_THREADS", "default"),
    }
