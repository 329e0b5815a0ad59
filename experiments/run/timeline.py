"""A token's way through the units, and tokens in flight: what the engine did, ready to be drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from hardwire.experiments.run.recording import Recording, record
from hardwire.experiments.shared.tables import si
from hardwire.simulator.single import Result

TIMELINE = "timeline.json"
PROMPT_TOKENS, DECODE_TOKENS = 6, 2
"""Shown in flight: the last of the prompts, of all users together, and the first of each user."""

_UNITS = {
    "rom": "ROM", "lora": "LoRA", "vector": "vector unit", "kv": "KV memory", "keys": "K memory",
    "values": "V memory", "topk": "top-k", "sampler": "sampler", "embedding": "embedding",
}  # fmt: skip


@dataclass(frozen=True)
class Token:
    """One decode token of a user who is alone on the chip, from its issue on.

    Attributes
    ----------
    name : of the adapter, or ``base``.
    context : tokens that it attends to.
    units : kinds of units, in the order in which it visits them first; layers have one each.
    unit, layer : (visits,) int
        Which kind; the layer, -1 before the first and ``layers`` behind the last.
    operation : (visits,) of str
    start_s, end_s : (visits,) float
    """

    name: str
    context: int
    layers: int
    units: tuple[str, ...]
    unit: np.ndarray
    layer: np.ndarray
    operation: tuple[str, ...]
    start_s: np.ndarray
    end_s: np.ndarray

    @property
    def token_s(self) -> float:
        """When its last visit ends."""
        return float(self.end_s.max())

    def layer_s(self, layer: int) -> tuple[float, float]:
        """When a layer's first visit begins and its last one ends."""
        inside = self.layer == layer
        return float(self.start_s[inside].min()), float(self.end_s[inside].max())

    def busy_s(self) -> dict[str, float]:
        """How long the token is at each kind of unit, over all layers."""
        spent = np.bincount(self.unit, self.end_s - self.start_s, minlength=len(self.units))
        return dict(zip(self.units, spent.tolist(), strict=True))


@dataclass(frozen=True)
class Bars:
    """Times at places, arrays of one length: whose token, whether of the prompt, from when to when.

    ``user`` and ``place`` are whole numbers, ``prompt`` is boolean, times are seconds.
    """

    user: np.ndarray
    prompt: np.ndarray
    place: np.ndarray
    start_s: np.ndarray
    end_s: np.ndarray


@dataclass(frozen=True)
class Flight:
    """Tokens of one or several users on their way through the layers.

    Time begins when the first token shown was issued, or a prompt token would have been if it had
    never waited: pipelined prompts queue at the first layer, before what is shown.

    Attributes
    ----------
    issue : ``serial`` or ``pipelined``.
    tokens : how many.
    prompt_interval_s : between the ends of prompt tokens, the median; None of a single one.
    spans : when the units of a layer are at work on a token without a pause; ``place`` is the
        layer, -1 before the first, ``layers`` behind the last.
    visits : of the units of layer ``layers // 2`` by the prompt tokens or, where none are shown, by
        each user's first decode token; ``place`` is the number of one of ``units``.
    """

    issue: str
    layers: int
    tokens: int
    prompt_interval_s: float | None
    spans: Bars
    units: tuple[str, ...]
    visits: Bars

    @property
    def span_s(self) -> float:
        """Until the end of the last token."""
        return float(self.spans.end_s.max())


