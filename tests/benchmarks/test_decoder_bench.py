"""Speed of a whole decoder for one user, random weights of the shape of Llama 3.1 8B.

Two of its 32 layers and the whole LM head, packed at 4 bits, with an 8-bit KV cache; one call is
one token, or a prompt of 512. A token reads every packed byte once, so `packed_gb_per_s` beside the
machine's read bandwidth, timed in turn with it, tells what all that is no matrix costs. The head is
a larger share here than in the whole model: for that, and for llama.cpp beside it, see
`compare_llama_cpp.py`.
"""

import dataclasses

import numba
import numpy as np
import pytest
from test_rom_bench import read, seconds

from hardwire.kernels.decoder.decoder import Decoder
from hardwire.kernels.decoder.kv_cache import Sequence
from hardwire.models.language_model import LanguageModel

LAYERS, VOCAB, ROUNDS, PROMPT = 2, 128256, 30, 512


@pytest.fixture(scope="module")
def decoder(request):
    """One decoder for every case; a small vocabulary where nothing is timed."""
    timed = request.config.getoption("benchmark_enable")
    model = dataclasses.replace(
        LanguageModel.by_name("llama-3.1-8b"),
        layers=LAYERS if timed else 1,
        vocab=VOCAB if timed else 512,
    )
    if not timed:
        model = dataclasses.replace(model, hidden=256, intermediate=512, heads=2, kv_heads=1)
    return Decoder.random(model, 0, "rom4", kv_bits=8)


@pytest.mark.slow
@pytest.mark.reference("stream")
@pytest.mark.parametrize("threads", [1, 2])
def test_decode(benchmark, decoder, threads):
    if threads > numba.config.NUMBA_NUM_THREADS:
        pytest.skip("this machine has one core")
    decoder.threads = threads
    sequence = Sequence()

    def token():
        decoder.step([7], [sequence], [None])

    token()  # compiled before it is timed
    benchmark.group = f"decode of {LAYERS} layers of Llama 3.1 8B, {threads} thread(s)"
    benchmark(token)
    if benchmark.enabled:
        matrices = [m for layer in decoder.base.layers for m in layer.matrices.values()]
        size = sum(matrix.nbytes for matrix in (*matrices, decoder.base.head))
        values = np.ones(size // 8, np.int64)
        before = numba.get_num_threads()
        numba.set_num_threads(threads)
        read(values, threads)
        rounds = np.array([(seconds(token), seconds(read, values, threads)) for _ in range(ROUNDS)])
        numba.set_num_threads(before)
        benchmark.extra_info |= {
            "packed_gb": round(size / 1e9, 3),
            "packed_gb_per_s": round(float(size / np.median(rounds[:, 0])) / 1e9, 2),
            "read_gb_per_s": round(float(size / np.median(rounds[:, 1])) / 1e9, 2),
            "share_of_bandwidth": round(float(np.median(rounds[:, 1] / rounds[:, 0])), 3),
        }
        print(f"\n{threads} thread(s): {benchmark.extra_info}")
    decoder.cache.release(sequence)


@pytest.mark.slow
@pytest.mark.reference("vector")
@pytest.mark.parametrize("threads", [1, 2])
def test_prompt(benchmark, decoder, threads):
    if threads > numba.config.NUMBA_NUM_THREADS:
        pytest.skip("this machine has one core")
    decoder.threads = threads
    count = PROMPT if benchmark.enabled else 40
    ids = np.random.default_rng(0).integers(0, decoder.model.vocab, count)

    def prompt():
        decoder.generate(ids, 1)

    prompt()  # compiled before it is timed
    benchmark.group = f"prompt of {PROMPT}, {LAYERS} layers of Llama 3.1 8B, {threads} thread(s)"
    benchmark(prompt)
    if benchmark.enabled:
        matrices = [m for layer in decoder.base.layers for m in layer.matrices.values()]
        macs = count * sum(m.in_features * m.out_features for m in matrices)
        benchmark.extra_info["macs_per_s"] = round(macs / benchmark.stats.stats.median)
