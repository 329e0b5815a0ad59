"""A token compiled to integer arrays on numbered units: the one input of all engines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardwire.models.adapter.adapter import Adapter
from hardwire.models.chip import Chip
from hardwire.models.language_model import HEAD, LanguageModel
from hardwire.simulator.datapath import NO_WINDOW, Stage, own_unit
from hardwire.simulator.timing import Timing, grown


@dataclass(frozen=True)
class TokenProgram:
    """The stages of a token, compiled.

    Shapes: ``S`` stages, ``A`` adapters plus row 0 for none.

    Attributes
    ----------
    main_unit, side_unit : (S,) int32
        Unit of each branch; ``side_unit`` is -1 where there is no side path.
    main_cycles, side_cycles : (A, S) int64
        Fixed cycles by adapter.
    rates : (S, 4) int64
        Two pairs numerator, denominator of cycles per context token; 0/1 where none.
    windows : (S,) int64
        Context tokens beyond which a stage adds no more; ``NO_WINDOW`` where it always does.
    layer : (S,) int32
        The layer that a stage opens, -1 where it opens none. A head with a side path is opened as
        the layer behind the last.
    body_stages, held_stages : int
        Stages of a prompt token that is not the last of its prompt, and those of them that the next
        one waits for in serial issue.
    ports : (layers, or one more, 1 or 2) int32
        KV memory units of each layer, through which an adapter's slice is written; then those of
        the adapter memory beside a head with a side path.
    """

    timing: Timing
    adapters: tuple[Adapter, ...]
    stage_names: tuple[str, ...]
    operations: tuple[str, ...]
    units: tuple[str, ...]
    main_unit: np.ndarray
    side_unit: np.ndarray
    main_cycles: np.ndarray
    side_cycles: np.ndarray
    rates: np.ndarray
    windows: np.ndarray
    layer: np.ndarray
    body_stages: int
    held_stages: int
    ports: np.ndarray
    serial: bool
    distinct: bool
    clock_hz: float

    @property
    def chip(self) -> Chip:
        return self.timing.chip

    @property
    def model(self) -> LanguageModel:
        return self.timing.model

    @property
    def stages(self) -> int:
        return len(self.main_unit)

    @cached_property
    def rate_of(self) -> NDArray[np.uint32]:
        """Row of ``grown`` for each stage, ``(S,)``."""
        return self._rates[1]

    def grown(self, context: NDArray[np.int64]) -> NDArray[np.int64]:
        """Cycles that contexts add to a stage, ``(K, len(context))`` for K different rates."""
        rates = self._rates[0].tolist()
        return np.stack(
            [
                grown(((n1, d1), (n2, d2)), np.minimum(context, window))
                for n1, d1, n2, d2, window in rates
            ]
        )

    def mean_cycles(self, adapter: int, context: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean cycles of the main and the side branch of each stage over some contexts.

        Parameters
        ----------
        context : (N,) int64, tokens attended to.

        Returns
        -------
        main, side : (S,) float64
        """
        main = self.main_cycles[adapter] + self.grown(context).mean(axis=1)[self.rate_of]
        return main, self.side_cycles[adapter].astype(float)

    @cached_property
    def _rates(self) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
        """The different rates with their windows, and which a stage has: few, of hundreds."""
        both = np.column_stack([self.rates, self.windows])
        rates, rate_of = np.unique(both, axis=0, return_inverse=True)
        return rates, rate_of.reshape(-1).astype(np.uint32)


def build_program(
    chip: Chip,
    model: LanguageModel,
    adapters: Sequence[Adapter] = (),
    issue: str | None = None,
    *,
    timing: Timing | None = None,
) -> TokenProgram:
    """Compile chip, model and adapters to the token program that the engines run.

    Parameters
    ----------
    adapters : numbered from 1 in the program; number 0 is the base alone.
    issue : overrides the chip's.
    timing : ``Timing.of(chip, model, adapters)``, where it is at hand.
    """
    timing = timing or Timing.of(chip, model, adapters)
    tokens = timing.tokens
    stages, sequential = tokens[0].stages, tokens[0].sequential
    memories = len(stages.kinds[0].attention)
    layout = _Layout(len(tokens), shared=tokens[0].shared)
    layout.visit(stages.embedding, [stages.embedding.cycles] * len(tokens))
    for layer in range(model.layers):
        kinds = [token.kinds[token.kind_of[layer]] for token in tokens]
        for position, stage in enumerate(kinds[0].stages.all):
            own = [token.alone(stage, kind.side) for token, kind in zip(tokens, kinds, strict=True)]
            layout.visit(stage, own, layer, opens_layer=position == 0)
            if stage.name in kinds[0].side:
                side = [int(kind.side[stage.name]) for kind in kinds]
                layout.visit_lora(stage, layer, side, after=sequential)
    body = held = len(layout.stages)
    if overlapped := int(tokens[0].overlapped):
        held = layout.layer.index(model.layers - overlapped)
    for position, stage in enumerate(stages.head):
        layout.visit(stage, [token.alone(stage, token.head_side) for token in tokens])
        if position == 0 and tokens[0].head_side:
            layout.opens_head(model.layers)
        if stage.name in tokens[0].head_side:
            side = [int(token.head_side[stage.name]) for token in tokens]
            layout.visit_lora(stage, -1, side, after=sequential)
    return TokenProgram(
        timing=timing,
        adapters=tuple(adapters),
        stage_names=tuple(stage.name for stage in layout.stages),
        operations=tuple(stage.operation for stage in layout.stages),
        units=tuple(layout.units),
        main_unit=np.array(layout.main_unit, dtype=np.int32),
        side_unit=np.array(layout.side_unit, dtype=np.int32),
        main_cycles=np.array(layout.main_cycles, dtype=np.int64).T.copy(),
        side_cycles=np.array(layout.side_cycles, dtype=np.int64).T.copy(),
        rates=np.array(layout.rates, dtype=np.int64),
        windows=np.array(layout.windows, dtype=np.int64),
        layer=np.array(layout.layer, dtype=np.int32),
        body_stages=body,
        held_stages=held,
        ports=np.array(layout.ports, dtype=np.int32).reshape(-1, memories),
        serial=(issue or chip.datapath.issue) == "serial",
        distinct=not tokens[0].shared,
        clock_hz=float(timing.hz),
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
        self.windows: list[int] = []
        self.layer: list[int] = []
        self.ports: list[int] = []

    def _unit(self, kind: str, stage: Stage, layer: int) -> int:
        where = f" {layer}" if layer >= 0 else ""
        name = kind if self.shared else f"{own_unit(kind, stage.name)}{where}"
        return self.units.setdefault(name, len(self.units))

    def visit(
        self, stage: Stage, cycles: list[Any], layer: int = -1, *, opens_layer: bool = False
    ) -> None:
        """Append a stage on its own unit, with so many cycles for each adapter."""
        self._append(stage, self._unit(stage.unit, stage, layer), [int(n) for n in cycles])
        self.layer[-1] = layer if opens_layer else -1
        if stage.operation == "attention":
            self.ports.append(self.main_unit[-1])

    def opens_head(self, number: int) -> None:
        """Let the stage just visited wait for the head's slice, which has a memory of its own.

        Where layers share their units, it lies in the one memory that they share.
        """
        self.layer[-1] = number
        memories = len(self.ports) // number
        own = self.ports[-memories:]
        if not self.shared:
            own = [self.units.setdefault(f"sram.{HEAD}", len(self.units))] * memories
        self.ports += own

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
        self.windows.append(NO_WINDOW if stage.window is None else stage.window)
        self.layer.append(-1)