@dataclass(frozen=True)
class Timeline:
    """What the two figures of tokens show.

    Attributes
    ----------
    tokens : without the adapter, and with it where there is one.
    flights : the same tokens in serial and in pipelined issue, with the adapter where there is one.
    own : the issue of the run.
    """

    tokens: tuple[Token, ...]
    flights: tuple[Flight, Flight]
    own: str

    @property
    def layer(self) -> int:
        """The layer that is shown enlarged: one in the middle, which is like all others."""
        return self.tokens[0].layers // 2

    @property
    def token_finding(self) -> str:
        """What the figure of one token shows, in one sentence."""
        alone, asked = self.tokens[0], self.tokens[-1]
        busy = alone.busy_s()
        unit = max(busy, key=lambda name: busy[name])
        said = f"A token takes {si(alone.token_s, 's', 4)}, {busy[unit] / alone.token_s:.0%} of it"
        said += f" in the {unit}"
        if len(self.tokens) == 1:
            return f"{said}."
        more = asked.token_s - alone.token_s
        if more <= 0:
            return f"{said}; no side path of {asked.name} ends after the ROM beside it."
        late = _outlasting(asked)
        waits = " and ".join(filter(None, (", ".join(late[:-1]), *late[-1:])))
        return f"{said}; {asked.name} adds {si(more, 's', 3)}, in which ROM waits for {waits}."

    @property
    def flight_finding(self) -> str:
        """What the figure of tokens in flight shows, in one sentence."""
        serial, pipelined = self.flights
        gain, every = serial.span_s / pipelined.span_s, pipelined.prompt_interval_s
        said = (
            f"The same {serial.tokens} tokens take {si(serial.span_s, 's', 3)} serial and "
            f"{si(pipelined.span_s, 's', 3)} pipelined, {gain:.1f} times as fast"
        )
        if int(serial.spans.user.max()):
            return f"{said}: tokens of different users follow each other."
        if every is None:
            return (
                "A decode token waits for the one before: after the prompt, pipelined issue gains "
                "one user nothing."
            )
        apart = f"every {si(every, 's', 3)}"
        return f"{said}: prompt tokens end {apart}, a decode token waits for the one before."

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; times in seconds."""
        return {
            "own": self.own,
            "tokens": [_plain(token) for token in self.tokens],
            "flights": [_plain(flight) for flight in self.flights],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Timeline:
        """What ``to_dict`` gave."""
        serial, pipelined = (
            Flight(
                **{**one, "units": tuple(one["units"])}
                | {name: Bars(**_arrays(one[name])) for name in ("spans", "visits")}
            )
            for one in data["flights"]
        )
        tokens = tuple(Token(**_arrays(one)) for one in data["tokens"])
        return cls(tokens, (serial, pipelined), data["own"])


def timeline(result: Result) -> Timeline:
    """Run the first tokens of a run again, in both kinds of issue, and say where they were when.

    The power limit is not applied to these times.
    """
    issues: tuple[Literal["serial", "pipelined"], ...] = ("serial", "pipelined")
    serial, pipelined = (_flight(record(result, issue=issue), issue) for issue in issues)
    loads = (False,) if result.adapter is None else (False, True)
    tokens = []
    for loaded in loads:
        name = result.adapter.adapter.name if result.adapter and loaded else "base"
        tokens.append(_token(record(result, users=1, loaded=loaded), name))
    return Timeline(tuple(tokens), (serial, pipelined), result.chip.datapath.issue)


def _token(recording: Recording, name: str) -> Token:
    """The last token of a recording of one user."""
    program = recording.program
    token = len(recording.start) - 1
    origin = int(recording.times.issued[token])
    kinds: dict[str, int] = {}
    places, rows = _places(recording), []
    for layer in np.unique(places).tolist():
        for unit, operation, start, end in _visited(recording, token, layer):
            kind = kinds.setdefault(unit, len(kinds))
            rows.append((kind, layer, operation, start - origin, end - origin))
    units, layers, operations, starts, ends = zip(*rows, strict=True)
    return Token(
        name=name,
        context=recording.context_of(token),
        layers=program.model.layers,
        units=tuple(kinds),
        unit=np.array(units),
        layer=np.array(layers),
        operation=operations,
        start_s=np.array(starts) / program.clock_hz,
        end_s=np.array(ends) / program.clock_hz,
    )


def _visited(recording: Recording, token: int, layer: int) -> list[tuple[str, str, int, int]]:
    """Kind of unit, operation, start and end in cycles of a token's visits in a layer."""
    program = recording.program
    found = []
    for stage in np.flatnonzero(_places(recording) == layer).tolist():
        for branch, number in enumerate((program.main_unit[stage], program.side_unit[stage])):
            # A side path with nothing to add only passes the token on.
            operation = "lora" if branch else program.operations[stage]
            idle = operation == "lora" and not program.adapters
            start = int(recording.start[token, stage, branch])
            if start >= 0 and not idle:
                end = int(recording.end[token, stage, branch])
                found.append((_kind(program.units[number]), operation, start, end))
    return found


