"""Laws of a card's SRAM, over random sequences of what a card asks of it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from hardwire.simulator.serving.cards.record import Record
from hardwire.simulator.serving.cards.sram import Layout, Sram
from hardwire.simulator.serving.policies.prefix import Key
from hardwire.simulator.serving.policies.residency import make_residency

SIZES = [25, 40, 7, 60, 33]
NONE = -1
POOL = Layout(capacity=200, page_bytes=10, block_pages=2, sizes=SIZES)
SLOTS = dataclasses.replace(POOL, capacity=260, slots=2, slot_bytes=max(SIZES))
LAWS = examples(60)


@dataclasses.dataclass
class Stay:
    """What a request that is in holds."""

    adapter: int
    pages: int
    keys: tuple[Key, ...]
    shared: int


class Play:
    """A card that draws what it asks, and keeps accounts of its own."""

    def __init__(self, layout: Layout, policy: str, pinned: tuple[int, ...], seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.layout, self.pinned, self.record = layout, pinned, Record(0)
        residency = make_residency(policy, sizes=SIZES, load_time=[1.0] * len(SIZES))  # type: ignore[arg-type]
        self.fetched: list[int] = []
        self.sram = Sram(0, layout, residency, self._fetch, self.record, pinned)
        self.inside: dict[int, Stay] = {}
        self.now = self.requests = 0

    def _fetch(self, adapter: int, now: int) -> int:
        assert now == self.now and adapter not in self.sram.resident
        self.fetched.append(adapter)
        return now + int(self.rng.integers(0, 20))

    def request(self) -> Stay:
        """One that wants to be in."""
        adapter, story, blocks = (int(x) for x in self.rng.integers([-1, 0, 0], [len(SIZES), 2, 4]))
        keys = tuple((adapter, 10 * story + block) for block in range(blocks))
        pages = blocks * self.layout.block_pages + int(self.rng.integers(1, 5))
        return Stay(adapter, pages, keys, 0)

    def let_in(self, wanted: Stay) -> None:
        self.requests += 1
        place = self.sram.let_in(self.requests, wanted.adapter, wanted.pages, wanted.keys, self.now)
        assert place.usable >= self.now
        assert (place.hit == -1) == (wanted.adapter == NONE)
        assert place.hit != 1 or place.usable == self.now
        self.inside[self.requests] = dataclasses.replace(wanted, shared=place.blocks)

    def release(self, request: int) -> None:
        stay = self.inside.pop(request)
        keep = stay.keys if self.rng.integers(2) else ()
        self.sram.release(request, stay.pages, self.now, keep)

    def grow(self) -> None:
        """Pages reserved twice, of which the second counts, and handed to a request."""
        first, second = self.rng.integers(0, max(self.sram.free_pages(), 0) + 1, 2).tolist()
        self.sram.reserve(first)
        self.sram.reserve(second)
        self.sram.load_ahead({int(self.rng.integers(len(SIZES)))}, self.now)
        self.sram.take_reserved()
        self.inside[int(self.rng.choice(list(self.inside)))].pages += second

    def step(self) -> None:
        self.now += int(self.rng.integers(0, 10))
        match int(self.rng.integers(6)):
            case 0 | 1:
                wanted = self.request()
                if self.sram.admits(wanted.adapter, wanted.pages, wanted.keys):
                    self.let_in(wanted)
            case 2 if self.inside:
                self.release(int(self.rng.choice(list(self.inside))))
            case 3 if self.inside:
                self.grow()
            case 4:
                self.sram.load_ahead(set(self.rng.integers(-1, len(SIZES), 2).tolist()), self.now)
            case 5:
                pages = int(self.rng.integers(0, 12))
                assert self.sram.reclaim(pages, self.now) == (self.sram.free_pages() >= pages)

    def empty(self) -> None:
        """Everybody leaves, and all that nobody reads is put out."""
        for request in list(self.inside):
            self.release(request)
        self.sram.reclaim(self.layout.capacity, self.now)


@st.composite
def plays(draw: st.DrawFn, layouts: tuple[Layout, ...] = (POOL, SLOTS)) -> Play:
    pinned = draw(st.sampled_from([(), (2,), (0,)]))
    policy = draw(st.sampled_from(["lru", "lfu", "cost"]))
    return Play(draw(st.sampled_from(layouts)), policy, pinned, draw(st.integers(0, 2**32 - 1)))


steps = st.integers(1, 80)


@LAWS
@given(plays(), steps)
def test_never_over_capacity(play: Play, count: int) -> None:
    layout = play.layout
    for _ in range(count):
        play.step()
    _, _, pages, adapters = np.array(play.record.memory).reshape(-1, 4).T
    taken = np.maximum(adapters, layout.slots * layout.slot_bytes)
    assert (pages >= 0).all() and (adapters >= 0).all()
    assert (pages * layout.page_bytes + taken <= layout.capacity).all()
    assert 0 <= play.sram.free_pages() <= play.sram.most_pages()


@LAWS
@given(plays(), steps)
def test_what_is_pinned_or_read_is_never_evicted(play: Play, count: int) -> None:
    for _ in range(count):
        before = len(play.record.evictions)
        reading = {stay.adapter for stay in play.inside.values()}
        play.step()
        gone = set(play.record.evictions[before + 1 :: 3])
        assert not gone & set(play.pinned)
        # A step lets in or out one request: what is read before and after was read throughout.
        assert not gone & reading & {stay.adapter for stay in play.inside.values()}
        assert {stay.adapter for stay in play.inside.values()} - {NONE} <= set(play.sram.resident)


@LAWS
@given(plays(), steps)
def test_bytes_in_are_bytes_out_and_bytes_resident(play: Play, count: int) -> None:
    for _ in range(count):
        play.step()
        came = sum(SIZES[adapter] for adapter in (*play.pinned, *play.fetched))
        left = sum(SIZES[adapter] for adapter in play.record.evictions[1::3])
        assert came == left + play.sram.adapter_bytes
        assert play.sram.adapter_bytes == sum(SIZES[adapter] for adapter in play.sram.resident)


@LAWS
@given(plays(), steps)
def test_pages_taken_are_those_of_requests_and_of_kept_blocks(play: Play, count: int) -> None:
    blocks = play.layout.block_pages
    for _ in range(count):
        play.step()
        own = sum(stay.pages - stay.shared * blocks for stay in play.inside.values())
        kept = play.sram.pages - own
        shared = {key for stay in play.inside.values() for key in stay.keys[: stay.shared]}
        assert kept >= len(shared) * blocks and kept % blocks == 0
    play.empty()
    assert play.sram.pages == 0
    if not play.layout.slots:
        assert set(play.sram.resident) == set(play.pinned)


@LAWS
@given(plays(), steps)
def test_freeing_twice_is_refused_and_changes_nothing(play: Play, count: int) -> None:
    for _ in range(count):
        play.step()
    play.let_in(Stay(NONE, 0, (), 0))
    request = play.requests
    play.release(request)
    before = play.sram.pages, play.sram.free_pages(), dict(play.sram.resident)
    with pytest.raises(ValueError, match=f"request {request} holds nothing"):
        play.sram.release(request, 1, play.now)
    assert before == (play.sram.pages, play.sram.free_pages(), play.sram.resident)


@LAWS
@given(plays((SLOTS,)), steps)
def test_a_slot_belongs_to_one_adapter(play: Play, count: int) -> None:
    """Those resident are distinct, never more than the slots, and KV pages leave slots alone."""
    kv_pages = (SLOTS.capacity - SLOTS.slots * SLOTS.slot_bytes) // SLOTS.page_bytes
    for _ in range(count):
        play.step()  # a second load of a resident adapter would fail in Play._fetch
        assert len(play.sram.resident) <= SLOTS.slots
        assert play.sram.pages + play.sram.free_pages() == kv_pages


@LAWS
@given(plays(), steps, st.sets(st.integers(NONE, len(SIZES) - 1)))
def test_a_load_ahead_puts_out_nothing_that_is_wanted_soon(
    play: Play, count: int, soon: set[int]
) -> None:
    for _ in range(count):
        play.step()
    before, pages = set(play.sram.resident), play.sram.pages
    play.sram.load_ahead(soon, play.now)
    assert before & soon <= set(play.sram.resident)
    assert play.sram.pages == pages


@LAWS
@given(plays(), steps)
def test_who_is_not_admissible_is_refused(play: Play, count: int) -> None:
    for _ in range(count):
        play.step()
    wanted = play.request()
    if play.sram.admits(wanted.adapter, wanted.pages, wanted.keys):
        play.let_in(wanted)
        with pytest.raises(ValueError, match="is let in already"):
            play.sram.let_in(play.requests, wanted.adapter, 0, (), play.now)
    else:
        with pytest.raises(ValueError, match="without room for"):
            play.let_in(wanted)


@pytest.mark.parametrize("layout", [POOL, SLOTS], ids=["pool", "slots"])
def test_no_more_is_reserved_than_is_free(layout: Layout) -> None:
    play = Play(layout, "lru", (), 0)
    free = play.sram.free_pages()
    play.sram.reserve(free)
    assert play.sram.free_pages() == 0 and play.sram.pages == 0
    assert play.sram.admits(NONE, 0) and not play.sram.admits(NONE, 1)
    with pytest.raises(ValueError, match=f"{free + 1} pages are more than the {free} free ones"):
        play.sram.reserve(free + 1)


def test_the_border_moves_and_slots_do_not() -> None:
    pool, slots = (Play(layout, "lru", (), 0) for layout in (POOL, SLOTS))
    free = pool.sram.free_pages(), slots.sram.free_pages()
    for play in (pool, slots):
        play.sram.load_ahead({3}, 0)
    assert (pool.sram.free_pages(), slots.sram.free_pages()) == (free[0] - 6, free[1])
    assert pool.sram.most_pages() == free[0]
    assert pool.sram.reclaim(free[0], 1) and not pool.sram.resident


def test_prefix_blocks_go_before_idle_adapters() -> None:
    play = Play(POOL, "lru", (), 0)
    play.sram.let_in(1, 0, 4, (), 0)
    play.sram.release(1, 4, 1, ((0, 1), (0, 2)))
    assert play.sram.pages == 4 and 0 in play.sram.resident
    assert play.sram.reclaim(14, 2)
    assert play.sram.pages == 2 and 0 in play.sram.resident
    assert play.sram.reclaim(18, 3)
    assert play.sram.pages == 0 and 0 not in play.sram.resident


def test_blocks_that_others_read_were_never_spare() -> None:
    """A request that shares blocks in use found no room where there was some."""
    play = Play(POOL, "lru", (), 0)
    keys = ((NONE, 0), (NONE, 1))
    play.sram.let_in(1, NONE, 4, (), 0)
    play.sram.release(1, 4, 0, keys)
    play.sram.let_in(2, NONE, 4, keys, 0)  # reads both blocks
    assert play.sram.admits(NONE, 4 + play.sram.free_pages(), keys)
    assert not play.sram.admits(NONE, 5 + play.sram.free_pages(), keys)
