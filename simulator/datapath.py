"""One token as operations on units: where each cycle of the timing model is stated.

A token visits a chain of *stages*. A stage has a main unit and, beside a ROM matrix, a side unit
for the low-rank product; both start together and the next stage starts when both are done. The
functions here take numbers or NumPy arrays, so that the closed forms and the event engines charge
the same cycles from the same lines. ``hardwire.simulator.timing`` asks them once and holds what
they say.
"""

from __future__ import annotations

import functools
from collections import Counter
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
from hardwire.models.language_model import LanguageModel, LayerKind, of_any_expert
from hardwire.models.pipeline import fill_cycles, matrix_fill_cycles
from hardwire.models.rom import (
    EMBEDDING_BITS,
    LATENT_KEYS,
    LATENT_VALUES,
    ROUTER,
    RomMatrix,
    head_matrix,
    layer_matrices,
)
from hardwire.models.sram import kv_layer_bits, kv_row_bits
from hardwire.models.whole import ceil_div

OPERATIONS = ("rom", "attention", "lora", "norms_activations", "lm_head_sampling")
"""What a token's time is divided into."""

BYPASS_CYCLES = 1
"""A side unit passes a token that has nothing to add in one cycle, so that tokens keep order."""

NO_WINDOW = 2**62
"""More tokens than any context has: of layers without a window, where a number is wanted."""


Rates = tuple[tuple[Any, Any], ...]
"""Cycles per token of context, numerator and denominator: of memory and of multipliers, or none."""


@dataclass(frozen=True)
class Stage:
    """One step of a token on a unit: ``cycles``, and for attention what its context adds.

    Attributes
    ----------
    window : tokens of context beyond which attention adds no more; None where it always does.
    matrices : the ROM matrices that work in this stage, beside or behind which low-rank products
        can run.
    """

    name: str
    operation: str
    unit: str
    cycles: Any
    rates: Rates = ()
    window: int | None = None
    matrices: tuple[RomMatrix, ...] = ()

    def attended(self, context: Any) -> Any:
        """Tokens that it attends to of a context: all, or those of its window."""
        return context if self.window is None else np.minimum(context, self.window)


def own_unit(unit: str, stage: str) -> str:
    """The name of a unit that no other stage has: ``rom.down``, or ``topk`` where one name does."""
    return unit if unit == stage else f"{unit}.{stage}"


@dataclass(frozen=True)
class LayerStages:
    """The stages of a layer in order. Only ``attention`` depends on context."""

    before: tuple[Stage, ...]
    attention: tuple[Stage, ...]
    behind: tuple[Stage, ...]

    @property
    def all(self) -> tuple[Stage, ...]:
        return (*self.before, *self.attention, *self.behind)


@dataclass(frozen=True)
class TokenStages:
    """The stages of a token in order: ``embedding``, then those of each layer, then ``head``.

    ``kinds`` has the stages of a layer of each of ``model.layer_kinds``. Prefill skips ``head`` but
    for the last token of a prompt.
    """

    embedding: Stage
    kinds: tuple[LayerStages, ...]
    head: tuple[Stage, ...]


def token_stages(chip: Chip, model: LanguageModel) -> TokenStages:
    """The stages of a token of ``model`` on ``chip``. Residual additions ride on the norms.

    A ROM matrix takes ``⌈n_in / lanes⌉`` passes whatever ``n_out`` (US 2025/0123802), plus its
    fill. A chip that accumulates fewer outputs at once repeats the passes for each group of them.
    Arrays that a token meets together, those of its experts and of heads, work at once where they
    are hardware of their own, and one after the other where layers share one array.
    """
    return _Stages(chip, model).token()


