"""Laws of the lines that move adapters, and of host memory with the disk behind it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hardwire.simulator.serving.cards.link import HostMemory, Line

SIZES = [5, 3, 8, 2, 30]
READS = [50, 30, 80, 20, 300]
CAPACITY = 12

transfers = st.lists(
    st.tuples(st.integers(0, 12), st.integers(1, 9), st.integers(0, 25)), min_size=1, max_size=25
)
"""Ticks since the one before, ticks that it takes, ticks until its bytes are there."""


def sent(rows: list[tuple[int, int, int]]) -> tuple[Line, list[tuple[int, int, int]]]:
    """A line that has sent them, and (earliest begin, begin, end) of each."""
    line, now, found = Line(), 0, []
    for gap, ticks, wait in rows:
        now += gap
        begin = line.send(now, ticks, now + wait if wait else 0)
        found.append((now + wait, begin, begin + ticks))
    return line, found


@given(transfers)
def test_b3_one_transfer_at_a_time(rows) -> None:
    _, found = sent(rows)
    spans = sorted((begin, end) for _, begin, end in found)
    assert all(end <= begin for (_, end), (begin, _) in pairwise(spans))


@given(transfers)
def test_none_begins_before_it_is_asked_for_or_its_bytes_are_there(rows) -> None:
    _, found = sent(rows)
    assert all(begin >= earliest for earliest, begin, _ in found)


@given(transfers)
def test_busy_time_is_that_of_all_transfers(rows) -> None:
    line, found = sent(rows)
    assert line.busy == sum(ticks for _, ticks, _ in rows)
    assert line.busy <= max(end for _, _, end in found) - min(begin for _, begin, _ in found)


@given(transfers)
def test_b3_bandwidth_is_conserved_and_no_free_time_is_passed_over(rows) -> None:
    """In every tick at most one transfer; and none has begun later than it could have."""
    _, found = sent(rows)
    carried = np.zeros(max(end for _, _, end in found), dtype=int)
    for earliest, begin, end in found:
        ticks = end - begin
        could = [t for t in range(earliest, begin) if not carried[t : t + ticks].any()]
        assert not could
        carried[begin:end] += 1
    assert carried.max() == 1 and carried.sum() == sum(ticks for _, ticks, _ in rows)


@given(transfers)
def test_those_that_are_ready_go_in_the_order_of_asking(rows) -> None:
    _, found = sent([(gap, ticks, 0) for gap, ticks, _ in rows])
    free = 0
    for asked, begin, end in found:
        assert begin == max(asked, free)
        free = end


def test_one_that_waits_for_its_bytes_leaves_the_line_to_others() -> None:
    line = Line()
    assert line.send(0, 10, ready=100) == 100
    assert line.send(1, 40) == 1
    assert line.send(2, 60) == 110  # longer than what is free before 100
    assert line.send(3, 59) == 41
    assert line.send(4, 1) == 170


def test_b2_an_adapter_is_in_host_memory_when_the_disk_has_read_it() -> None:
    """Two cards want the same one a tick apart: neither gets it before it is read, once."""
    host = HostMemory(CAPACITY, SIZES, READS, warm=False)
    assert [host.fetch(0, now) for now in (0, 1, 49, 50, 70)] == [50, 50, 50, 50, 70]
    assert host.disk.busy == READS[0]


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, len(SIZES) - 1)), max_size=40))
def test_host_memory_keeps_the_last_used_and_reads_what_it_has_not(rows) -> None:
    host = HostMemory(CAPACITY, SIZES, READS, warm=False)
    now, reads, free_at = 0, 0, 0
    here: dict[int, int] = {}  # in order of last use
    for gap, adapter in rows:
        now += gap
        ready = host.fetch(adapter, now)
        if adapter in here:
            assert ready == max(now, here[adapter])
            here[adapter] = here.pop(adapter)
        else:
            free_at = max(now, free_at) + READS[adapter]
            assert ready == free_at
            reads += READS[adapter]
            if SIZES[adapter] <= CAPACITY:
                while sum(SIZES[a] for a in here) + SIZES[adapter] > CAPACITY:
                    del here[next(iter(here))]
                here[adapter] = ready
        assert host.disk.busy == reads


def test_a_warm_host_has_the_first_adapters_that_fit() -> None:
    host = HostMemory(CAPACITY, SIZES, READS, warm=True)
    assert [host.fetch(adapter, 1) for adapter in (0, 1, 2)] == [1, 1, 1 + READS[2]]
