"""One token as operations on units: where each cycle of the timing model is stated.

A token visits a chain of *stages*. A stage has a main unit and, beside a ROM matrix, a side unit
for the low-rank product; both start together and the next stage starts when both are done. The
functions here take numbers or NumPy arrays, so that the closed forms and the event engines charge
the same cycles from the same lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hardwire.kernels.lowrank.lowrank import Work, phase_work
from hardwire.models.adapter.adapter import Adapter
from hardwire.models.adapter.shape import AdapterShape
from hardwire.models.chip import Chip
from hardwire.models.language_model import LanguageModel
from hardwire.models.rom import RomMatrix, head_matrix, layer_matrices

OPERATIONS = ("rom", "attention", "lora", "norms_activations", "lm_head_sampling")
"""What a token's time is divided into."""

BYPASS_CYCLES = 1
"""A side unit passes a token that has nothing to add in one cycle, so that tokens keep order."""


def ceil_div(a: Any, b: Any) -> Any:
    """``⌈a / b⌉`` for integers and for arrays of whole floats."""
    return -(-a // b)


@dataclass(frozen=True)
class Stage:
    """One step of a token: ``cycles + ⌈context · max(rates)⌉`` on a unit.

    ``rates`` are pairs (numerator, denominator) of cycles per token of context: memory and
    multipliers, of which the slower counts. ``matrix`` is set where a low-rank product can run
    beside or behind this stage.
    """

    name: str
    operation: str
    unit: str
    cycles: Any
    rates: tuple[tuple[Any, Any], ...] = ()
    matrix: RomMatrix | None = None


def rom_cycles(chip: Chip, matrix: RomMatrix) -> Any:
    """``⌈n_in / lanes⌉`` passes whatever ``n_out`` (US 2025/0123802), plus the fill.

    A chip that accumulates fewer outputs at once repeats the passes for each group of outputs.
    """
    passes = ceil_div(matrix.in_features, chip.datapath.lanes)
    groups = ceil_div(matrix.out_features, chip.datapath.outputs_per_pass)
    return passes * groups + chip.datapath.fill_cycles


def layer_stages(chip: Chip, model: LanguageModel) -> tuple[Stage, ...]:
    """The stages of a decoder layer, in order. Residual additions ride on the norms."""
    fill = chip.datapath.fill_cycles
    lanes = chip.datapath.vector_lanes
    qkv, o, gate_up, down = layer_matrices(model)
    kv_width = model.kv_heads * model.head_dim
    q_width = model.heads * model.head_dim
    norm = 2 * ceil_div(model.hidden, lanes) + fill  # sum of squares, then scale

    def rom(matrix: RomMatrix) -> Stage:
        return Stage(matrix.name, "rom", "rom", rom_cycles(chip, matrix), matrix=matrix)

    return (
        Stage("norm_attention", "norms_activations", "vector", norm),
        rom(qkv),
        Stage("rope", "norms_activations", "vector", ceil_div(q_width + kv_width, lanes) + fill),
        *attention_stages(chip, model),
        rom(o),
        Stage("norm_mlp", "norms_activations", "vector", norm),
        rom(gate_up),
        Stage("silu", "norms_activations", "vector", ceil_div(model.intermediate, lanes) + fill),
        rom(down),
    )


def attention_stages(chip: Chip, model: LanguageModel) -> tuple[Stage, ...]:
    """KV write, scores, softmax and weighted sum, on one memory or on one for K and one for V.

    A token's row is written, then all rows are read: the slower of bytes over the read port and
    products over the multipliers, ``⌈context · rate⌉``. The exponentials of the softmax stream
    behind the scores and cost one more fill.
    """
    fill = chip.datapath.fill_cycles
    kv_width = model.kv_heads * model.head_dim
    q_width = model.heads * model.head_dim
    write = ceil_div(kv_width * chip.sram.kv_bits, 8 * chip.sram.write_bytes_per_cycle)
    bits, port = kv_width * chip.sram.kv_bits, 8 * chip.attention.kv_read_bytes_per_cycle
    multipliers = chip.attention.macs_per_cycle
    if chip.attention.kv_memories == "shared":
        both = ((2 * bits, port), (2 * q_width, multipliers))
        return (Stage("attention", "attention", "kv", 2 * write + 3 * fill, both),)
    each = ((bits, port), (q_width, multipliers))
    return (
        Stage("keys", "attention", "keys", write + 2 * fill, each),
        Stage("values", "attention", "values", write + fill, each),
    )


def first_stage(chip: Chip) -> Stage:
    """Embedding lookup: one ROM row."""
    return Stage("embedding", "rom", "embedding", chip.datapath.fill_cycles)


def head_stages(chip: Chip, model: LanguageModel) -> tuple[Stage, ...]:
    """What turns the last layer's output into a token. Prefill skips it but for its last token."""
    fill = chip.datapath.fill_cycles
    norm = 2 * ceil_div(model.hidden, chip.datapath.vector_lanes) + fill
    topk = ceil_div(model.vocab, chip.sampling.topk_logits_per_cycle) + fill
    return (
        Stage("final_norm", "lm_head_sampling", "vector", norm),
        Stage("lm_head", "lm_head_sampling", "rom", rom_cycles(chip, head_matrix(model))),
        Stage("topk", "lm_head_sampling", "topk", topk),
        Stage("sample", "lm_head_sampling", "sampler", chip.sampling.loop_cycles),
    )


def adapter_format(chip: Chip, adapter: Adapter | AdapterShape) -> str:
    """The format in which ``adapter`` lies in the SRAM of ``chip``."""
    return adapter.sram_format or str(chip.lora.format)


def adapter_layer_bytes(chip: Chip, adapter: Adapter, layers: int) -> list[int]:
    """SRAM bytes of an adapter, layer by layer."""
    slices = [0] * layers
    fmt = adapter_format(chip, adapter)
    for module in adapter.modules:
        for width in (module.in_features, module.out_features):
            slices[module.layer] += int(phase_work(module.rank, width, fmt).bytes)
    return slices


def adapter_bytes(chip: Chip, adapter: Adapter) -> int:
    """SRAM bytes of an adapter's image on ``chip``: what the kernels declare, summed."""
    last = max(module.layer for module in adapter.modules)
    return sum(adapter_layer_bytes(chip, adapter, last + 1))


def shape_bytes(chip: Chip, model: LanguageModel, shape: AdapterShape) -> Any:
    """``adapter_bytes`` of a shape, for a rank or an array of ranks."""
    fmt = adapter_format(chip, shape)
    widths = [width for target in shape.targets for width in model.linear_shape(target)]
    return model.layers * sum(phase_work(shape.rank, width, fmt).bytes for width in widths)


def side_work(
    model: LanguageModel, matrix: RomMatrix, ranks: Sequence[Any], fmt: str
) -> tuple[Work, Work]:
    """Work of ``A x`` and of ``B h`` over the targets of one matrix group, of the given ranks."""
    down, up = Work(0, 0), Work(0, 0)
    for target, rank in zip(matrix.targets, ranks, strict=True):
        if np.any(rank):
            n_out, n_in = model.linear_shape(target)
            down += phase_work(rank, n_in, fmt)
            up += phase_work(rank, n_out, fmt)
    return down, up


def side_cycles(
    chip: Chip, model: LanguageModel, matrix: RomMatrix, ranks: Sequence[Any], fmt: str
) -> Any:
    """Cycles of ``B (A x)`` for the targets of one matrix group, of the given ranks.

    ``A`` must be complete before ``B`` starts; each phase is bound by the reads of adapter SRAM
    or by the multipliers, and pays a fill.
    """
    if not any(np.any(rank) for rank in ranks):
        return BYPASS_CYCLES

    def phase(work: Work) -> Any:
        reads = ceil_div(work.bytes, chip.lora.read_bytes_per_cycle)
        products = ceil_div(work.macs, chip.lora.macs_per_cycle)
        return np.maximum(reads, products) + chip.datapath.fill_cycles

    down, up = side_work(model, matrix, ranks, fmt)
    return phase(down) + phase(up)


def adapter_work(chip: Chip, model: LanguageModel, adapter: Adapter | AdapterShape) -> Work:
    """All that the timing model charges the side paths for one token with ``adapter``."""
    fmt = adapter_format(chip, adapter)
    total = Work(0, 0)
    for kind, count in layer_kinds(adapter, model):
        for matrix, ranks in zip(layer_matrices(model), kind, strict=True):
            down, up = side_work(model, matrix, ranks, fmt)
            both = down + up
            total = total + Work(count * both.macs, count * both.bytes)
    return total


def layer_ranks(adapter: Adapter, matrix: RomMatrix, layer: int) -> tuple[int, ...]:
    """Ranks of an adapter's modules beside ``matrix`` in ``layer``; 0 where there is none."""
    return tuple(adapter.rank(layer, target) for target in matrix.targets)


Kind = tuple[tuple[Any, ...], ...]
"""Ranks beside each target of each matrix group of a layer; 0 where there is none."""


def layer_kinds(
    adapter: Adapter | AdapterShape | None, model: LanguageModel
) -> list[tuple[Kind, int]]:
    """The kinds of layers by the ranks beside their matrices, and how many there are of each."""
    kinds, of_layer = kind_of_layers(adapter, model)
    return list(zip(kinds, np.bincount(of_layer, minlength=len(kinds)).tolist(), strict=True))


def kind_of_layers(
    adapter: Adapter | AdapterShape | None, model: LanguageModel
) -> tuple[list[Kind], np.ndarray]:
    """The kinds of layers, and the number of its kind for each layer, ``(layers,)`` int64."""
    matrices = layer_matrices(model)
    if adapter is None or isinstance(adapter, AdapterShape):
        rank, targets = (0, ()) if adapter is None else (adapter.rank, adapter.targets)
        groups = (tuple(rank if t in targets else 0 for t in m.targets) for m in matrices)
        return [tuple(groups)], np.zeros(model.layers, np.int64)
    numbers: dict[Kind, int] = {}
    of_layer = np.empty(model.layers, np.int64)
    for layer in range(model.layers):
        kind = tuple(layer_ranks(adapter, matrix, layer) for matrix in matrices)
        of_layer[layer] = numbers.setdefault(kind, len(numbers))
    return list(numbers), of_layer


@dataclass(frozen=True)
class TokenProgram:
    """The stages of a token compiled to integer arrays, the one input of all engines.

    Shapes: ``S`` stages, ``A`` adapters plus row 0 for none.

    Attributes
    ----------
    main_unit, side_unit : (S,) int32
        Unit of each branch; ``side_unit`` is -1 where there is no side path.
    main_cycles, side_cycles : (A, S) int64
        Fixed cycles by adapter.
    rates : (S, 4) int64
        Two pairs numerator, denominator of cycles per context token; 0/1 where none.
    layer : (S,) int32
        The layer that a stage opens, -1 where it opens none.
    body_stages : int
        Stages of a prompt token that is not the last of its prompt.
    ports : (layers, 1 or 2) int32
        KV memory units of each layer, through which an adapter's slice is written.
    """

    chip: Chip
    model: LanguageModel
    adapters: tuple[Adapter, ...]
    stage_names: tuple[str, ...]
    operations: tuple[str, ...]
    units: tuple[str, ...]
    main_unit: np.ndarray
    side_unit: np.ndarray
    main_cycles: np.ndarray
    side_cycles: np.ndarray
    rates: np.ndarray
    layer: np.ndarray
    body_stages: int
    ports: np.ndarray
    serial: bool
    distinct: bool
    clock_hz: float

    @property
    def stages(self) -> int:
        return len(self.main_unit)

    @property
    def visits_per_token(self) -> int:
        """Unit visits of one decoded token."""
        return self.stages + int((self.side_unit >= 0).sum())

    def mean_cycles(self, adapter: int, context: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean cycles of the main and the side branch of each stage over some contexts.

        Parameters
        ----------
        context : (N,) int64, tokens attended to.

        Returns
        -------
        main, side : (S,) float64
        """
        kinds, kind_of = np.unique(self.rates, axis=0, return_inverse=True)
        grown = [
            np.maximum(ceil_div(context * n1, d1), ceil_div(context * n2, d2)).mean()
            for n1, d1, n2, d2 in kinds
        ]
        main = self.main_cycles[adapter] + np.array(grown)[kind_of.reshape(-1)]
        return main, self.side_cycles[adapter].astype(float)


def build_program(
    chip: Chip, model: LanguageModel, adapters: Sequence[Adapter] = (), issue: str | None = None
) -> TokenProgram:
    """Compile chip, model and adapters to the token program that the engines run.

    Parameters
    ----------
    adapters : numbered from 1 in the program; number 0 is the base alone.
    issue : overrides the chip's.
    """
    layout = _Layout(len(adapters) + 1, shared=chip.datapath.layers == "shared")
    formats = [adapter_format(chip, adapter) for adapter in adapters]
    layout.visit(first_stage(chip))
    stages = layer_stages(chip, model)
    for layer in range(model.layers):
        for position, stage in enumerate(stages):
            layout.visit(stage, layer, opens_layer=position == 0)
            if stage.matrix is None:
                continue
            side = [BYPASS_CYCLES]
            for adapter, fmt in zip(adapters, formats, strict=True):
                ranks = layer_ranks(adapter, stage.matrix, layer)
                side.append(int(side_cycles(chip, model, stage.matrix, ranks, fmt)))
            layout.visit_lora(stage, layer, side, after=chip.lora.order == "sequential")
    body = len(layout.stages)
    for stage in head_stages(chip, model):
        layout.visit(stage)
    return TokenProgram(
        chip=chip,
        model=model,
        adapters=tuple(adapters),
        stage_names=tuple(stage.name for stage in layout.stages),
        operations=tuple(stage.operation for stage in layout.stages),
        units=tuple(layout.units),
        main_unit=np.array(layout.main_unit, dtype=np.int32),
        side_unit=np.array(layout.side_unit, dtype=np.int32),
        main_cycles=np.array(layout.main_cycles, dtype=np.int64).T.copy(),
        side_cycles=np.array(layout.side_cycles, dtype=np.int64).T.copy(),
        rates=np.array(layout.rates, dtype=np.int64),
        layer=np.array(layout.layer, dtype=np.int32),
        body_stages=body,
        ports=np.array(layout.ports, dtype=np.int32).reshape(model.layers, -1),
        serial=(issue or chip.datapath.issue) == "serial",
        distinct=chip.datapath.layers == "distinct",
        clock_hz=float(chip.datapath.clock_ghz) * 1e9,
    )


class _Layout:
    """Collects stages and numbers the units: one per stage, or one per kind where shared."""

    def __init__(self, rows: int, *, shared: bool) -> None:
        self.rows = rows
        self.shared = shared
        self.units: dict[str, int] = {}
        self.stages: list[Stage] = []
        self.main_unit: list[int] = []
        self.side_unit: list[int] = []
        self.main_cycles: list[list[int]] = []
        self.side_cycles: list[list[int]] = []
        self.rates: list[list[int]] = []
        self.layer: list[int] = []
        self.ports: list[int] = []

    def _unit(self, kind: str, stage: Stage, layer: int) -> int:
        where = f" {layer}" if layer >= 0 else ""
        name = kind if self.shared else f"{kind}.{stage.name}{where}"
        return self.units.setdefault(name, len(self.units))

    def visit(self, stage: Stage, layer: int = -1, *, opens_layer: bool = False) -> None:
        """Append a stage on its own unit, the same cycles with every adapter."""
        self._append(stage, self._unit(stage.unit, stage, layer), [int(stage.cycles)] * self.rows)
        self.layer[-1] = layer if opens_layer else -1
        if stage.operation == "attention":
            self.ports.append(self.main_unit[-1])

    def visit_lora(self, stage: Stage, layer: int, cycles: list[int], *, after: bool) -> None:
        """Put the low-rank product of a ROM stage beside it, or behind it as its own stage."""
        unit = self._unit("lora", stage, layer)
        if after:
            self._append(Stage(f"{stage.name}_lora", "lora", "lora", 0), unit, cycles)
        else:
            self.side_unit[-1] = unit
            self.side_cycles[-1] = cycles

    def _append(self, stage: Stage, unit: int, cycles: list[int]) -> None:
        first, second = (*stage.rates, (0, 1), (0, 1))[:2]
        self.stages.append(stage)
        self.main_unit.append(unit)
        self.side_unit.append(-1)
        self.main_cycles.append(cycles)
        self.side_cycles.append([0] * self.rows)
        self.rates.append([int(x) for x in (*first, *second)])
        self.layer.append(-1)
