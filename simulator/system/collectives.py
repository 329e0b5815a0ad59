"""Collectives of a group of dies: who sends what to whom so that a vector is where it is needed.

A vector has a *layout*: each die of the group has a range of it, whole or as one of several partial
sums. What follows needs ranges of whole sums on some dies. All collectives are ways from a layout
to what is needed: a reduce has partial sums and needs them on one die, an all-reduce on all; a
gather has ranges and needs all of them on one die, an all-gather on all; a scatter has all on one
die. Each is some rounds of messages; the messages of a round are sent at once, each over the links
of its route.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hardwire.models.system.placement import Stage
from hardwire.models.system.slices import grid_of, kv_parts

Range = tuple[int, int]
NOTHING: Range = (0, 0)

Message = tuple[int, int, int]
"""Places of sender and receiver in the group, and elements."""

Round = tuple[Message, ...]


@dataclass(frozen=True)
class Layout:
    """Where a vector is: by the place of a die in its group.

    Attributes
    ----------
    ranges : what the die has, first element and the one behind the last.
    parts : the numbers of the partial sums that are in it; dies with the same have copies.
    """

    ranges: tuple[Range, ...]
    parts: tuple[frozenset[int], ...]

    @classmethod
    def whole(cls, width: int, dies: int) -> Layout:
        """A copy of all on each die."""
        return cls(((0, width),) * dies, (frozenset({0}),) * dies)

    @property
    def is_partial(self) -> bool:
        """Whether any range is held as partial sums."""
        return len(set(self.parts)) > 1


def cut(width: int, number: int, count: int) -> Range:
    """Part ``number`` of ``count`` parts that are as equal as can be."""
    return width * number // count, width * (number + 1) // count


def made_by(stage: Stage, matrix: str, width: int) -> Layout:
    """Where the outputs of a matrix are, by how the group cuts it."""
    dies = range(len(stage.dies))
    inputs, outputs = grid_of(stage, matrix)
    ranges = tuple(cut(width, _of(stage, matrix, die)[1], outputs) for die in dies)
    parts = tuple(frozenset({_of(stage, matrix, die)[0] if inputs > 1 else 0}) for die in dies)
    return Layout(ranges, parts)


def needed_by(stage: Stage, matrix: str, width: int) -> tuple[Range, ...]:
    """Which of its inputs each die's part of a matrix takes."""
    inputs, _ = grid_of(stage, matrix)
    return tuple(
        cut(width, _of(stage, matrix, die)[0] if inputs > 1 else 0, inputs)
        for die in range(len(stage.dies))
    )


def _of(stage: Stage, matrix: str, die: int) -> tuple[int, int]:
    """Number of a die's part of the inputs of a matrix, and of its outputs."""
    inputs, outputs = grid_of(stage, matrix)
    if inputs == outputs == 1:
        return 0, 0
    if stage.split_of(matrix) != "grid":
        return (die, 0) if inputs > 1 else (0, die)
    row, column = divmod(die, stage.columns)
    return (column, row) if _turned(matrix) else (row, column)


def _turned(matrix: str) -> bool:
    return matrix == "o" or matrix.endswith("down")


def heads_at(stage: Stage, width: int, layer: int) -> tuple[Range, ...]:
    """Which part of queries, or of what attention gives, each die of a group works on."""
    dies = range(len(stage.dies))
    if stage.kv == "layer":
        at = (layer - stage.layers.start) % len(stage.dies)
        return tuple((0, width) if die == at else NOTHING for die in dies)
    heads, _ = kv_parts(stage)
    of = {"head": lambda die: die, "grid": lambda die: die % stage.columns}
    number = of.get(stage.kv, lambda die: 0)
    return tuple(cut(width, number(die), heads) for die in dies)


def turn_of(stage: Stage, die: int) -> int:
    """Which of the positions modulo their parts a die keeps keys and values of."""
    _, positions = kv_parts(stage)
    if positions == 1:
        return 0
    return die if stage.kv == "position" else die // stage.columns


Hops = Callable[[int, int], int]
"""Links on the way between the dies at two places of a group."""


def ways(
    stage: Stage,
    layout: Layout,
    needed: Sequence[Range],
    hops: Hops,
    collective: str = "direct",
) -> list[Round]:
    """Rounds of messages from a layout to what is needed.

    An all-reduce is one round of ``direct`` messages, ``2 (m - 1)`` round a ``ring`` of ``m`` dies,
    or the two of ``scatter``.

    Where a group is a grid, sums are first formed along its rows and then along its columns, so
    that nothing is sent to a die that is in neither.
    """
    columns, rows = stage.columns, stage.rows
    grid = columns > 1 and rows > 1
    groups = [[range(row * columns, (row + 1) * columns) for row in range(rows)]]
    if grid:
        groups.append([range(column, rows * columns, columns) for column in range(columns)])
    rounds: list[Round] = []
    for number, lines in enumerate(groups):
        last = number + 1 == len(groups)
        if last and collective == "direct":
            break
        sets = [team for line in lines for team in _teams(line, layout, needed)]
        if sets:
            rounds += _all_reduce(layout, sets, collective)
            layout = _summed(layout, sets)
    if collective == "ring" and not grid and _is_gather(layout, needed):
        rounds += _round_the_ring(layout)
    elif final := _direct(layout, needed, hops):
        rounds.append(final)
    return rounds


