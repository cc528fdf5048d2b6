"""When what is kept of jobs that ended is forgotten: what is old, and what is too much, some at a time.

The dead, and the endings that jobs asked to have kept. Decides nothing else.
"""

from periodicd.scheduler.settings import Settings
from periodicd.scheduler.step import Step
from periodicd.store import ops

PURGE_MS = 600_000
PURGED_MAX = 1_000
PAUSE_MS = 20
"""When so many were forgotten at once there may be more, and others are to be served between."""
ENDED_MAX = 1_000
RESULTS_BYTES_MAX = 8 * 1024 * 1024
"""After so many more endings, or bytes of results, it is looked whether they are too much."""


class Purges:
    def __init__(self, step: Step, settings: Settings) -> None:
        self._step = step
        self._settings = settings
        self._dead_ms = self._endings_ms = step.now.mono_ms
        self._ended = self._results_bytes = 0
        """Since it was last looked."""

    def note(self, data_bytes: int = 0) -> None:
        """An ending may be kept now."""
        self._ended += 1
        self._results_bytes += data_bytes
        if self._ended >= ENDED_MAX or self._results_bytes >= RESULTS_BYTES_MAX:
            self._forget_endings()

    def advance(self) -> None:
        """Forget some, if it is time."""
        mono_ms = self._step.now.mono_ms
        if mono_ms >= self._dead_ms:
            self._forget_dead()
        if mono_ms >= self._endings_ms:
            self._forget_endings()

    def _forget_dead(self) -> None:
        settings, now = self._settings, self._step.now
        self._dead_ms = now.mono_ms + PURGE_MS

        def on_purged(count: int) -> None:
            if count == PURGED_MAX:
                self._dead_ms = self._step.now.mono_ms + PAUSE_MS

        self._step.write(ops.Purge(now.wall_ms - settings.dead_kept_ms, settings.dead_kept, PURGED_MAX), on_purged)

    def _forget_endings(self) -> None:
        settings, now = self._settings, self._step.now
        self._endings_ms = now.mono_ms + PURGE_MS
        self._ended = self._results_bytes = 0

        def on_forgotten(count: int) -> None:
            if count == PURGED_MAX:
                self._endings_ms = self._step.now.mono_ms + PAUSE_MS

        op = ops.Forget(now.wall_ms, settings.results_kept, settings.results_bytes, PURGED_MAX)
        self._step.write(op, on_forgotten)

    def next_ms(self) -> int:
        """In how many milliseconds ``advance`` has something to do."""
        return min(self._dead_ms, self._endings_ms) - self._step.now.mono_ms
