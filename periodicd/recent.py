"""How long things took lately: percentiles over the last thousand. Counts only; the unit is the caller's."""

from collections import deque

KEPT = 1000


class Recent:
    __slots__ = ("_values", "count")

    def __init__(self) -> None:
        self.count = 0
        """Since the start."""
        self._values: deque[int] = deque(maxlen=KEPT)

    def note(self, value: int) -> None:
        self.count += 1
        self._values.append(value)

    def percentile(self, percent: int) -> int | None:
        """The smallest of the last values that ``percent`` of them do not exceed; None before the first."""
        ordered = sorted(self._values)
        return ordered[max(0, -(-len(ordered) * percent // 100) - 1)] if ordered else None
