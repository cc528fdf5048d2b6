"""Jobs that end since they have not begun by their time: when the store is to be asked for them.

What memory knows is only when the first may be. Between that and the end of its row such a job is given out no more:
dispatch.py looks for itself.
"""

from collections.abc import Callable

from periodicd.scheduler.step import Step
from periodicd.store import order

EXPIRED_A_STEP = 100
"""The rest waits for the next one."""


class Expiry:
    def __init__(self, step: Step, first_at_ms: int | None) -> None:
        self._step = step
        self._at_ms = first_at_ms
        """When the next one is, if any; by the wall clock."""
        self.on_expired: Callable[[order.Expired], None]
        """To be set by whoever composes the parts: the job has ended."""

    def note(self, at_ms: int) -> None:
        """A job was put that can.

        One that has is not left for the next step: if the clock were set back before that, it would wait and not be
        given out.
        """
        is_asked = self._at_ms is not None and self._at_ms <= self._step.now.wall_ms
        self._at_ms = at_ms if self._at_ms is None else min(self._at_ms, at_ms)
        if not is_asked:
            self.advance()

    def advance(self) -> None:
        now_ms = self._step.now.wall_ms
        if self._at_ms is not None and self._at_ms <= now_ms:
            self._step.write(order.Expire(now_ms, EXPIRED_A_STEP), self._on_result)

    def _on_result(self, result: order.ExpireResult) -> None:
        for expired in result.ended:
            self.on_expired(expired)
        self._at_ms = result.next_at_ms

    def next_ms(self) -> int | None:
        """In how many milliseconds ``advance`` has something to do. A stepped wall clock is the caller's care."""
        return None if self._at_ms is None else self._at_ms - self._step.now.wall_ms
