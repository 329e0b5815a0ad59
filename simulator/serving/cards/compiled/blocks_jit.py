"""Prefix blocks in the SRAM of a card over arrays: the rules of ``prefix.PrefixCache``."""

from __future__ import annotations

from hardwire.simulator.serving.cards.compiled.access_jit import (
    block_at,
    card_at,
    inner,
    key_at,
    world_at,
)

NONE = -1
"""Also for the readers of a block that is not there."""


@inner
def match(s: int, number: int, begin: int, end: int) -> int:
    """How many of the leading blocks among some keys are on a card."""
    for place in range(begin, end):
        if block_at(s, number, key_at(s, place)).readers == NONE:
            return place - begin
    return end - begin


@inner
def idle_of(s: int, number: int, begin: int, end: int) -> int:
    """How many of some blocks are there and read by nobody."""
    count = 0
    for place in range(begin, end):
        count += block_at(s, number, key_at(s, place)).readers == 0
    return count


@inner
def _rest(s: int, number: int, key: int) -> None:
    """The block is the last used of those that nobody reads."""
    card, block = card_at(s, number), block_at(s, number, key)
    block.readers = 0
    block.previous, block.next = card.last_block, NONE
    if card.last_block == NONE:
        card.first_block = key
    else:
        block_at(s, number, card.last_block).next = key
    card.last_block = key
    card.idle_blocks += 1


@inner
def _take_out(s: int, number: int, key: int) -> None:
    card, block = card_at(s, number), block_at(s, number, key)
    if block.previous == NONE:
        card.first_block = block.next
    else:
        block_at(s, number, block.previous).next = block.next
    if block.next == NONE:
        card.last_block = block.previous
    else:
        block_at(s, number, block.next).previous = block.previous
    card.idle_blocks -= 1


@inner
def hold(s: int, number: int, begin: int, end: int) -> None:
    """Begin to read blocks that are there."""
    for place in range(begin, end):
        key = key_at(s, place)
        block = block_at(s, number, key)
        if block.readers == 0:
            _take_out(s, number, key)
        block.readers += 1


@inner
def release_and_keep(s: int, number: int, begin: int, shared: int, end: int) -> int:
    """End reading blocks up to place ``shared``; keep those from there on, as far as they are new.

    Returns how many are new.
    """
    for place in range(begin, shared):
        key = key_at(s, place)
        block_at(s, number, key).readers -= 1
        if block_at(s, number, key).readers == 0:
            _rest(s, number, key)
    new = 0
    for place in range(shared, end):
        key = key_at(s, place)
        if block_at(s, number, key).readers == NONE:
            _rest(s, number, key)
            new += 1
    return new


@inner
def drop_block(s: int, number: int) -> None:
    """Forget the block that has been idle longest."""
    card = card_at(s, number)
    key = card.first_block
    _take_out(s, number, key)
    block_at(s, number, key).readers = NONE
    card.kv_pages -= world_at(s, 0).block_pages
