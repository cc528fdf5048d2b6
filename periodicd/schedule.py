"""What a schedule is: the record that every store keeps. Values only; when it fires is calendar.py's."""

from typing import Any, Literal

from msgspec import Struct

from periodicd.calendar import Recurrence

Missed = Literal["skip", "once"]
Overlap = Literal["skip", "queue"]

MISSED_AFTER_MS = 60_000
"""An instant that the daemon comes to so late was missed."""


class Schedule(Struct, frozen=True):
    """protocol.md, set_schedule."""

    recurrence: Recurrence
    job: dict[str, Any]
    """As ``submit`` takes it, without its name: that of each occurrence is ``occurrence``."""
    jitter_ms: int = 0
    missed: Missed = "skip"
    """What becomes of instants that were."""
    overlap: Overlap = "skip"
    """What becomes of one at which the last occurrence is live."""
    paused: bool = False
    fired_at_ms: int = 0
    """Up to here all instants are dealt with: they only increase, so none is twice."""
    last_id: int = 0
    """Of the last occurrence. 0: there was none."""
