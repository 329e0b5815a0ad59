"""Speed of the low-rank product at 4096 x 4096, rank 16, for one token.

`hot` applies one image again and again, which then sits in the second-level cache; `stream` goes
through 64 images, as a token does when it passes through the modules of a model. The best of the
NumPy formulations and the float32 image are timed in turn with it in the same process, and stand in
`extra_info` beside the ratios. For one thread on both sides, run with OPENBLAS_NUM_THREADS=1.
"""

import os
from time import perf_counter

import numpy as np
import pytest

from hardwire.kernels import FORMATS, LowRankImage

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


def interleaved(ways, y, rounds=10, turn=0.08):
    """The shortest time of each of some calls, taken in turn so that what else runs meets all.

    Of a turn of so many seconds the first half is not timed: the caches fill with a way's own data,
    and the threads of the way before, which wait actively for more work, go to sleep. y is set to
    zero before, so that it does not grow without bound.
    """
    best = dict.fromkeys(ways, np.inf)
    for _ in range(rounds):
        for way in ways:
            y[:] = 0
            begin = perf_counter()
            way()
            calls = 1 + int(100e-6 / (perf_counter() - begin))
            while (now := perf_counter()) < begin + turn:
                for _ in range(calls):
                    way()
                if now > begin + turn / 2:
                    best[way] = min(best[way], (perf_counter() - now) / calls)
    return best


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize(
    "modules",
    [
        pytest.param(1, id="hot", marks=pytest.mark.reference("vector")),
        pytest.param(MODULES, id="stream", marks=pytest.mark.reference("stream")),
    ],
)
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
    stored = {
        kind: [LowRankImage.pack(a, b, SCALE, kind) for a, b in weights]
        for kind in {fmt, "float32"}
    }
    images, wide = stored[fmt], stored["float32"]

    def product():
        for image in images:
            image.apply(x, y)

    def product_in_float32():
        for image in wide:
            image.apply(x, y)

    product()  # compiled before it is timed
    benchmark.group = f"low-rank product {N}x{N} r{RANK}, 1 token, {modules} module(s)"
    benchmark(product)
    if benchmark.disabled:
        return
    formulations = numpy_formulations(weights, x, y)
    times = interleaved((product, product_in_float32, *formulations), y)
    best = min(formulations, key=times.get)
    benchmark.extra_info |= {
        "us_per_module": round(times[product] / modules * 1e6, 2),
        "best_numpy": best.__name__,
        "best_numpy_us_per_module": round(times[best] / modules * 1e6, 2),
        "times_numpy": round(times[best] / times[product], 2),
        "times_float32": round(times[product_in_float32] / times[product], 2),
        "image_bytes_per_s": round(images[0].nbytes * modules / times[product]),
        "blas_threads": os.environ.get("OPENBLAS_NUM_THREADS", "default"),
    }