class _Stages:
    """Makes stages; widths repeat, so that passes are counted once for each."""

    def __init__(self, chip: Chip, model: LanguageModel) -> None:
        self.chip, self.model = chip, model
        self.fill = fill_cycles(chip)
        self.shared = chip.datapath.layers == "shared"
        self.limited = bool(np.any(np.isfinite(chip.datapath.outputs_per_pass)))
        self.head = head_matrix(model)
        self.of_kind = [layer_matrices(model, kind) for kind in model.layer_kinds]
        matrices = list(dict.fromkeys((*(m for ms in self.of_kind for m in ms), self.head)))
        fills = matrix_fill_cycles(chip, model, matrices)
        self.fills = dict(zip(matrices, fills, strict=True))
        self._passes: dict[int, Any] = {}
        self._vectors: dict[int, Any] = {}

    # Over arrays of designs, a division costs more than all else of a stage.
    def passes(self, n_in: int) -> Any:
        if n_in not in self._passes:
            self._passes[n_in] = ceil_div(n_in, self.chip.datapath.lanes)
        return self._passes[n_in]

    def pass_of_vector(self, n: int) -> Any:
        if n not in self._vectors:
            self._vectors[n] = ceil_div(n, self.chip.datapath.vector_lanes)
        return self._vectors[n]

    def rom(self, matrices: Sequence[RomMatrix], operation: str = "rom") -> Stage:
        """Matrices that begin together, each with as many arrays as a token meets."""
        cycles: Any = None
        for matrix in matrices:
            own = self.passes(matrix.in_features)
            if self.limited:
                # Outputs without a limit, as some designs of an array may have, are one group.
                groups = ceil_div(matrix.out_features, self.chip.datapath.outputs_per_pass)
                own = own * np.maximum(groups, 1)
            if self.shared and matrix.uses > 1:
                own = own * matrix.uses
            own = own + self.fills[matrix]
            if cycles is None:
                cycles = own
            elif self.shared:
                cycles = cycles + own - self.fills[matrix]  # passes follow without a gap
            else:
                cycles = np.maximum(cycles, own)
        has_side_path = operation == "rom" or self.chip.lora.head == "present"
        beside = tuple(matrices) if has_side_path else ()
        return Stage(matrices[0].name, operation, "rom", cycles, matrices=beside)

    def norm(self, name: str, width: int, operation: str = "norms_activations") -> Stage:
        # Sum of squares, then scale.
        return Stage(name, operation, "vector", 2 * self.pass_of_vector(width) + self.fill)

    def vector(self, name: str, width: int) -> Stage:
        return Stage(name, "norms_activations", "vector", self.pass_of_vector(width) + self.fill)

    def token(self) -> TokenStages:
        chip, model = self.chip, self.model
        topk = ceil_div(model.vocab, chip.sampling.topk_logits_per_cycle) + self.fill
        if model.logit_softcap is not None:
            topk = topk + self.fill  # it keeps their order, so that only kept logits are capped
        embedding = self.fill + _row_cycles(chip, model)
        if model.scaled_embedding:
            embedding = embedding + self.pass_of_vector(model.hidden)
        return TokenStages(
            embedding=Stage("embedding", "rom", "embedding", embedding),
            kinds=tuple(
                self.layer(kind, {matrix.name: matrix for matrix in matrices})
                for kind, matrices in zip(model.layer_kinds, self.of_kind, strict=True)
            ),
            head=(
                self.norm("final_norm", model.hidden, "lm_head_sampling"),
                self.rom((self.head,), "lm_head_sampling"),
                Stage("topk", "lm_head_sampling", "topk", topk),
                Stage("sample", "lm_head_sampling", "sampler", sample_cycles(chip)),
            ),
        )

    def layer(self, kind: LayerKind, matrices: dict[str, RomMatrix]) -> LayerStages:
        model = self.model
        before: tuple[Stage, ...]
        if model.latent is None:
            before = (
                self.rom((matrices["qkv"],)),
                self.vector("rope", (model.heads + model.kv_heads) * model.head_dim),
            )
        else:
            before = self._latent(matrices)
        values = (self.rom((matrices[LATENT_VALUES],)),) if LATENT_VALUES in matrices else ()
        return LayerStages(
            before=(self.norm("norm_attention", model.hidden), *before),
            attention=attention_stages(self.chip, model, kind),
            behind=(
                *values,
                *self._sub_norm("sub_norm_attention", model.hidden),
                self.rom((matrices["o"],)),
                *self._post_norm("post_norm_attention"),
                self.norm("norm_mlp", model.hidden),
                *self._mlp(kind, matrices),
                *self._post_norm("post_norm_mlp"),
            ),
        )

    def _latent(self, matrices: dict[str, RomMatrix]) -> tuple[Stage, ...]:
        """Queries and the latent, both normed, and queries brought to the latent's width."""
        latent = self.model.latent
        assert latent is not None
        queries = (self.rom((matrices["q_b"],)),) if "q_b" in matrices else ()
        return (
            self.rom((matrices["qkv_a"],)),
            self.norm("norm_latent", latent.kv_rank + (latent.query_rank or 0)),
            *queries,
            self.vector("rope", (self.model.heads + 1) * latent.rope_dim),
            self.rom((matrices[LATENT_KEYS],)),
        )

    def _mlp(self, kind: LayerKind, matrices: dict[str, RomMatrix]) -> tuple[Stage, ...]:
        """A gated MLP, or a router, the chosen experts with what stands beside them, their sum."""
        model = self.model

        def together(name: str) -> Stage:
            return self.rom([matrices[n] for n in (name, f"shared_{name}") if n in matrices])

        gated = (
            together("gate_up"),
            self.vector(model.activation, model.mlp_width(kind)),
            *self._sub_norm("sub_norm_mlp", model.intermediate),
            together("down"),
        )
        if not kind.experts or model.experts is None:
            return gated
        # Scores, their scale, and a scan with a sorted list; of groups, one more to choose those.
        scans = 2 if model.experts.groups > 1 else 1
        route = self.vector("route", (1 + scans) * model.experts.count)
        combine = self.vector("combine", model.summed_experts * model.hidden)
        return (self.rom((matrices[ROUTER],)), route, *gated, combine)

    def _sub_norm(self, name: str, width: int) -> tuple[Stage, ...]:
        return (self.norm(name, width),) if self.model.sub_norm else ()

    def _post_norm(self, name: str) -> tuple[Stage, ...]:
        return (self.norm(name, self.model.hidden),) if self.model.post_norms else ()


