"""Records and arrays of the state by its address, for compiled code.

Compiled functions take the address of a table of addresses, one per array of ``State``. Passing the
arrays themselves made each function take more than a hundred numbers, and compiling them minutes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import carray, from_dtype, types  # type: ignore[attr-defined]
from numba.extending import intrinsic

from hardwire.kernels.jit import inner_numpy
from hardwire.simulator.serving.cards.compiled import state
from hardwire.simulator.serving.cards.compiled.state import State

inner = inner_numpy

_WORD = ir.IntType(64)


def _address(builder: Any, s: Any, name: str) -> Any:
    """The address of one array, from the table."""
    place = builder.add(s, _WORD(8 * State._fields.index(name)))
    return builder.load(builder.inttoptr(place, _WORD.as_pointer()))


def _record(name: str, dtype: np.dtype[Any]) -> Any:
    """A function of the table's address and an index: the record there, to read and to change."""
    kind = from_dtype(dtype)

    @intrinsic
    def at(typing: Any, s: Any, index: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            shift = builder.mul(args[1], _WORD(dtype.itemsize))
            place = builder.add(_address(builder, args[0], name), shift)
            return builder.inttoptr(place, context.get_value_type(kind))

        return kind(types.int64, types.int64), code

    return at


def _record_of_card(name: str, dtype: np.dtype[Any], width: str) -> Any:
    """The same of an array by card and one index more, of as many as a field of the world says."""
    kind, field = from_dtype(dtype), 8 * state.WORLD.names.index(width)  # type: ignore[union-attr]

    @intrinsic
    def at(typing: Any, s: Any, number: Any, index: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            counted = builder.add(_address(builder, args[0], "world"), _WORD(field))
            row = builder.mul(args[1], builder.load(builder.inttoptr(counted, _WORD.as_pointer())))
            shift = builder.mul(builder.add(row, args[2]), _WORD(dtype.itemsize))
            place = builder.add(_address(builder, args[0], name), shift)
            return builder.inttoptr(place, context.get_value_type(kind))

        return kind(types.int64, types.int64, types.int64), code

    return at


def _pointer(name: str) -> Any:
    """A function of the table's address and a place among int64: a pointer there."""

    @intrinsic
    def at(typing: Any, s: Any, index: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            place = builder.add(_address(builder, args[0], name), builder.mul(args[1], _WORD(8)))
            return builder.inttoptr(place, context.get_value_type(types.voidptr))

        return types.voidptr(types.int64, types.int64), code

    return at


def _reader(name: str) -> Any:
    """A function of the table's address and a place among int64: what is there."""

    @intrinsic
    def read(typing: Any, s: Any, index: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            place = builder.add(_address(builder, args[0], name), builder.mul(args[1], _WORD(8)))
            return builder.load(builder.inttoptr(place, _WORD.as_pointer()))

        return types.int64(types.int64, types.int64), code

    return read


def _writer(name: str) -> Any:
    """A function of the table's address, a place among int64, and what it puts there."""

    @intrinsic
    def write(typing: Any, s: Any, index: Any, value: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            place = builder.add(_address(builder, args[0], name), builder.mul(args[1], _WORD(8)))
            builder.store(args[2], builder.inttoptr(place, _WORD.as_pointer()))
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, types.int64), code

    return write


def _server() -> Any:
    """A function of an address and an index: the address of one of the tables listed there."""

    @intrinsic
    def at(typing: Any, f: Any, index: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            place = builder.add(args[0], builder.mul(args[1], _WORD(8)))
            return builder.load(builder.inttoptr(place, _WORD.as_pointer()))

        return types.int64(types.int64, types.int64), code

    return at


server_at = _server()
fleet_at = _record("fleet", state.FLEET)
world_at = _record("world", state.WORLD)
request_at = _record("requests", state.REQUEST)
card_at = _record("cards", state.CARD)
adapter_at = _record("adapters", state.ADAPTER)
user_at = _record("users", state.USER)
line_at = _record("lines", state.LINE)
here_at = _record_of_card("here", state.HERE, "adapters")
block_at = _record_of_card("blocks", state.BLOCK, "kinds")

_backlog, _users, _costs = _pointer("backlog"), _pointer("users"), _pointer("costs")
_rises = _pointer("rises")
_user_word, _put_user_word = _reader("users"), _writer("users")
taken_word, put_taken_word = _reader("taken"), _writer("taken")
soon_at, put_soon = _reader("soon"), _writer("soon")
first_key, key_at = _reader("first_key"), _reader("keys")
_loads, put_load = _pointer("loads"), _writer("loads")
put_event_word = _writer("events")
_waits, _put_waits = _reader("waits"), _writer("waits")
_least, _put_least = _reader("least"), _writer("least")


@inner
def place_of(s: int, which: int, number: int) -> int:
    """Where a card's table begins, for ``user_at``."""
    world = world_at(s, 0)
    return (which * world.cards + number) * world.users


@inner
def backlog(s: int) -> Any:
    """(cards,) int64, as ``State`` says."""
    return carray(_backlog(s, 0), (world_at(s, 0).cards,), np.int64)


@inner
def loads(s: int) -> Any:
    """(servers,) int64, as ``State`` says."""
    return carray(_loads(s, 0), (fleet_at(s, 0).servers,), np.int64)


@inner
def table(s: int, which: int, number: int) -> Any:
    """(users, TABLE_COLUMNS) int64, one of a card's tables."""
    place = place_of(s, which, number) * state.TABLE_COLUMNS
    return carray(_users(s, place), (world_at(s, 0).users, state.TABLE_COLUMNS), np.int64)


@inner
def costs(s: int, which: int) -> Any:
    """(R, C + 1) int64, one of the tables of tokens."""
    world = world_at(s, 0)
    place = which * world.rows * world.contexts
    return carray(_costs(s, place), (world.rows, world.contexts), np.int64)


@inner
def waits_at(s: int, number: int, group: int) -> int:
    """Bits of the requests of a group that wait at a card."""
    return int(_waits(s, number * world_at(s, 0).groups + group))


@inner
def put_waits(s: int, number: int, group: int, bits: int) -> None:
    """Change them."""
    _put_waits(s, number * world_at(s, 0).groups + group, bits)


@inner
def least_at(s: int, number: int, group: int) -> int:
    """What none of these needs less than."""
    return int(_least(s, number * world_at(s, 0).groups + group))


@inner
def put_least(s: int, number: int, group: int, need: int) -> None:
    """Change it."""
    _put_least(s, number * world_at(s, 0).groups + group, need)


@inner
def rises(s: int) -> Any:
    """(R,) bool, as ``State`` says."""
    return carray(_rises(s, 0), (world_at(s, 0).rows,), np.bool_)


@inner
def copy_users(s: int, begin: int, to: int, count: int) -> None:
    """Rows of tables from one place to another before or apart from it, first to last."""
    shift = (to - begin) * state.TABLE_COLUMNS
    for i in range(begin * state.TABLE_COLUMNS, (begin + count) * state.TABLE_COLUMNS):
        _put_user_word(s, i + shift, _user_word(s, i))
