"""One token as operations on units: where each cycle of the timing model is stated.

A token visits a chain of *stages*. A stage has a main unit and, beside a ROM matrix, a side unit
for the low-rank product; both start together and the next stage starts when both are done. The
functions here take numbers or NumPy arrays, so that the closed forms and the event engines charge
the same cycles from the same lines. ``hardwire.simulator.timing`` asks them once and holds what
they say.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hardwire.kernels.lowrank.lowrank import Work, phase_work
from hardwire.models.adapter.adapter import Adapter
from hardwire.models.adapter.base import check_base
from hardwire.models.adapter.shape import AdapterShape
from hardwire.models.area import heard_per_cycle, lora_bus_bits, lora_bus_mm
from hardwire.models.chip import Chip
from hardwire.models.language_model import HEAD, LanguageModel
from hardwire.models.pipeline import fill_cycles, matrix_fill_cycles
from hardwire.models.rom import EMBEDDING_BITS, RomMatrix, head_matrix, layer_matrices
from hardwire.models.sram import kv_row_bits

OPERATIONS = ("rom", "attention", "lora", "norms_activations", "lm_head_sampling")
"""What a token's time is divided into."""

BYPASS_CYCLES = 1
"""A side unit passes a token that has nothing to add in one cycle, so that tokens keep order."""


