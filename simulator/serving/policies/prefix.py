"""KV pages of prompt prefixes, kept after their request for later ones of the same adapter.

A block is 512 prompt tokens; its key is the adapter and the hash of the text up to its end. Keys
hold the adapter because K and V depend on it: reading another adapter's pages gives wrong answers.
"""

from __future__ import annotations

from collections.abc import Iterable

Key = tuple[int, int]


class PrefixCache:
    """Blocks in order of last use, each with the number of requests that are reading it."""

    __slots__ = ("_idle", "_readers")

    def __init__(self) -> None:
        self._readers: dict[Key, int] = {}
        self._idle: dict[Key, None] = {}  # in order of last use

    def __len__(self) -> int:
        return len(self._readers)

    @property
    def idle(self) -> int:
        """Blocks that nobody reads, which can be dropped."""
        return len(self._idle)

    def match(self, keys: Iterable[Key]) -> int:
        """How many of the leading blocks are here."""
        count = 0
        for key in keys:
            if key not in self._readers:
                break
            count += 1
        return count

    def idle_of(self, keys: Iterable[Key]) -> int:
        """How many of some blocks are here and read by nobody."""
        return sum(key in self._idle for key in keys)

    def hold(self, keys: Iterable[Key]) -> None:
        """Begin to read blocks that are here."""
        for key in keys:
            self._readers[key] += 1
            self._idle.pop(key, None)

    def release(self, keys: Iterable[Key]) -> None:
        """End reading them."""
        for key in keys:
            self._readers[key] -= 1
            if not self._readers[key]:
                self._idle[key] = None

    def insert(self, keys: Iterable[Key]) -> int:
        """Keep blocks of a request that ends; how many of them are new."""
        new = 0
        for key in keys:
            if key not in self._readers:
                self._readers[key] = 0
                self._idle[key] = None
                new += 1
        return new

    def drop(self) -> None:
        """Forget the block that has been idle longest."""
        key = next(iter(self._idle))
        del self._idle[key]
        del self._readers[key]
