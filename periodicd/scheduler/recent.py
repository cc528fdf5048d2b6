"""How long things took lately: percentiles over the last one to two thousand. Counts only; the unit is the caller's.

A histogram and not the values themselves: noting one costs the same however many there were, and to answer is to walk
over some dozens of buckets. Values up to 63 have a bucket each, larger ones 32 to every power of two, so that a
percentile is too high by a thirty-second at the most.
"""

KEPT = 1000
_FINE = 5
"""2^5 buckets to every power of two."""


class Recent:
    __slots__ = ("_before", "_buckets", "_noted", "count")

    def __init__(self) -> None:
        self.count = 0
        """Since the start."""
        self._noted = 0
        self._buckets: dict[int, int] = {}
        self._before: dict[int, int] = {}
        """The thousand before those in ``_buckets``."""

    def note(self, value: int) -> None:
        """``value`` is 0 or more."""
        self.count += 1
        if self._noted == KEPT:
            self._before, self._buckets, self._noted = self._buckets, {}, 0
        self._noted += 1
        if value > 63:
            shift = value.bit_length() - _FINE - 1
            value = (shift << _FINE) + (value >> shift)
        self._buckets[value] = self._buckets.get(value, 0) + 1

    def percentiles(self, *percents: int) -> tuple[int | None, ...]:
        """For each of ``percents``, ascending: what so many of the last values do not exceed. None before the first."""
        counts = self._before.copy()
        for bucket, count in self._buckets.items():
            counts[bucket] = counts.get(bucket, 0) + count
        total = sum(counts.values())
        if not total:
            return (None,) * len(percents)
        found = []
        seen = largest = 0
        buckets = iter(sorted(counts))
        for percent in percents:
            while seen < -(-total * percent // 100):
                bucket = next(buckets)
                seen += counts[bucket]
                largest = _largest_of(bucket)
            found.append(largest)
        return tuple(found)


def _largest_of(bucket: int) -> int:
    """The largest value of a bucket."""
    shift = max(0, (bucket >> _FINE) - 1)
    return (((bucket - (shift << _FINE)) + 1) << shift) - 1
