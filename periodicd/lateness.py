"""How late jobs start: given out minus due, by function, over the last runs. Counts only."""

from collections import deque

RUNS_KEPT = 1000


class Lateness:
    __slots__ = ("_recent_ms", "started")

    def __init__(self) -> None:
        self.started = 0
        self._recent_ms: deque[int] = deque(maxlen=RUNS_KEPT)

    def note(self, late_ms: int) -> None:
        self.started += 1
        self._recent_ms.append(late_ms)

    def as_map(self) -> dict[str, int | None]:
        """The figures of protocol.md, status."""
        ordered = sorted(self._recent_ms)
        last = len(ordered) - 1
        return {
            "started": self.started,
            "lateness_p50_ms": ordered[last // 2] if ordered else None,
            "lateness_p99_ms": ordered[(last * 99 + 99) // 100] if ordered else None,
            "lateness_max_ms": ordered[-1] if ordered else None,
        }
