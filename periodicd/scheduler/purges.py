"""When dead jobs are forgotten: the old ones, and the oldest of too many, some at a time. Decides nothing else."""

from periodicd.scheduler.step import Step
from periodicd.store import ops

PURGE_MS = 600_000
PURGED_MAX = 1_000
PAUSE_MS = 20
"""When so many were forgotten at once there may be more, and others are to be served between."""


class Purges:
    """``kept_ms``, ``kept``: how long, and how many, dead jobs are kept at the most."""

    def __init__(self, step: Step, kept_ms: int, kept: int) -> None:
        self._step = step
        self._kept_ms = kept_ms
        self._kept = kept
        self._next_ms = step.now.mono_ms

    def advance(self) -> None:
        """Forget some, if it is time."""
        now = self._step.now
        if now.mono_ms >= self._next_ms:
            self._next_ms = now.mono_ms + PURGE_MS
            self._step.write(ops.Purge(now.wall_ms - self._kept_ms, self._kept, PURGED_MAX), self._on_purged)

    def _on_purged(self, count: int) -> None:
        if count == PURGED_MAX:
            self._next_ms = self._step.now.mono_ms + PAUSE_MS

    def next_ms(self) -> int:
        """In how many milliseconds ``advance`` has something to do."""
        return self._next_ms - self._step.now.mono_ms
