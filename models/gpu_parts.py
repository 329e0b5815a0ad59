"""A GPU server from its parts: the terms of a step's time from bytes and operations.

A step reads all weights once while it computes the products of its tokens, and takes the longer of
both; reads the keys and values of its running requests; computes the attention of prompts, which
grows with their square; moves activations between kernels; waits at every kernel's boundary, for
the host, and for the sums over GPUs. The form is a roofline (Williams et al., CACM 2009) per group
of kernels, because the kernels of a layer follow each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hardwire.models.description import FileKind
from hardwire.models.errors import InputError
from hardwire.models.gpu import PRECISIONS, Gpu
from hardwire.models.language_model import LanguageModel
from hardwire.models.parameters import choice, count, quantity

ADMISSIONS = ("prompt", "whole")
MEMORIES = ("all", "free")

HALF_BYTES = 2
"""Bytes of an activation, a norm and an embedding: bfloat16 in every engine."""

LOGIT_BYTES = 10
"""A logit is written and read in bfloat16, and widened to 32 bits: 2 + 2 + 4 + 2 bytes."""


@dataclass(frozen=True)
class Engine:
    """What a serving engine decides, on whichever GPUs it runs."""

    memory_share: Any = quantity("", 0.1, 1, "share of it that the server takes")
    memory_of: Any = choice(MEMORIES, "that share is of all memory, or of what weights leave")
    overhead_gb: Any = quantity("GB", 0, 100, "activations, CUDA context and graphs")
    block_tokens: Any = count("", 1, 4096, "tokens of a KV block")
    admission: Any = choice(ADMISSIONS, "a request is let in when its prompt fits, or all of it")
    max_seqs: Any = count("", 1, 65536, "requests in a step")
    max_batched_tokens: Any = count("", 1, 10**6, "tokens in a step")
    layer_kernels: Any = quantity("", 1, 1000, "kernels of a decoder layer")
    kernel_us: Any = quantity("us", 0, 100, "lost at a kernel's boundary")
    host_step_us: Any = quantity("us", 0, 1e6, "of every step that the GPU waits for the host")
    host_sequence_us: Any = quantity("us", 0, 1e4, "the same per decoding request")
    request_us: Any = quantity("us", 0, 1e6, "per request that is let in")
    frontend_us: Any = quantity("us", 0, 1e7, "before a request reaches the queue")
    step_error: Any = quantity(
        "", 0, 0.5, "standard error of a step's time about its form, as a share"
    )
    link_reached: Any = quantity("", 0.1, 1, "share of the links' bandwidth that sums reach")
    host_idle_w: Any = quantity("W", 0, 1e4, "of the host at rest, a GPU's share")
    host_busy_w: Any = quantity("W", 0, 1e4, "of the host under load, a GPU's share")
    lifetime_years: Any = quantity("years", 0.1, 20, "over which the price is written off")
    pue: Any = quantity("", 1, 3, "power of the site over power of the server")
    electricity_usd_per_kwh: Any = quantity("USD/kWh", 0, 10, "price of electricity")


@dataclass(frozen=True)
class EngineDefaults(Engine):
    """What the file of an engine states: its defaults, and those that depend on the GPU."""

    small_max_seqs: Any = count("", 1, 65536, "max_seqs on small and older GPUs")
    small_max_batched_tokens: Any = count("", 1, 10**6, "max_batched_tokens there")
    large_gb: Any = quantity("GB", 0, 1000, "memory from which a GPU with FP8 is no small one")
    int4_bits: Any = quantity("", 4, 8, "of a 4-bit integer weight, scales included")
    fp4_bits: Any = quantity("", 4, 8, "of a 4-bit float weight, scales included")
    head_bits: Any = quantity("", 4, 16, "of a weight of embedding and LM head, any precision")
    kv_bytes: Any = count("B", 1, 4, "bytes of a key or value element with bfloat16 weights")
    low_kv_bytes: Any = count("B", 1, 4, "the same with 8-bit and 4-bit floats")
    vendors: Any = choice(("nvidia", "any"), "GPUs that it runs on")


@dataclass(frozen=True)
class Parts(Engine):
    """What the file of a GPU server of ``kind: parts`` states, beside its GPU and model."""

    gpus: Any = count("", 1, 64, "GPUs that share every layer (tensor parallel)")
    precision: Any = choice(PRECISIONS, "of the weights of the decoder layers")
    weight_bits: Any = quantity("", 1, 32, "of a weight of the decoder layers, scales included")
    head_bits: Any = quantity("", 1, 32, "of a weight of embedding and LM head")
    kv_byte_per_element: Any = count("B", 1, 4, "bytes of a key or value element")
    context_tokens: Any = count("", 1, 10**7, "longest request, prompt and output together")


ENGINE = FileKind("engine", {"": EngineDefaults})
"""What may stand in the file of an engine's defaults."""

PASSED_ON = (
    "kv_byte_per_element", "block_tokens", "admission", "context_tokens", "max_seqs",
    "max_batched_tokens", "request_us", "frontend_us", "lifetime_years", "pue",
    "electricity_usd_per_kwh",
)  # fmt: skip
"""Parameters that are the same whether a server's times were measured or come from parts."""


def weights_gb(model: LanguageModel, parts: Parts) -> float:
    """Weights on all GPUs together, GB: layers, embedding and head, norms and biases."""
    layers = model.linear_weights
    embeddings = model.embedding_weights * (1 if model.tied_embeddings else 2)
    rest = model.parameter_count - layers - embeddings
    bits = layers * parts.weight_bits + embeddings * parts.head_bits + rest * 8 * HALF_BYTES
    return float(bits / 8e9)