def _row_cycles(chip: Chip, model: LanguageModel) -> Any:
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


def attention_stages(chip: Chip, model: LanguageModel, kind: LayerKind) -> tuple[Stage, ...]:
    """KV write, scores, softmax and weighted sum, on one memory or on one for K and one for V.

    A token's row is written, then all rows are read, or those of the window of this kind of layer:
    the slower of bytes over the read port, with those of scales, and products over the multipliers,
    ``⌈context · rate⌉``. The exponentials of the softmax stream behind the scores and cost one more
    fill, as a cap of the scores does. A sink is a constant: the sum of exponentials begins with it.

    A latent is key and value of all heads, one row in one memory: each is read once, and weighed
    by the heads' exponentials as they stream behind, the sum so far scaled where a greater score
    comes (online softmax: Milakov, Gimelshein, arXiv 1805.02867).
    """
    fill = fill_cycles(chip)
    fills = 3 if model.attention_softcap is None else 4
    port = 8 * chip.attention.kv_read_bytes_per_cycle
    multipliers = chip.attention.macs_per_cycle
    formats = chip.formats.kv_bits, chip.formats.kv_8bit
    if model.latent is not None:
        bits = kv_layer_bits(model, *formats)
        write = ceil_div(bits, 8 * chip.sram.write_bytes_per_cycle)
        one = ((bits, port), (model.heads * model.score_products, multipliers))
        cycles = write + fills * fill
        return (Stage("attention", "attention", "kv", cycles, one, kind.window),)
    q_width = model.heads * model.head_dim
    bits = kv_row_bits(model, *formats)
    write = ceil_div(bits, 8 * chip.sram.write_bytes_per_cycle)
    if chip.attention.kv_memories == "shared":
        both = ((2 * bits, port), (2 * q_width, multipliers))
        cycles = 2 * write + fills * fill
        return (Stage("attention", "attention", "kv", cycles, both, kind.window),)
    each = ((bits, port), (q_width, multipliers))
    return (
        Stage("keys", "attention", "keys", write + (fills - 1) * fill, each, kind.window),
        Stage("values", "attention", "values", write + fill, each, kind.window),
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

    # Targets that are as many in the model are summed first: the rank may be an array.
    times = Counter(of_any_expert(target) for _, target in model.places(shape.targets))
    totals: dict[int, Any] = {}
    for target in shape.targets:
        if times[target]:
            totals[times[target]] = totals.get(times[target], 0) + size(target)
    return sum(number * total for number, total in totals.items())


def side_work(
    model: LanguageModel, matrix: RomMatrix, ranks: Sequence[Any], fmt: str
) -> tuple[Work, Work]:
    """Work of ``A x`` and of ``B h`` over the targets of one matrix group, of the given ranks.

    Of one side path: beside experts, of one of those that a token is sent to.
    """
    down, up = Work(0, 0), Work(0, 0)
    # Targets of one rank first add up: the rank may be an array over designs.
    for rank in {id(rank): rank for rank in ranks if np.any(rank)}.values():
        of_a, of_b = Work(0, 0), Work(0, 0)
        for target, other in zip(matrix.targets, ranks, strict=True):
            if other is rank:
                first, second = _phases(model, matrix, target, fmt)
                of_a += first
                of_b += second
        down += Work(rank * of_a.macs, rank * of_a.bytes)
        up += Work(rank * of_b.macs, rank * of_b.bytes)
    return down, up


def _phases(model: LanguageModel, matrix: RomMatrix, target: str, fmt: str) -> tuple[Work, Work]:
    """Work of both phases beside a target, of rank 1.

    Beside the heads' matrices of latent attention a product runs for each head. With ``kv_b_proj =
    W + B A``, a query meets ``Aᵀ (Bᵀ q)`` of its head's rows of B, and a weighted sum of latents
    ``B (A c)``: A is read once for all heads, and they share no product.
    """
    n_out, n_in = model.linear_shape(target)
    if matrix.name not in (LATENT_KEYS, LATENT_VALUES):
        return phase_work(1, n_in, fmt), phase_work(1, n_out, fmt)
    of_head = phase_work(1, matrix.copies * _head_width(matrix), fmt)
    latent = phase_work(1, n_in, fmt)
    latent = Work(matrix.copies * latent.macs, latent.bytes)
    return (of_head, latent) if matrix.name == LATENT_KEYS else (latent, of_head)


def _head_width(matrix: RomMatrix) -> int:
    """Elements on the side of a head, not of the latent, of its matrix in latent attention."""
    return matrix.in_features if matrix.name == LATENT_KEYS else matrix.out_features


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
