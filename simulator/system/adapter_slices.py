"""What each die of a system keeps of an adapter: slices by layer, and the room that they take.

A matrix that is split by outputs splits ``B`` with it and has all of ``A`` on each of its dies;
one that is split by inputs splits ``A``, and each die applies all of ``B`` to its part of ``A x``,
whose sum is that of the base: it rides on the reduction and adds nothing to the links. A replicated
matrix has both whole.
"""

from __future__ import annotations

import functools
from collections import Counter

from hardwire.kernels.lowrank.lowrank import phase_work
from hardwire.models.adapter.adapter import Adapter
from hardwire.models.adapter.base import check_base
from hardwire.models.adapter.modules import LowRankModule
from hardwire.models.language_model import EXPERT, HEAD, of_any_expert
from hardwire.models.system.placement import Stage
from hardwire.models.system.slices import grid_of, matrices
from hardwire.models.system.system import System
from hardwire.simulator.datapath import adapter_format


def adapter_slices(system: System, adapter: Adapter) -> dict[str, dict[int, int]]:
    """Bytes of an adapter in the SRAM of each die, by its name and by layer.

    The slice of an LM head counts as that of the layer behind the last.

    Raises
    ------
    InputError
        If the adapter was made for another model.
    """
    check_base(adapter, system.model)
    found: dict[str, Counter[int]] = {die.name: Counter() for die in system.dies}
    formats = {die.name: adapter_format(die.chip, adapter) for die in system.dies}

    @functools.cache  # of hundreds of modules, few differ in width
    def row(width: int, fmt: str) -> int:
        return int(phase_work(1, width, fmt).bytes)

    def keep(die: str, module: LowRankModule, n_in: int, n_out: int) -> None:
        fmt = formats[die]
        found[die][module.layer] += module.rank * (row(n_in, fmt) + row(n_out, fmt))

    of_stage = {layer: stage for stage in system.placement.stages for layer in stage.layers}
    head = system.placement.head
    for module in adapter.modules:
        if module.target == HEAD:
            for place, die in enumerate(head):
                each, more = divmod(module.out_features, len(head))
                keep(die, module, module.in_features, each + (place < more))
            continue
        stage = of_stage[module.layer]
        inputs, outputs = grid_of(stage, _matrix_of(system, module))
        for die in _holders(stage, module, split=inputs * outputs > 1):
            keep(die, module, module.in_features // inputs, module.out_features // outputs)
    return {die: dict(slices) for die, slices in found.items()}


def adapter_rooms(system: System, adapter: Adapter) -> dict[str, int]:
    """SRAM bytes that an adapter takes from the KV cache of each die, by its name.

    As ``hardwire.simulator.datapath.adapter_room``: an adapter has the same rows in the memory of
    every layer of a die, so that the layer with the most of it decides for all of them.
    """
    last, rooms = system.model.layers, {}
    layers: Counter[str] = Counter()
    for stage in system.placement.stages:
        layers.update(dict.fromkeys(stage.dies, len(stage.layers)))
    for die, slices in adapter_slices(system, adapter).items():
        most = max((size for layer, size in slices.items() if layer < last), default=0)
        rooms[die] = layers[die] * most + slices.get(last, 0)
    return rooms


def _matrix_of(system: System, module: LowRankModule) -> str:
    """The matrix that a module is beside, by its name."""
    target = of_any_expert(module.target)
    return next(
        matrix.name for matrix in matrices(system.model, module.layer) if target in matrix.targets
    )


def _holders(stage: Stage, module: LowRankModule, *, split: bool) -> tuple[str, ...]:
    """The dies that keep some of a module: of a whole expert, the one that has it."""
    if module.target.startswith(EXPERT) and not split:
        expert = int(module.target.removeprefix(EXPERT).partition(".")[0])
        return (stage.dies[stage.experts[module.layer][expert]],)
    return stage.dies