def ceil_div(a: Any, b: Any) -> Any:
    """``⌈a / b⌉`` of whole numbers: integers, floats or arrays of either, below 2^50."""
    if isinstance(b, np.ndarray) and b.dtype.kind == "f":
        # The quotient of whole floats never rounds across a whole number; // takes four times this.
        return np.ceil(a / b)
    return -(-a // b)


Rates = tuple[tuple[Any, Any], ...]
"""Cycles per token of context, numerator and denominator: of memory and of multipliers, or none."""


@dataclass(frozen=True)
class Stage:
    """One step of a token on a unit: ``cycles``, and for attention what its context adds.

    ``matrix`` is set where a low-rank product can run beside or behind this stage.
    """

    name: str
    operation: str
    unit: str
    cycles: Any
    rates: Rates = ()
    matrix: RomMatrix | None = None


def own_unit(unit: str, stage: str) -> str:
    """The name of a unit that no other stage has: ``rom.down``, or ``topk`` where one name does."""
    return unit if unit == stage else f"{unit}.{stage}"


@dataclass(frozen=True)
class TokenStages:
    """The stages of a token in order: ``embedding``, then ``layer`` once a layer, then ``head``.

    Only ``attention``, between the two other parts of a layer, depends on context. Prefill skips
    ``head`` but for the last token of a prompt.
    """

    embedding: Stage
    before: tuple[Stage, ...]
    attention: tuple[Stage, ...]
    behind: tuple[Stage, ...]
    head: tuple[Stage, ...]

    @property
    def layer(self) -> tuple[Stage, ...]:
        return (*self.before, *self.attention, *self.behind)


def token_stages(chip: Chip, model: LanguageModel) -> TokenStages:
    """The stages of a token of ``model`` on ``chip``. Residual additions ride on the norms.

    A ROM matrix takes ``⌈n_in / lanes⌉`` passes whatever ``n_out`` (US 2025/0123802), plus its
    fill. A chip that accumulates fewer outputs at once repeats the passes for each group of them.
    """
    path, fill = chip.datapath, fill_cycles(chip)
    limited = bool(np.any(np.isfinite(path.outputs_per_pass)))

    qkv, o, gate_up, down = layer_matrices(model)
    matrices = (qkv, o, gate_up, down, head_matrix(model))
    fills = {
        m.name: f for m, f in zip(matrices, matrix_fill_cycles(chip, model, matrices), strict=True)
    }

    # Widths repeat: over arrays of designs, a division costs more than all else of a stage.
    @functools.cache
    def passes(n_in: int) -> Any:
        return ceil_div(n_in, path.lanes)

    @functools.cache
    def pass_of_vector(n: int) -> Any:
        return ceil_div(n, path.vector_lanes)

    def rom(matrix: RomMatrix, operation: str = "rom") -> Stage:
        cycles = passes(matrix.in_features)
        if limited:
            # Outputs without a limit, as some designs of an array may have, are one group.
            groups = ceil_div(matrix.out_features, path.outputs_per_pass)
            cycles = cycles * np.maximum(groups, 1)
        has_side_path = operation == "rom" or chip.lora.head == "present"
        beside = matrix if has_side_path else None
        return Stage(matrix.name, operation, "rom", cycles + fills[matrix.name], matrix=beside)

    def norm(name: str, width: int, operation: str = "norms_activations") -> Stage:
        # Sum of squares, then scale.
        return Stage(name, operation, "vector", 2 * pass_of_vector(width) + fill)

    def sub_norm(name: str, width: int) -> tuple[Stage, ...]:
        return (norm(name, width),) if model.sub_norm else ()

    def activation(name: str, width: int) -> Stage:
        return Stage(name, "norms_activations", "vector", pass_of_vector(width) + fill)

    topk = ceil_div(model.vocab, chip.sampling.topk_logits_per_cycle) + fill
    return TokenStages(
        embedding=Stage("embedding", "rom", "embedding", fill + row_cycles(chip, model)),
        before=(
            norm("norm_attention", model.hidden),
            rom(qkv),
            activation("rope", (model.heads + model.kv_heads) * model.head_dim),
        ),
        attention=attention_stages(chip, model),
        behind=(
            *sub_norm("sub_norm_attention", model.hidden),
            rom(o),
            norm("norm_mlp", model.hidden),
            rom(gate_up),
            activation(model.activation, model.intermediate),
            *sub_norm("sub_norm_mlp", model.intermediate),
            rom(down),
        ),
        head=(
            norm("final_norm", model.hidden, "lm_head_sampling"),
            rom(head_matrix(model), "lm_head_sampling"),
            Stage("topk", "lm_head_sampling", "topk", topk),
            Stage("sample", "lm_head_sampling", "sampler", sample_cycles(chip)),
        ),
    )


def row_cycles(chip: Chip, model: LanguageModel) -> Any:
    """Cycles until a token's embedding is there: none of a ROM row, else a transfer of its own.

    The host sends a row when it knows the token, and one row after the other.
    """
    if chip.rom.embedding == "rom":
        return 0
    row_bytes = model.hidden * EMBEDDING_BITS / 8
    seconds = chip.link.latency_us * 1e-6 + row_bytes / (chip.link.bandwidth_gb_per_s * 1e9)
    cycles = np.ceil(seconds * (chip.datapath.clock_ghz * 1e9))
    return int(cycles) if np.ndim(cycles) == 0 else cycles


def sample_cycles(chip: Chip) -> Any:
    """Cycles from the kept logits to the next token: the loop on the chip, and what the host takes.

    The host goes by a clock of its own: its time is whole cycles of the chip, rounded up, for which
    the sampler waits for its answer.
    """
    host = chip.sampling.host_us
    if not np.any(host):
        return chip.sampling.loop_cycles
    return chip.sampling.loop_cycles + np.ceil(host * 1e3 * chip.datapath.clock_ghz)


def overlapped_layers(chip: Chip, model: LanguageModel) -> Any:
    """Last layers of a prompt token that the next one of its prompt does not wait for.

    In serial issue; an array that all layers share has none to spare.
    """
    if chip.datapath.layers == "shared":
        return 0
    # Rounded down, but 0.3 of ten layers is three of them.
    return np.floor(chip.datapath.prompt_overlap * model.layers + 1e-9)


def attention_stages(chip: Chip, model: LanguageModel) -> tuple[Stage, ...]:
    """KV write, scores, softmax and weighted sum, on one memory or on one for K and one for V.

    A token's row is written, then all rows are read: the slower of bytes over the read port, with
    those of scales, and products over the multipliers, ``⌈context · rate⌉``. The exponentials of
    the softmax stream behind the scores and cost one more fill.
    """
    fill = fill_cycles(chip)
    q_width = model.heads * model.head_dim
    bits = kv_row_bits(model, chip.formats.kv_bits, chip.formats.kv_8bit)
    port = 8 * chip.attention.kv_read_bytes_per_cycle
    write = ceil_div(bits, 8 * chip.sram.write_bytes_per_cycle)
    multipliers = chip.attention.macs_per_cycle
    if chip.attention.kv_memories == "shared":
        both = ((2 * bits, port), (2 * q_width, multipliers))
        return (Stage("attention", "attention", "kv", 2 * write + 3 * fill, both),)
    each = ((bits, port), (q_width, multipliers))
    return (
        Stage("keys", "attention", "keys", write + 2 * fill, each),
        Stage("values", "attention", "values", write + fill, each),
    )


def adapter_format(chip: Chip, adapter: Adapter | AdapterShape) -> str:
    """The format in which ``adapter`` lies in the SRAM of ``chip``."""
    return adapter.adapter_format or str(chip.formats.adapter_format)


def adapter_layer_bytes(chip: Chip, adapter: Adapter, layers: int) -> list[int]:
    """SRAM bytes of an adapter, layer by layer; the LM head counts as the one behind the last."""
    slices = [0] * layers
    fmt = adapter_format(chip, adapter)

    @functools.cache  # of hundreds of modules, few differ in width
    def row(width: int) -> int:
        return int(phase_work(1, width, fmt).bytes)

    for module in adapter.modules:
        slices[module.layer] += module.rank * (row(module.in_features) + row(module.out_features))
    return slices


def adapter_bytes(chip: Chip, adapter: Adapter) -> int:
    """Bytes of an adapter's image on ``chip``: what the kernels declare, summed, and what moves."""
    last = max(module.layer for module in adapter.modules)
    return sum(adapter_layer_bytes(chip, adapter, last + 1))


def adapter_room(chip: Chip, model: LanguageModel, adapter: Adapter) -> int:
    """SRAM bytes that an adapter takes from the KV cache and from other adapters.

    Where every layer has its own memory, an adapter has the same rows in each, as a KV page has:
    one pointer finds it everywhere. So the layer with the most of it decides for all, and layers
    that it does not change leave their rows empty. The part of an LM head is counted once.
    """
    slices = adapter_layer_bytes(chip, adapter, model.layers + 1)
    if chip.datapath.layers == "shared":
        return sum(slices)
    return model.layers * max(slices[:-1]) + slices[-1]


def shape_bytes(chip: Chip, model: LanguageModel, shape: AdapterShape) -> Any:
    """``adapter_bytes`` of a shape, for a rank or an array of ranks."""
    check_base(shape, model)
    fmt = adapter_format(chip, shape)

    def size(target: str) -> Any:
        return sum(phase_work(shape.rank, width, fmt).bytes for width in model.linear_shape(target))

    in_layer = sum(size(target) for target in shape.targets if target != HEAD)
    return model.layers * in_layer + (size(HEAD) if HEAD in shape.targets else 0)


def side_work(
    model: LanguageModel, matrix: RomMatrix, ranks: Sequence[Any], fmt: str
) -> tuple[Work, Work]:
    """Work of ``A x`` and of ``B h`` over the targets of one matrix group, of the given ranks."""
    down, up = Work(0, 0), Work(0, 0)
    # Targets of one rank first add up: the rank may be an array over designs.
    for rank in {id(rank): rank for rank in ranks if np.any(rank)}.values():
        of_a, of_b = Work(0, 0), Work(0, 0)
        for target, other in zip(matrix.targets, ranks, strict=True):
            if other is rank:
                n_out, n_in = model.linear_shape(target)
                of_a += phase_work(1, n_in, fmt)
                of_b += phase_work(1, n_out, fmt)
        down += Work(rank * of_a.macs, rank * of_a.bytes)
        up += Work(rank * of_b.macs, rank * of_b.bytes)
    return down, up


def side_cycles(chip: Chip, matrix: RomMatrix, down: Work, up: Work) -> Any:
    """Cycles of ``B (A x)`` for the targets of one matrix group, given the work of ``A`` and ``B``.

    Each phase is bound by the reads of adapter SRAM or by the multipliers, and pays a fill. ``A x``
    begins with the broadcast and is complete when the last activation has been heard, and only
    then ``B`` starts: its inputs are whole sums over all activations.
    """

    def phase(work: Work) -> Any:
        reads = ceil_div(work.bytes, chip.lora.read_bytes_per_cycle)
        products = ceil_div(work.macs, chip.lora.macs_per_cycle)
        return np.maximum(reads, products)

    if not np.any(down.macs):
        return BYPASS_CYCLES
    heard = ceil_div(matrix.in_features, heard_per_cycle(chip))
    return np.maximum(heard, phase(down)) + phase(up) + 2 * fill_cycles(chip)


def side_bit_mm(chip: Chip, model: LanguageModel, matrix: RomMatrix, down: Work) -> Any:
    """Bits times mm that a side path's own bus carries for one token; 0 for none."""
    if not np.any(down.macs):
        return 0
    extra = lora_bus_bits(chip) / heard_per_cycle(chip)  # of the bits of each activation
    return matrix.in_features * extra * lora_bus_mm(chip, model, matrix)
