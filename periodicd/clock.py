"""The two clocks. The core never reads a clock: it is given a ``Now``.

``wall_ms`` decides when jobs are due and is what people see; it may be stepped. ``mono_ms`` measures leases, graces and
time-outs; it never goes back.
"""

import time
from typing import NamedTuple


class Now(NamedTuple):
    wall_ms: int
    """Milliseconds since the Unix epoch, rounded down: a job due at t is never started while the clock shows less."""
    mono_ms: int
    """Milliseconds of a clock that only goes forward; its zero means nothing."""


def system_now() -> Now:
    return Now(time.time_ns() // 1_000_000, time.monotonic_ns() // 1_000_000)
