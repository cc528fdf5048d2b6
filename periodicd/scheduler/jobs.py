"""The records of jobs as they come, go and end: what the store answers, carried to the other parts.

A job that was put, or whose run ended, may wait now, or have taken another's place. Decides none of that: the store
says what was there, and ``ends`` what becomes of a run's job.
"""

from periodicd.job import Job, State
from periodicd.protocol import requests
from periodicd.scheduler import ends
from periodicd.scheduler.dispatch import Dispatch
from periodicd.scheduler.events import Died
from periodicd.scheduler.figures import Figures
from periodicd.scheduler.numbers import Numbers
from periodicd.scheduler.runs import Runs
from periodicd.scheduler.step import Step, Then
from periodicd.store import ops


class Jobs:
    def __init__(self, step: Step, numbers: Numbers, runs: Runs, dispatch: Dispatch, figures: Figures) -> None:
        self._step = step
        self._numbers = numbers
        self._runs = runs
        self._dispatch = dispatch
        self._figures = figures
        runs.on_ended = self._on_ended

    def put(self, submission: requests.Submission, then: Then[ops.PutResult]) -> None:
        put = self._new_put(submission)

        def on_put(result: ops.PutResult) -> None:
            self._was_put(put.job, result)
            then(result)

        self._step.write(put, on_put)

    def _new_put(self, submission: requests.Submission) -> ops.Put:
        """To be written by the caller, before anything else is."""
        job = submission.job
        job.id = self._numbers.new()
        self._runs.claim(job.key)
        return ops.Put(job, submission.existing)

    def follow_ons(self, outcome: requests.Outcome) -> tuple[ops.Put, ...]:
        return tuple(map(self._new_put, outcome.submit))

    def remove(
        self, func: str, name: str, job_id: int | None, state: State | None, then: Then[ops.RemoveResult]
    ) -> None:
        """``state``: only if it is in this one."""

        def on_removed(result: ops.RemoveResult) -> None:
            if result.id is not None:
                self.gone(result.id, "its job was removed")
            if result.successor is not None:
                self._dispatch.enqueue(result.successor)
            then(result)

        if state is not None:
            self._runs.claim((func, name))
        self._step.write(ops.Remove(func, name, self._step.now.wall_ms, job_id, state), on_removed)

    def requeue(self, func: str, name: str, job_id: int | None, then: Then[ops.RequeueResult]) -> None:
        def on_requeued(result: ops.RequeueResult) -> None:
            if result.job is not None and result.old_id is not None:
                self.gone(result.old_id, "its job was requeued")
                self._dispatch.enqueue(result.job)
            then(result)

        self._step.write(ops.Requeue(func, name, self._numbers.new(), self._step.now.wall_ms, job_id), on_requeued)

    def _was_put(self, job: Job, result: ops.PutResult) -> None:
        if result.old_id is not None:
            self.gone(result.old_id, "its job was replaced")
        if result.id == job.id:
            self._figures.count("submitted")
            if result.result != "queued_behind":
                self._dispatch.enqueue(job)

    def gone(self, job_id: int, why: str) -> None:
        """The record of a job that waited, ran or was dead."""
        self._dispatch.discard(job_id)
        self._runs.gone(job_id, why)

    def _on_ended(self, job: Job, how: ends.How | None, ending: ops.Ending, ended: ops.Ended) -> None:
        """The store has ended a run: its job waits again, or another takes its place, and what follows was put."""
        if isinstance(how, requests.Outcome):
            self._figures.count(how.outcome)
        elif isinstance(how, ends.RanOut):
            self._figures.count("failed")
        self._dispatch.discard(job.id)
        if ended.successor is not None:
            self._dispatch.enqueue(ended.successor)
        elif isinstance(ending, ops.Release):
            ends.carry_out(job, ending)
            self._dispatch.enqueue(job)
        elif isinstance(ending, ops.Bury) and job.state is not State.DEAD:
            history = ending.history
            self._step.tell(Died(job.func, job.name, history.attempt, history.failures, history.crashes))
        for put, result in zip(ending.end.follow_ons, ended.follow_ons, strict=True):
            if result is not None:
                self._was_put(put.job, result)
