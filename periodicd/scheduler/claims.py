"""Claims that are not written yet: rows that say that a job runs. A short job is done before its claim was written.

Before the store is asked anything about such a job its claim must be; whoever asks sees to that.
"""

from periodicd.scheduler.in_progress import Run
from periodicd.scheduler.step import Step
from periodicd.store import ops


class Claims:
    """Those that are not written yet: rows that say that a job runs.

    A run that ends first costs no claim, so one is written only after twice the time that runs take lately, though not
    before ``delay_ms``. Where that would be more than ``delay_max_ms`` waiting saves nothing, and ``delay_ms`` it is.
    """

    def __init__(self, step: Step, delay_ms: int, delay_max_ms: int) -> None:
        self._step = step
        self._least_ms = delay_ms
        self._most_ms = delay_max_ms
        self._usual_ms = 0.0
        """What a run took lately, from its begin to its report: a mean in which the last sixteen count most."""
        self._begun_ms: dict[Run, int] = {}
        """When each began; oldest first."""

    @property
    def delay_ms(self) -> int:
        """How long after its begin a run's claim is written now."""
        wanted_ms = int(2 * self._usual_ms)
        return self._least_ms if wanted_ms > self._most_ms else max(self._least_ms, wanted_ms)

    def note(self, took_ms: int) -> None:
        """A run was reported so long after it began."""
        self._usual_ms += (took_ms - self._usual_ms) / 16

    def postpone(self, run: Run) -> None:
        """Unless it holds locks: after a restart it is known who does. Or it could expire, or is a broadcast: the store
        must know that it has begun.
        """
        self._begun_ms[run] = run.begun_ms
        job = run.job
        has_begun = job.broadcast is not None or (job.expires_at_ms is not None and job.attempt == 1)
        if job.locks is not None or has_begun:
            self.write(run)

    def forget(self, run: Run) -> bool:
        """Whether it was not written yet; now it will not be."""
        return self._begun_ms.pop(run, None) is not None

    def write(self, run: Run) -> None:
        """Now, unless it was."""
        if self.forget(run):
            job = run.job
            assert job.lease_until_at_ms is not None
            assert job.started_at_ms is not None
            self._step.write(
                ops.Claim(job.id, run.handle, job.attempt, job.lease_until_at_ms, job.started_at_ms, job.taken_ms)
            )

    def write_all(self) -> None:
        for run in list(self._begun_ms):
            self.write(run)

    def advance(self) -> None:
        """Write those that were postponed long enough."""
        begun_before_ms = self._step.now.mono_ms - self.delay_ms
        while self._begun_ms:
            run, begun_ms = next(iter(self._begun_ms.items()))
            if begun_ms > begun_before_ms:
                return
            self.write(run)

    def next_ms(self) -> int | None:
        """In how many milliseconds ``advance`` has something to do."""
        begun_ms = next(iter(self._begun_ms.values()), None)
        return None if begun_ms is None else begun_ms + self.delay_ms - self._step.now.mono_ms
