"""Entries by their order, least first. Knows nothing of what they are.

Most come in order: due times of jobs that are due at once, ends of leases that are all as long. Those stand in a queue,
whose first costs nothing to take out; only the others are sifted through a heap.
"""

import heapq
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, Generic, TypeVar

E = TypeVar("E", bound=tuple[Any, ...])


class Ordered(Generic[E]):
    def __init__(self) -> None:
        self._queue: deque[E] = deque()
        self._heap: list[E] = []

    def __len__(self) -> int:
        return len(self._queue) + len(self._heap)

    def __iter__(self) -> Iterator[E]:
        """In any order."""
        return chain(self._queue, self._heap)

    def add(self, entry: E) -> None:
        if not self._queue or self._queue[-1] <= entry:
            self._queue.append(entry)
        else:
            heapq.heappush(self._heap, entry)

    def fill(self, entries: Iterable[E]) -> None:
        """In place of what is there."""
        self._queue, self._heap = deque(sorted(entries)), []

    def first(self) -> E | None:
        queue, heap = self._queue, self._heap
        if heap and not (queue and queue[0] <= heap[0]):
            return heap[0]
        return queue[0] if queue else None

    def drop_first(self) -> None:
        queue, heap = self._queue, self._heap
        if heap and not (queue and queue[0] <= heap[0]):
            heapq.heappop(heap)
        else:
            queue.popleft()
