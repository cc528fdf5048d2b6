"""What the two clocks say when they are compared: the process stood still, or the wall clock was stepped back."""

from periodicd.clock import Now

STEP_MS = 1_000
"""A wall clock that is behind by so much was stepped back. By less, it is being adjusted."""
GAP_MS = 10_000
"""Steps are a second apart at the most: after a longer gap the process or the machine was suspended."""


class Clocks:
    def __init__(self, now: Now) -> None:
        self._before = now
        self._lead_ms = now.wall_ms - now.mono_ms
        """The most that the wall clock was ahead of the monotonic one since it was last stepped back."""
        self.was_suspended = False
        self.stepped_back_ms = 0
        """Since the last look, or 0."""

    def look(self, now: Now) -> None:
        self.was_suspended = now.mono_ms - self._before.mono_ms > GAP_MS
        self._before = now
        lead_ms = now.wall_ms - now.mono_ms
        lag_ms = self._lead_ms - lead_ms
        self.stepped_back_ms = lag_ms if lag_ms >= STEP_MS else 0
        self._lead_ms = lead_ms if self.stepped_back_ms else max(self._lead_ms, lead_ms)
