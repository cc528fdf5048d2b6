"""Deadlines: a heap of keys by time. Knows nothing of what the keys are, reads no clock.

Cancelled and moved entries stay in the heap until they surface; when they are the majority the heap is built anew, so
memory follows the live keys even if every lease is of an hour and every job of a millisecond.
"""

import heapq
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

_SLACK = 1024


class Deadlines(Generic[K]):
    def __init__(self) -> None:
        self._at: dict[K, int] = {}
        self._heap: list[tuple[int, int, K]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._at)

    def set(self, key: K, at_ms: int) -> None:
        """``key`` is due at ``at_ms``, whatever was said before."""
        if self._at.get(key) == at_ms:
            return
        self._at[key] = at_ms
        self._count += 1
        heapq.heappush(self._heap, (at_ms, self._count, key))
        if len(self._heap) > 2 * len(self._at) + _SLACK:
            self._heap = [entry for entry in self._heap if self._at.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)

    def discard(self, key: K) -> None:
        self._at.pop(key, None)

    def next_ms(self) -> int | None:
        """When the first key is due."""
        heap = self._heap
        while heap and self._at.get(heap[0][2]) != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def pop_due(self, now_ms: int) -> Iterator[K]:
        """Take out and yield every key that is due, earliest first; at the same time, the one set first."""
        while (at_ms := self.next_ms()) is not None and at_ms <= now_ms:
            key = heapq.heappop(self._heap)[2]
            del self._at[key]
            yield key
