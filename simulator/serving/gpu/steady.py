"""A GPU server with an endless queue of equal requests, in closed form: arrays of servers at once.

The engines answer for one server; draws of a server's parts are thousands. The form follows the
waves that a queue of equal requests makes: as many requests as memory, seats and tokens allow are
let in over a few steps full of prompt tokens, and then decode together.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardwire.models.gpu_parts import experts_met
from hardwire.models.gpu_server import BatchServer


def saturated_tokens_per_s(server: BatchServer, prompt: int, output: int) -> NDArray[np.float64]:
    """Output tokens/s of equal requests without adapters that never end.

    Parameters
    ----------
    server : its values may be arrays, such as draws.
    prompt, output : tokens of a request.

    Returns
    -------
    array
        Of the shape of the values.

    Notes
    -----
    ``B`` requests run at a time: what the seats hold, what memory holds of them (their whole
    output with ``admission: whole``, else half of it), and what leaves room for prompts in the
    steps. A wave takes ``p = B·prompt / (budget - B)`` steps full of tokens and ``output - p`` of
    decoding alone. Within 5 % of the engines (tests/simulator/serving/gpu/test_steady.py).
    """
    b = server.batching
    memory = (b.gpu_memory_gb * b.memory_share - b.weights_gb - b.overhead_gb) * 1e9
    held = prompt + (output if b.admission == "whole" else output / 2)
    fitting = np.maximum(memory / server.kv_bytes_per_token / held, 1)
    budget = b.max_batched_tokens
    batch = np.minimum(np.minimum(b.max_seqs, fitting), budget / (1 + prompt / output))
    filling = np.minimum(batch * prompt / np.maximum(budget - batch, 1), output)
    context = prompt + output / 2

    def step_us(decoding: Any, prompts: Any) -> Any:
        linear = b.token_us * (decoding + prompts) + b.head_us * decoding
        read = b.weights_us + b.experts_us * experts_met(server.model, decoding + prompts)
        pairs = prompts * (prompt + 1) / 2
        return (
            b.step_us
            + np.maximum(read, linear)
            + decoding * (b.sequence_us + b.kv_token_ns / 1e3 * context)
            + prompts * (b.prefill_token_us + b.request_us / prompt)
            + pairs * b.pair_ns / 1e3
        )

    prompts = batch * prompt / np.maximum(filling, 1e-9)  # tokens of a full step
    wave_us = filling * step_us(batch, prompts) + (output - filling) * step_us(batch, 0)
    return np.asarray(batch * output / wave_us * 1e6)
