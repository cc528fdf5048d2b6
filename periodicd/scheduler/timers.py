"""Deadlines: keys by time. Knows nothing of what the keys are, reads no clock.

Cancelled and moved entries stay in the order until they surface; when they are the majority it is made anew, so memory
follows the live keys even if every lease is of an hour and every job of a millisecond.
"""

from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

from periodicd.scheduler.ordered import Ordered

K = TypeVar("K", bound=Hashable)

_SLACK = 1024


class Deadlines(Generic[K]):
    def __init__(self) -> None:
        self._at: dict[K, int] = {}
        self._order: Ordered[tuple[int, int, K]] = Ordered()
        self._count = 0

    def __len__(self) -> int:
        return len(self._at)

    def __iter__(self) -> Iterator[K]:
        return iter(self._at)

    def set(self, key: K, at_ms: int) -> None:
        """``key`` is due at ``at_ms``, whatever was said before."""
        if self._at.get(key) == at_ms:
            return
        self._at[key] = at_ms
        self._count += 1
        self._order.add((at_ms, self._count, key))
        if len(self._order) > 2 * len(self._at) + _SLACK:
            self._order.fill([entry for entry in self._order if self._at.get(entry[2]) == entry[0]])

    def get(self, key: K) -> int | None:
        """When it is due, if it is there."""
        return self._at.get(key)

    def discard(self, key: K) -> None:
        self._at.pop(key, None)

    def next_ms(self) -> int | None:
        """When the first key is due."""
        while self._at and (first := self._order.first()) is not None:
            at_ms, _, key = first
            if self._at.get(key) == at_ms:
                return at_ms
            self._order.drop_first()
        return None

    def pop_due(self, now_ms: int) -> Iterator[K]:
        """Take out and yield every key that is due, earliest first; at the same time, the one set first."""
        while (at_ms := self.next_ms()) is not None and at_ms <= now_ms:
            first = self._order.first()
            assert first is not None
            self._order.drop_first()
            del self._at[first[2]]
            yield first[2]
