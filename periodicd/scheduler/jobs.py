"""The records of jobs as they come, go and end: what the store answers, carried to the other parts.

A job that was put, or whose run ended, may wait now, or have taken another's place. Decides none of that: the store
says what was there, and ``ends`` what becomes of a run's job.
"""

from typing import Literal

from periodicd.job import EXPIRED, Job, State
from periodicd.protocol import requests
from periodicd.protocol.order import Group
from periodicd.schedule import Schedule
from periodicd.scheduler import ends
from periodicd.scheduler.dispatch import Dispatch
from periodicd.scheduler.event_ring import EventRing
from periodicd.scheduler.events import Died
from periodicd.scheduler.expiry import Expiry
from periodicd.scheduler.figures import Figures
from periodicd.scheduler.functions import Functions
from periodicd.scheduler.groups import Groups
from periodicd.scheduler.locks import Locks
from periodicd.scheduler.numbers import Numbers
from periodicd.scheduler.purges import Purges
from periodicd.scheduler.runs import Runs
from periodicd.scheduler.step import Step, Then
from periodicd.scheduler.watches import Watches
from periodicd.store import ops, order


class Jobs:
    def __init__(
        self,
        step: Step,
        numbers: Numbers,
        runs: Runs,
        dispatch: Dispatch,
        watches: Watches,
        ring: EventRing,
        purges: Purges,
        figures: Figures,
        functions: Functions,
        locks: Locks,
        groups: Groups,
        expiry: Expiry,
    ) -> None:
        self._step = step
        self._numbers = numbers
        self._runs = runs
        self._dispatch = dispatch
        self._watches = watches
        self._ring = ring
        self._purges = purges
        self._figures = figures
        self._functions = functions
        self._locks = locks
        self._groups = groups
        self._expiry = expiry
        expiry.on_expired = self._expired
        runs.on_ended = self._on_ended

    def put(self, submission: requests.Submission, then: Then[ops.PutResult]) -> None:
        put = self._limited_put(submission)

        def on_put(result: ops.PutResult) -> None:
            self._was_put(put.job, result)
            then(result)

        self._step.write(put, on_put)

    def _limited_put(self, submission: requests.Submission) -> ops.Put:
        """Unlike a follow-on it may be "full"."""
        function = self._functions.known.get(submission.job.func)
        return self._new_put(submission, None if function is None else function.queue_max)

    def _new_put(self, submission: requests.Submission, queue_max: int | None = None) -> ops.Put:
        """To be written by the caller, before anything else is."""
        job = submission.job
        job.id = self._numbers.new()
        self._runs.claim(job.key)
        return ops.Put(job, submission.existing, queue_max)

    def put_group(self, group: Group, then: Then[order.PutGroupResult]) -> None:
        first, puts = self._limited_put(group.then), tuple(map(self._limited_put, group.jobs))

        def on_put(result: order.PutGroupResult) -> None:
            self._group_was_put(first.job, result)
            for put, each in zip(puts, result.jobs, strict=bool(result.jobs)):
                self._was_put(put.job, each)
            then(result)

        self._step.write(order.PutGroup(first, puts, group.sealed), on_put)

    def fire(
        self,
        name: str,
        schedule: Schedule,
        submission: requests.Submission,
        unless_live: int | None,
        then: Then[ops.PutResult | None],
    ) -> None:
        """An occurrence of a schedule."""
        put = self._limited_put(submission)

        def on_fired(result: ops.PutResult | None) -> None:
            if result is not None:
                self._was_put(put.job, result)
            then(result)

        self._step.write(order.Fire(name, schedule, put, unless_live), on_fired)

    def follow_ons(self, outcome: requests.Outcome) -> ops.FollowOns:
        then = None if outcome.then is None else self._new_put(outcome.then)
        return ops.FollowOns(tuple(map(self._new_put, outcome.submit)), then)

    def remove(
        self, func: str, name: str, job_id: int | None, state: State | None, then: Then[ops.RemoveResult]
    ) -> None:
        """``state``: only if it is in this one."""

        def on_removed(result: ops.RemoveResult) -> None:
            for gone_id in result.gone:
                self.gone(gone_id, (func, name), "removed")
            if result.behind is not None:
                self._takes_its_place(result.behind)
            then(result)

        self._runs.claim((func, name))
        self._step.write(ops.Remove(func, name, self._step.now.wall_ms, job_id, state), on_removed)

    def requeue(self, func: str, name: str, job_id: int | None, then: Then[ops.RequeueResult]) -> None:
        def on_requeued(result: ops.RequeueResult) -> None:
            if result.job is not None and result.old_id is not None:
                self.gone(result.old_id, (func, name), "requeued")
                self._dispatch.enqueue(result.job)
            then(result)

        self._step.write(ops.Requeue(func, name, self._numbers.new(), self._step.now.wall_ms, job_id), on_requeued)

    def cancel(self, op: ops.Cancel, then: Then[ops.CancelResult]) -> None:
        def on_cancelled(result: ops.CancelResult) -> None:
            for gone_id in result.gone:
                self.gone(gone_id, (op.func, op.name), "cancelled", op.reason or None)
            run = None if result.asked is None else self._runs.in_progress.of_job(result.asked)
            if run is not None:
                for each in run.of_peers():
                    self._step.notice(each.peer, each.handle, "cancel", op.reason)
            then(result)

        running = self._runs.in_progress.of_key((op.func, op.name))
        if running is not None and op.id in (None, running.job.id) and op.state in (None, State.RUNNING):
            # At once: it may end in this very step, before the store has answered.
            running.job.cancelled = op.reason
        self._runs.claim((op.func, op.name))
        self._step.write(op, on_cancelled)

    def move(self, op: ops.Move, then: Then[ops.MoveResult]) -> None:
        def on_moved(result: ops.MoveResult) -> None:
            job = result.job
            if job is not None and job.state is State.WAITING:
                self._waits_no_more(job.id)
                self._dispatch.enqueue(job)
            then(result)

        self._runs.claim((op.func, op.name))
        self._step.write(op, on_moved)

    def _was_put(self, job: Job, result: ops.PutResult | order.PutGroupResult, is_group: bool = False) -> None:
        """``is_group``: it does not wait yet."""
        if result.old_id is not None:
            self.gone(result.old_id, job.key, "replaced")
        if result.id != job.id:
            return
        if job.expires_at_ms is not None:
            self._expiry.note(job.expires_at_ms)
        self._figures.count("submitted", job.func)
        if self._ring.is_on:
            self._ring.note("submitted", job.func, name=job.name, id=job.id, text=result.result)
        if result.result != "queued_behind" and not is_group:
            self._dispatch.enqueue(job)

    def _group_was_put(self, job: Job, result: ops.PutResult | order.PutGroupResult) -> None:
        """Or one of its name is open. Its members may have ended already."""
        if result.id == job.id:
            self._groups.are_open = True
        self._was_put(job, result, is_group=True)
        self._groups.may_have_finished()

    def gone(
        self,
        job_id: int,
        key: tuple[str, str],
        how: Literal["removed", "replaced", "requeued", "cancelled"],
        reason: str | None = None,
    ) -> None:
        """The record of a job in any state is."""
        if self._ring.is_on:
            self._ring.note(how, key[0], name=key[1], id=job_id, text=reason)
            run = self._runs.in_progress.of_job(job_id)
            if run is not None:
                self._ring.note_locks("lock_freed", run.job)
        self._waits_no_more(job_id)
        self._runs.gone(job_id, f"its job was {how}")
        if how != "requeued":
            self._watches.gone(job_id, how, reason)
            self._purges.note()

    def _takes_its_place(self, behind: Job) -> None:
        """It was behind, and waits now, unless its group is open."""
        if behind.state is State.WAITING:
            self._dispatch.enqueue(behind)

    def _expired(self, expired: order.Expired) -> None:
        job_id, func, name = expired
        if self._ring.is_on:
            self._ring.note("expired", func, name=name, id=job_id)
        self._waits_no_more(job_id)
        self._watches.gone(job_id, "expired", EXPIRED)
        self._purges.note()

    def _waits_no_more(self, job_id: int) -> None:
        """Or not as it was."""
        self._dispatch.discard(job_id)
        if self._groups.are_open:
            self._groups.may_have_finished()
        if self._locks.lines:
            self._locks.may_have_left = True

    def _on_ended(self, job: Job, how: ends.How | None, ending: ops.Ending, ended: ops.Ended) -> None:
        """The store has ended a run: its job waits again, or another takes its place, and what follows was put."""
        if isinstance(how, requests.Outcome) and job.broadcast is None:
            self._figures.count(how.outcome, job.func)
            self._figures.note_report(job.func, self._step.now.wall_ms - (job.started_at_ms or 0))
        elif isinstance(how, ends.RanOut):
            # Of a broadcast those that were reported, or are lost, were counted before.
            self._figures.count("failed", job.func, 1 if job.broadcast is None else job.broadcast.open)
            self._figures.note_lost(job.func)
        elif isinstance(how, ends.Lost):
            self._figures.note_lost(job.func)
        self._waits_no_more(job.id)
        if self._ring.is_on:
            self._note_end(job, how, ending, ended)
        if ended.behind is not None:
            self._takes_its_place(ended.behind)
        elif isinstance(ending, ops.Release):
            ends.carry_out(job, ending)
            self._dispatch.enqueue(job)
        elif isinstance(ending, ops.Bury) and job.state is not State.DEAD:
            history = ending.history
            self._step.tell(Died(job.func, job.name, history.attempt, history.failures, history.crashes))
        if ending.end.kept is not None:
            self._purges.note(ending.end.kept.end.data_bytes)
        if job.id in self._watches.tails:
            if isinstance(ending, ops.Release) and ended.behind is None:
                self._watches.waits_again(job)
            else:
                self._watches.ended(ends.last(job, how, ending))
        if ended.follow_ons or ended.then is not None:
            self.follow(ending.end, ended)

    def follow(self, end: ops.End, ended: ops.Ended) -> None:
        """The follow-ons of a run that was found were put."""
        for put, result in zip(end.follow_ons, ended.follow_ons, strict=True):
            if result is not None:
                self._was_put(put.job, result)
        if end.then is not None and ended.then is not None:
            self._group_was_put(end.then.job, ended.then)

    def _note_end(self, job: Job, how: ends.How | None, ending: ops.Ending, ended: ops.Ended) -> None:
        """A run did, and perhaps the job with it."""
        self._ring.note_locks("lock_freed", job)
        about = {"name": job.name, "id": job.id, "run": job.run}
        if job.broadcast is not None:
            self._ring.note("done", job.func, text=job.broadcast.result().decode(), **about)
            return
        if isinstance(how, requests.Outcome):
            self._ring.note(how.outcome, job.func, text=how.reason or None, **about)
        elif how is not None:
            self._ring.note("lost", job.func, text=ends.why_lost(how), **about)
        match ending:
            case ops.Bury():
                self._ring.note("dead", job.func, text=ending.history.reason, **about)
            case ops.Delete(_, "cancelled"):
                self._ring.note("cancelled", job.func, text=job.cancelled, **about)
            case ops.Release() if ended.behind is not None:
                self._ring.note("replaced", job.func, **about)
