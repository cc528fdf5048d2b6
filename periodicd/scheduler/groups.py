"""Groups: jobs, and one that is parked until all of them have ended. The store counts them, and frees that one.

What memory knows is only that some group may be open, so that a step in which a job ended asks the store whether one
has finished. To believe in one that is not there does no harm.
"""

from collections.abc import Callable

from periodicd.job import Job
from periodicd.scheduler.step import Step
from periodicd.store import order


class Groups:
    def __init__(self, step: Step, are_open: bool) -> None:
        self._step = step
        self.are_open = are_open
        """Perhaps."""
        self._to_look = False
        self.enqueue: Callable[[Job], None]
        """To be set by whoever composes the parts: the job waits."""

    def may_have_finished(self) -> None:
        """Some job ended in this step."""
        self._to_look = True

    def ask(self) -> None:
        """Whose job goes free."""
        if self._to_look:
            self._to_look = False
            self._step.read(order.Freed(), self._on_freed)

    def _on_freed(self, freed: list[Job]) -> None:
        for job in freed:
            self.enqueue(job)
