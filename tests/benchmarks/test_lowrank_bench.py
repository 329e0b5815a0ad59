"""Speed of the low-rank product at 4096 x 4096, rank 16, for one token.

`hot` applies one image again and again, which then sits in the second-level cache; `stream` goes
through 64 images, as a token does when it passes through the modules of a model. The best of the
NumPy formulations is timed in the same process and stands in `extra_info` beside the ratio. For one
thread on both sides, run with OPENBLAS_NUM_THREADS=1.
"""

import os
import timeit

import numpy as np
import pytest

from kernels import FORMATS, LowRankImage

N, RANK, MODULES = 4096, 16, 64
SCALE = np.float32(0.01)


def numpy_formulations(modules, x, y):
    """Three ways to write the product, B as (out, r) and, for the last two, transposed before."""
    transposed = [(a, np.ascontiguousarray(b.T)) for a, b in modules]

    def matmul():
        for a, b in modules:
            np.add(y, b @ (SCALE * (a @ x)), out=y)

    def matmul_transposed():
        for a, bt in transposed:
            np.add(y, (SCALE * (a @ x)) @ bt, out=y)

    def einsum():
        for a, bt in transposed:
            np.add(y, np.einsum("k,kj->j", SCALE * np.einsum("ki,i->k", a, x), bt), out=y)

    return matmul, matmul_transposed, einsum


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("modules", [1, MODULES], ids=["hot", "stream"])
def test_one_token(benchmark, modules, fmt):
    rng = np.random.default_rng(0)
    weights = [
        (
            rng.standard_normal((RANK, N)).astype(np.float32),
            rng.standard_normal((N, RANK)).astype(np.float32),
        )
        for _ in range(modules)
    ]
    x, y = rng.standard_normal(N).astype(np.float32), np.zeros(N, np.float32)
    images = [LowRankImage.pack(a, b, SCALE, fmt) for a, b in weights]

    def product():
        for image in images:
            image.apply(x, y)

    product()  # compiled before it is timed
    benchmark.group = f"low-rank product {N}x{N} r{RANK}, 1 token, {modules} module(s)"
    benchmark(product)
    if benchmark.disabled:
        return
    mine = benchmark.stats.stats.min / modules
    repeats = 2000 // modules
    best = min(
        min(timeit.repeat(way, number=repeats, repeat=7)) / repeats / modules
        for way in numpy_formulations(weights, x, y)
    )
    benchmark.extra_info |= {
        "us_per_module": round(mine * 1e6, 2),
        "best_numpy_us_per_module": round(best * 1e6, 2),
        "times_numpy": round(best / mine, 2),
        "image_bytes_per_s": round(images[0].nbytes / mine),
        "blas_threads": os.environ.get("OPENBLAS_NUM_THREADS", "default"),
    }
