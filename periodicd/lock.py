"""What is set of a lock. Values only; who holds it and who stands in line is the scheduler's."""

from msgspec import Struct

from periodicd.function import Rate


class Lock(Struct, frozen=True):
    """protocol.md, set_lock. A lock of which nothing is set is this."""

    capacity: int = 1
    """How much of it can be held at once."""
    rate: Rate | None = None
    """How often it is taken."""
    full_at_ns: int = 0
    """Of the rate, as a function's."""


NOTHING_SET = Lock()
