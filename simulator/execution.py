"""Model and clock together: tokens carry values through the timed datapath.

The engine says when each token enters each layer and when each slice of an adapter has been
written; here the same happens to values, in that order of cycles. A slice changes what the adapter
SRAM holds from the cycle on at which its last burst is written. A token reads, in every layer, what
the SRAM holds at the cycle at which it enters that layer. So a swap that let a token through too
early would show in the token's values, and is refused here before it does.

Timing does not depend on values, as the number of output tokens is given; so time is simulated
first and values follow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hardwire.kernels.decoder.batch import Batch
from hardwire.kernels.decoder.decoder import Decoder
from hardwire.kernels.decoder.kv_cache import Sequence as KVSequence
from hardwire.kernels.decoder.sampling import Sampler
from hardwire.kernels.decoder.side_path import ResidentAdapter
from hardwire.simulator.engines import compiled as engine
from hardwire.simulator.program import TokenProgram
from hardwire.simulator.requests import AdapterLoad, Requests, Timeline

# What happens to values, in the order that it has within a cycle: a token may enter a layer in the
# cycle that completes its slice, and be issued in the cycle that ends the token before it.
_SLICE, _HEAD, _ISSUE, _LAYER = range(4)

BASE_VERSION = 0
"""Version of the adapter that a token without one used."""


@dataclass(frozen=True)
class ExecutedRun:
    """What a run computed and when.

    Attributes
    ----------
    timeline : Timeline
        Cycles of every token.
    tokens : (output,) int64 for each user
        Output tokens.
    logits : (output, vocab) float32 for each user
        From which they were drawn.
    versions : (T,) int64
        Version of the adapter that each token used, numbered as the timeline's tokens;
        ``BASE_VERSION`` for the base alone.
    """

    timeline: Timeline
    tokens: tuple[NDArray[np.int64], ...]
    logits: tuple[NDArray[np.float32], ...]
    versions: NDArray[np.int64]


class _AdapterSram:
    """What the adapter SRAM holds: images of the slices that have been written."""

    def __init__(self, adapters: Sequence[ResidentAdapter], loads: Sequence[AdapterLoad]) -> None:
        self.complete = adapters
        self.loaded_by = {load.adapter: number for number, load in enumerate(loads)}
        # An adapter that is being loaded starts out empty and gains a layer with each slice.
        self.held = [
            ResidentAdapter(adapter.name, adapter.version, {})
            if row + 1 in self.loaded_by
            else adapter
            for row, adapter in enumerate(adapters)
        ]
        self.missing = {
            row: {layer for layer, _ in self.complete[row - 1].images} for row in self.loaded_by
        }

    def write_slice(self, row: int, layer: int) -> None:
        source, held = self.complete[row - 1], self.held[row - 1]
        for (place, target), image in source.images.items():
            if place == layer:
                held.images[place, target] = image
        self.missing[row].discard(layer)

    def check(self, row: int, layer: int) -> None:
        """Refuse to compute with a slice that is not there."""
        if layer in self.missing.get(row, ()):
            raise RuntimeError(
                f"a token of adapter {self.held[row - 1].name} entered layer {layer} before its "
                "slice was in SRAM"
            )


def execute(
    program: TokenProgram,
    requests: Requests,
    loads: Sequence[AdapterLoad],
    decoder: Decoder,
    adapters: Sequence[ResidentAdapter],
    prompts: Sequence[Sequence[int]],
    samplers: Sequence[Sampler] | None = None,
) -> ExecutedRun:
    """Run requests on the clock of ``program`` and the values of ``decoder``.

    Parameters
    ----------
    adapters : images of the program's adapters, in its order.
    prompts : token ids of each user, as many as ``requests.prompt`` says.
    samplers : one per user; greedy by default.

    Raises
    ------
    ValueError
        If model, adapters or prompts are not those of the program and the requests.
    RuntimeError
        If a token would use a slice of an adapter that is not in SRAM: the engine's rules are
        broken then.
    """
    _check(program, requests, decoder, adapters, prompts)
    drawn = samplers or [Sampler() for _ in prompts]
    times = engine.simulate(program, requests, loads, record=True)
    sram = _AdapterSram(adapters, loads)
    sequences = [KVSequence() for _ in prompts]
    outputs: list[list[int]] = [[] for _ in prompts]
    logits: list[list[NDArray[np.float32]]] = [[] for _ in prompts]
    total = int(times.first[-1])
    user_of = np.repeat(np.arange(requests.users), requests.tokens)
    versions = np.zeros(total, dtype=np.int64)
    in_flight: dict[int, tuple[Batch, NDArray[np.float32]]] = {}
    try:
        for _, kind, number, layer in _events(program, times, loads):
            if kind == _SLICE:
                sram.write_slice(loads[number].adapter, layer)
                continue
            user = int(user_of[number])
            index = number - int(times.first[user])
            row = int(requests.adapter[user])
            if kind == _ISSUE:
                text = [*prompts[user], *outputs[user]]
                held = sram.held[row - 1] if row else None
                in_flight[number] = decoder.begin([text[index]], [sequences[user]], [held])
                versions[number] = held.version if held else BASE_VERSION
            elif kind == _LAYER:
                sram.check(row, layer)
                if layer < program.model.layers:
                    batch, x = in_flight[number]
                    in_flight[number] = batch, decoder.layer(layer, x, batch)
            else:
                batch, x = in_flight.pop(number)
                if index >= len(prompts[user]) - 1:
                    scores = decoder.head(x, batch.adapters)[0]
                    logits[user].append(scores)
                    outputs[user].append(drawn[user].draw(scores))
    finally:
        for sequence in sequences:
            decoder.cache.release(sequence)
    return ExecutedRun(
        timeline=times,
        tokens=tuple(np.array(tokens, dtype=np.int64) for tokens in outputs),
        logits=tuple(np.stack(rows) for rows in logits),
        versions=versions,
    )


def _events(
    program: TokenProgram, times: Timeline, loads: Sequence[AdapterLoad]
) -> list[tuple[int, int, int, int]]:
    """(cycle, kind, token or load, layer) of all that happens to values, in order."""
    assert times.start is not None
    events = [
        (int(cycle), _SLICE, load, layer)
        for load in range(len(loads))
        for layer, cycle in enumerate(times.slice_done[load])
        if cycle >= 0
    ]
    openings = [(int(program.layer[s]), s) for s in np.flatnonzero(program.layer >= 0)]
    for token, (issued, done) in enumerate(zip(times.issued, times.done, strict=True)):
        events.append((int(issued), _ISSUE, token, 0))
        starts = [(int(times.start[token, s, 0]), layer) for layer, s in openings]
        # A token inside a prompt does not come to the head.
        events += [(start, _LAYER, token, layer) for start, layer in starts if start >= 0]
        events.append((int(done), _HEAD, token, 0))
    return sorted(events)


def _check(
    program: TokenProgram,
    requests: Requests,
    decoder: Decoder,
    adapters: Sequence[ResidentAdapter],
    prompts: Sequence[Sequence[int]],
) -> None:
    if decoder.model.tensors() != program.model.tensors():
        raise ValueError(f"the decoder is a {decoder.model.name}, the program's model is another")
    if len(adapters) != len(program.adapters):
        raise ValueError(
            f"{len(program.adapters)} adapters are in the program, {len(adapters)} given"
        )
    for adapter, shape in zip(adapters, program.adapters, strict=True):
        places = {(module.layer, module.target): module.rank for module in shape.modules}
        if {place: image.rank for place, image in adapter.images.items()} != places:
            raise ValueError(f"{adapter.name} is not the adapter that the program was built for")
    lengths = [len(prompt) for prompt in prompts]
    if lengths != requests.prompt.tolist():
        raise ValueError(f"prompts have {lengths} tokens, the requests {requests.prompt.tolist()}")