def check_form(model: LanguageModel) -> None:
    """Refuse a model that the form of a GPU server's step has no terms for.

    Raises
    ------
    InputError
        If its layers have latent attention or windows.
    """
    if model.sliding_window is not None:
        what = f"has layers that read no more than {model.sliding_window:,} tokens of a context"
    elif model.latent is not None:
        what = "has latent attention, which prompts and decoding compute in two ways"
    else:
        return
    raise InputError(f"model: {model.name} {what}: the step of a GPU server has no term for that")


def check_measured(model: LanguageModel) -> None:
    """Refuse a model of which times that were measured as a whole say too little.

    Raises
    ------
    InputError
        If it is a mixture of experts, or as ``check_form``.
    """
    check_form(model)
    if model.experts is not None:
        raise InputError(
            f"model: {model.name} is a mixture of experts: of {model.experts.count}, a step of B "
            f"tokens reads {model.experts.count} (1 - (1 - {model.experts.active}/"
            f"{model.experts.count})^B); a server from parts has that (hardwire server make)"
        )


def experts_met(model: LanguageModel, tokens: Any) -> Any:
    """Share of a layer's experts that some of ``tokens`` tokens are sent to, on average.

    ``1 − (1 − k / N)^B``: each of B tokens chooses k of N, all alike and on their own. Real routing
    is skewed, and meets fewer.
    """
    if model.experts is None:
        return 0.0
    return 1 - (1 - model.experts.active / model.experts.count) ** tokens


def values_of_parts(parts: Parts, gpu: Gpu, model: LanguageModel) -> dict[str, Any]:
    """The values of ``Batching`` that follow from parts.

    Raises
    ------
    InputError
        If the GPU has no arithmetic for the precision, the heads cannot be shared out, or as
        ``check_form``.
    """
    check_form(model)
    shared = parts.gpus
    if model.kv_heads % shared:
        raise InputError(
            f"gpus: {shared} do not share the {model.kv_heads} heads for keys and values of "
            f"{model.name} evenly"
        )
    sheet = gpu.sheet
    memory = sheet.memory_tb_per_s * 1e12 * sheet.memory_reached  # B/s of one GPU
    head = model.vocab * model.hidden
    always = model.linear_weights - model.expert_weights
    read = (always * parts.weight_bits + head * parts.head_bits) / 8 / shared
    experts = model.expert_weights * parts.weight_bits / 8 / shared
    linear = gpu.flops(parts.precision) * gpu.reached(parts.precision)
    plain = gpu.flops("bf16")

    # Between kernels: both norms read and write the residual, on every GPU; queries, keys and
    # values are rotated, and gate and up multiplied, on the GPU that has them. A token is copied to
    # each of its experts, and what they give is read and summed.
    q, kv = model.heads * model.head_dim, model.kv_heads * model.head_dim
    of_kind = [(len(kind.layers), kind) for kind in model.layer_kinds]
    width = sum(layers * model.mlp_width(kind) for layers, kind in of_kind) / model.layers
    copies = sum(layers * kind.experts for layers, kind in of_kind) / model.layers
    if model.experts is not None:
        copies = copies * 4 * model.experts.active
    split = 2 * (q + 2 * kv) + 3 * width + copies * model.hidden
    moved = model.layers * (8 * model.hidden + split / shared) * HALF_BYTES / memory
    summed, sums = 0.0, 0.0
    if shared > 1:
        # A ring moves 2 (n - 1) / n of the data through each link; two sums in each layer.
        data = 2 * model.layers * model.hidden * HALF_BYTES * 2 * (shared - 1) / shared
        summed = data / (sheet.link_gb_per_s * 1e9 * parts.link_reached)
        sums = 2 * model.layers * sheet.link_us
    per_token_us = (moved + summed) * 1e6
    logits_us = model.vocab * LOGIT_BYTES / shared / memory * 1e6
    kernels_us = model.layers * parts.layer_kernels * parts.kernel_us
    kv_bytes = model.kv_elements_per_token * parts.kv_byte_per_element / shared
    pair_flop = 4 * model.layers * q / shared  # scores and their sum, 2 operations each
    weights, overhead, share = weights_gb(model, parts), parts.overhead_gb * shared, 1.0
    if parts.memory_of == "all":
        share = parts.memory_share
    else:  # what the engine leaves free counts as overhead
        overhead = overhead + (1 - parts.memory_share) * (
            sheet.memory_gb * shared - weights - overhead
        )
    return {name: getattr(parts, name) for name in PASSED_ON} | {
        "gpu_memory_gb": sheet.memory_gb * shared,
        "memory_share": share,
        "weights_gb": weights,
        "overhead_gb": overhead,
        "step_us": kernels_us + parts.host_step_us + sums,
        "sequence_us": per_token_us + logits_us + parts.host_sequence_us,
        "prefill_token_us": per_token_us,
        "kv_token_ns": kv_bytes / memory * 1e9,
        "weights_us": read / memory * 1e6,
        "experts_us": experts / memory * 1e6,
        "token_us": 2 * model.active_linear_weights / shared / linear * 1e6,
        "head_us": 2 * head / shared / (plain * sheet.compute_reached) * 1e6,
        "pair_ns": pair_flop / (plain * sheet.attention_reached) * 1e9,
        "idle_w": shared * (sheet.idle_w + parts.host_idle_w),
        "busy_w": shared * (sheet.limit_w + parts.host_busy_w),
        "price_usd": shared * sheet.price_usd,
    }