def _teams(line: range, layout: Layout, needed: Sequence[Range]) -> list[list[int]]:
    """Dies of a line that have partial sums of one range and all need the whole of it."""
    found: dict[Range, list[int]] = {}
    for die in line:
        have, want = layout.ranges[die], needed[die]
        if have != NOTHING and want[0] <= have[0] and have[1] <= want[1]:
            found.setdefault(have, []).append(die)
    return [
        team
        for have, team in found.items()
        if len({layout.parts[die] for die in team}) == len(team) > 1
        and len(team) == sum(layout.ranges[die] == have for die in line)
    ]


def _summed(layout: Layout, teams: Sequence[Sequence[int]]) -> Layout:
    parts = list(layout.parts)
    for team in teams:
        union = frozenset().union(*(layout.parts[die] for die in team))
        for die in team:
            parts[die] = union
    return Layout(layout.ranges, tuple(parts))


def _all_reduce(layout: Layout, teams: Sequence[Sequence[int]], collective: str) -> list[Round]:
    """Rounds after which each die of a team has the sum of its range; teams work side by side."""

    def widths(team: Sequence[int]) -> list[int]:
        begin, end = layout.ranges[team[0]]
        parts = (cut(end - begin, number, len(team)) for number in range(len(team)))
        return [high - low for low, high in parts]

    def pairs(team: Sequence[int]) -> list[tuple[int, int]]:
        size = len(team)
        return [(a, b) for a in range(size) for b in range(size) if a != b]

    if collective == "direct":
        return [
            tuple((team[a], team[b], sum(widths(team))) for team in teams for a, b in pairs(team))
        ]
    if collective == "scatter":
        scatter = [(team[a], team[b], widths(team)[b]) for team in teams for a, b in pairs(team)]
        gather = [(team[a], team[b], widths(team)[a]) for team in teams for a, b in pairs(team)]
        return [_sent(scatter), _sent(gather)]
    longest = max(len(team) for team in teams)
    return [
        _sent(
            [
                (team[a], team[(a + 1) % len(team)], widths(team)[(a - step) % len(team)])
                for team in teams
                if step < 2 * (len(team) - 1)
                for a in range(len(team))
            ]
        )
        for step in range(2 * (longest - 1))
    ]


def _is_gather(layout: Layout, needed: Sequence[Range]) -> bool:
    """Whether every die has a range of its own and needs all of them."""
    ranges = layout.ranges
    alone = len(set(ranges)) == len(ranges) > 1 and not layout.is_partial
    return alone and len(set(needed)) == 1 and needed[0] == (min(ranges)[0], max(ranges)[1])


def _round_the_ring(layout: Layout) -> list[Round]:
    """An all-gather: what a die has heard last, it passes on."""
    dies = len(layout.ranges)
    widths = [end - begin for begin, end in layout.ranges]
    return [
        _sent([(die, (die + 1) % dies, widths[(die - step) % dies]) for die in range(dies)])
        for step in range(dies - 1)
    ]


def _direct(layout: Layout, needed: Sequence[Range], hops: Hops) -> Round:
    """Each die gets what it lacks, every partial sum from the nearest die that has it."""
    dies = len(layout.ranges)
    ends = sorted({end for one in (*layout.ranges, *needed) for end in one})
    total: dict[tuple[int, int], int] = {}
    for low, high in itertools.pairwise(ends):
        holders = [
            die for die in range(dies) if layout.ranges[die][0] <= low < layout.ranges[die][1]
        ]
        for die in range(dies):
            if not needed[die][0] <= low < needed[die][1]:
                continue
            own = layout.parts[die] if die in holders else frozenset[int]()
            near = functools.partial(_near, hops, dies, die)
            for sender in _senders(holders, layout.parts, own, near):
                total[sender, die] = total.get((sender, die), 0) + high - low
    return _sent([(sender, die, count) for (sender, die), count in sorted(total.items())])


def _near(hops: Hops, dies: int, receiver: int, sender: int) -> tuple[int, int]:
    return hops(sender, receiver), (sender - receiver) % dies


def _senders(
    holders: Sequence[int],
    parts: Sequence[frozenset[int]],
    own: frozenset[int],
    near: Callable[[int], tuple[int, int]],
) -> list[int]:
    """The nearest dies whose partial sums together make what is missing."""
    missing = frozenset().union(*(parts[die] for die in holders)) - own
    found = []
    for die in sorted(holders, key=near):
        if parts[die] <= missing:
            found.append(die)
            missing -= parts[die]
    return found


def _sent(messages: Sequence[Message]) -> Round:
    return tuple(message for message in messages if message[2] > 0)


def to_dies(
    senders: Sequence[str], receivers: Sequence[str], hops: Callable[[str, str], int]
) -> Mapping[str, str]:
    """From which of some dies that have a vector each other die gets it: the nearest."""
    return {
        die: min(senders, key=lambda sender: (hops(sender, die), senders.index(sender)))
        for die in receivers
        if die not in senders
    }
