"""What is set of a function: how many of its jobs may run, how often, how many may be there, and what they say if their
submit does not. Values, and when a rate lets the next run begin: pure, no clock.
"""

from typing import Any

from msgspec import Struct

from periodicd.retry import Retry

MS_NS = 1_000_000


class Rate(Struct, frozen=True):
    """So many runs begin in so long.

    Counted by GCRA (ITU-T I.371): one number, the time at which all that was allowed would have begun had each run
    waited for its turn. It may be ahead of now by ``per_ms``: after a quiet time ``count`` runs may begin at once.
    """

    count: int
    per_ms: int

    @property
    def each_ns(self) -> int:
        """A run's share of the time."""
        return self.per_ms * MS_NS // self.count

    def opens_at_ms(self, full_at_ns: int) -> int:
        """When the next run may begin."""
        return -(-(full_at_ns + self.each_ns - self.per_ms * MS_NS) // MS_NS)

    def begun(self, full_at_ns: int, now_ms: int) -> int:
        """``full_at_ns`` after one more has begun now."""
        return max(full_at_ns, now_ms * MS_NS) + self.each_ns

    def as_map(self) -> dict[str, int]:
        return {"count": self.count, "per_ms": self.per_ms}


class Function(Struct, frozen=True):
    """protocol.md, set_function. None: not set."""

    paused: bool = False
    running_max: int | None = None
    rate: Rate | None = None
    queue_max: int | None = None
    lease_ms: int | None = None
    retry: Retry | None = None
    result_ms: int | None = None
    full_at_ns: int = 0
    """Of the rate. By the wall clock, so that it counts after a restart."""

    def as_map(self) -> dict[str, Any]:
        """What was set, as ``set_function`` takes it."""
        said = {
            "running_max": self.running_max,
            "rate": self.rate and self.rate.as_map(),
            "queue_max": self.queue_max,
            "lease_ms": self.lease_ms,
            "retry": self.retry and self.retry.as_map(),
            "result_ms": self.result_ms,
        }
        return {name: value for name, value in said.items() if value is not None}


NOTHING_SET = Function()
