"""The model whose formats are measured: a folder's own weights, or random ones that stand in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hardwire.experiments.run.tokens import decoder_threads
from hardwire.kernels.decoder.checkpoint import RandomWeights
from hardwire.kernels.decoder.decoder import Decoder
from hardwire.kernels.decoder.layouts import own_tensors
from hardwire.kernels.decoder.rope import LLAMA_3_1_ROPE
from hardwire.models.errors import InputError
from hardwire.models.language_model import LanguageModel

SCORE_SPREAD = 2.0
"""Random models: standard deviation of attention scores before softmax, about.

Range 1 to 4: at 1 a token attends to most others and errors of the KV cache average out, at 4 to
very few.
"""

_DRAWN_STD = 0.02  # of the matrices of RandomWeights


def small_llama() -> LanguageModel:
    """Llama 3.1 8B with an eighth of its widths, heads, layers and vocabulary."""
    return LanguageModel.from_config(
        {
            "model_type": "llama",
            "num_hidden_layers": 4,
            "hidden_size": 512,
            "intermediate_size": 1792,
            "num_attention_heads": 4,
            "num_key_value_heads": 1,
            "head_dim": 128,
            "vocab_size": 16032,
            "max_position_embeddings": 131072,
        },
        name="llama-3.1-8b at 1/8",
    )


class StandIn:
    """Random weights with the powers of a network that can be trained.

    Each matrix is normal with standard deviation 1 / sqrt(in_features), so that its product keeps
    the power of its input; the query's is `SCORE_SPREAD` times that, and those that write to the
    residual stream are 1 / sqrt(N) times that with N the number of such matrices on a token's way,
    as GPT-2 was initialised (Radford et al. 2019, section 2.3). The embedding has standard
    deviation 1, after what Gemma multiplies it by.
    """

    def __init__(self, model: LanguageModel, seed: int) -> None:
        self._random = RandomWeights(model, seed)
        self._shapes = own_tensors(model)
        self._writers = 2 * model.layers
        self._embedding = model.hidden**-0.5 if model.scaled_embedding else 1.0

    def read(self, name: str) -> NDArray[np.float32]:
        return self._random.read(name)

    def blocks(self, name: str) -> Iterator[NDArray[np.float32]]:
        gain = self._embedding if "embed" in name else self._shapes[name][1] ** -0.5
        if "q_proj" in name or "q_b_proj" in name:
            gain *= SCORE_SPREAD
        elif "o_proj" in name or "down_proj" in name:
            gain *= self._writers**-0.5
        for block in self._random.blocks(name):
            yield block * np.float32(gain / _DRAWN_STD)


def open_decoder(model: LanguageModel, folder: Path | None, weights: str, seed: int) -> Decoder:
    """A model in one format of the weights; with random ones where there is no folder.

    Raises
    ------
    InputError
        If a file cannot be used, a weight is beyond the format, or the model in float32, with which
        every format is compared, is larger than the machine's memory.
    """
    needed, memory = 4 * model.parameter_count, _memory()
    if needed > memory:
        raise InputError(
            f"{model.name}: takes {needed / 2**30:,.1f} GiB in float32, in which formats are "
            f"compared, and this machine has {memory / 2**30:,.1f}; give a model with fewer or "
            "narrower layers"
        )
    threads = decoder_threads()
    if folder is None:
        return Decoder(
            model,
            StandIn(model, seed),
            weights=weights,
            kv_bits=32,
            rope=LLAMA_3_1_ROPE,
            eps=1e-5,
            threads=threads,
        )
    try:
        return Decoder.load(folder, weights, threads=threads)
    except ValueError as error:
        raise InputError(f"{folder}: in {weights}: {error}") from None


def _memory() -> int:
    """Bytes of the machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