def _flight(recording: Recording, issue: str) -> Flight:
    """The last prompt tokens and the first decode tokens of a recording, by layer."""
    program, start, end = recording.program, recording.start, recording.end
    # Where layers share their units, a prompt crowds all of them at once: no way to be seen.
    of_prompts = max(PROMPT_TOKENS // recording.users, 1) if program.distinct else 0
    tokens = recording.last(of_prompts, DECODE_TOKENS)
    in_prompt = np.array([recording.context_of(token) <= recording.prompt for token in tokens])
    unhindered = recording.times.done[tokens] - (end - start)[tokens].max(axis=2).sum(axis=1)
    origin = int(np.where(in_prompt, unhindered, recording.times.issued[tokens]).min())
    place = _places(recording)
    layer = program.model.layers // 2
    kinds: dict[str, int] = {}
    spans, visits = [], []
    for token, early in zip(tokens.tolist(), in_prompt.tolist(), strict=True):
        whose = (recording.user_of(token), early)
        for at in np.unique(place):
            times = np.stack([start[token, place == at], end[token, place == at]]).reshape(2, -1)
            for begin, stop in _joined(*times[:, times[1] > origin]):
                spans.append((*whose, at, begin - origin, stop - origin))
        if recording.context_of(token) > recording.prompt + (not of_prompts):
            continue
        for unit, _, begin, stop in _visited(recording, token, layer):
            kind = kinds.setdefault(unit, len(kinds))
            visits.append((*whose, kind, begin - origin, stop - origin))
    done = np.sort(recording.times.done[tokens[in_prompt]]) / program.clock_hz
    return Flight(
        issue=issue,
        layers=program.model.layers,
        tokens=len(tokens),
        prompt_interval_s=float(np.median(np.diff(done))) if len(done) > 1 else None,
        spans=_bars(spans, program.clock_hz),
        units=tuple(kinds),
        visits=_bars(visits, program.clock_hz),
    )


def _bars(rows: list[tuple[int, bool, int, int, int]], clock_hz: float) -> Bars:
    user, prompt, place, start, end = (np.array(column) for column in zip(*rows, strict=True))
    return Bars(user, prompt, place, start / clock_hz, end / clock_hz)


def _joined(start: np.ndarray, end: np.ndarray) -> list[tuple[int, int]]:
    """Times that overlap or touch, as one."""
    found: list[tuple[int, int]] = []
    for begin, stop in sorted(zip(start.tolist(), end.tolist(), strict=True)):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(stop, found[-1][1]))
        else:
            found.append((begin, stop))
    return found


def _places(recording: Recording) -> np.ndarray:
    """The layer of each stage: -1 before the first, as many as there are behind the last."""
    program = recording.program
    opened = np.maximum.accumulate(program.layer)
    return np.where(np.arange(program.stages) < program.body_stages, opened, program.model.layers)


def _kind(unit: str) -> str:
    """A unit's name in words, without its layer: ``rom.gate_up 3`` is the gate up ROM."""
    name = unit.rpartition(" ")[0] if unit.rpartition(" ")[2].isdigit() else unit
    kind, _, stage = name.partition(".")
    known = _UNITS.get(kind, kind)
    return known if stage in ("", kind, "sample") else f"{stage.replace('_', ' ')} {known}"


def _outlasting(token: Token) -> list[str]:
    """Kinds of side paths that end after the ROM pass beside them, or that stand behind it."""
    late: dict[str, None] = {}
    for visit in range(1, len(token.unit)):
        beside = token.start_s[visit - 1] == token.start_s[visit]
        last = beside and token.end_s[visit] <= token.end_s[visit - 1]
        if token.operation[visit] == "lora" and not last:
            late[token.units[token.unit[visit]]] = None
    return list(late)


def _plain(part: Token | Flight | Bars) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        if isinstance(value, Bars):
            return _plain(value)
        if isinstance(value, np.ndarray):
            # A picosecond is below any clock; more digits would only be text.
            return [round(v, 12) if isinstance(v, float) else v for v in value.tolist()]
        return list(value) if isinstance(value, tuple) else value

    return {name: plain(value) for name, value in vars(part).items()}


def _arrays(data: Mapping[str, Any]) -> dict[str, Any]:
    def array(name: str, value: Any) -> Any:
        if name in ("units", "operation"):
            return tuple(value)
        return np.array(value) if isinstance(value, list) else value

    return {name: array(name, value) for name, value in data.items()}
