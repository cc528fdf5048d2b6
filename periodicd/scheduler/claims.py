"""Claims that are not written yet: rows that say that a job runs. A short job is done before its claim was written.

Before the store is asked anything about such a job its claim must be; whoever asks sees to that.
"""

from periodicd.scheduler.in_progress import Run
from periodicd.scheduler.step import Step
from periodicd.store import ops


class Claims:
    """Those that are not written yet: rows that say that a job runs, ``delay_ms`` after it was given out."""

    def __init__(self, step: Step, delay_ms: int) -> None:
        self._step = step
        self._delay_ms = delay_ms
        self._by_ms: dict[Run, int] = {}
        """When each must be written at the latest; oldest first."""

    def postpone(self, run: Run) -> None:
        self._by_ms[run] = self._step.now.mono_ms + self._delay_ms

    def forget(self, run: Run) -> bool:
        """Whether it was not written yet; now it will not be."""
        return self._by_ms.pop(run, None) is not None

    def write(self, run: Run) -> None:
        """Now, unless it was."""
        if self.forget(run):
            job = run.job
            assert job.lease_until_at_ms is not None
            assert job.started_at_ms is not None
            self._step.write(
                ops.Claim(job.id, run.handle, job.attempt, job.lease_until_at_ms, job.started_at_ms, job.taken)
            )

    def write_all(self) -> None:
        for run in list(self._by_ms):
            self.write(run)

    def advance(self) -> None:
        """Write those that were postponed long enough."""
        while self._by_ms:
            run, by_ms = next(iter(self._by_ms.items()))
            if by_ms > self._step.now.mono_ms:
                return
            self.write(run)

    def next_ms(self) -> int | None:
        """In how many milliseconds ``advance`` has something to do."""
        by_ms = next(iter(self._by_ms.values()), None)
        return None if by_ms is None else by_ms - self._step.now.mono_ms
