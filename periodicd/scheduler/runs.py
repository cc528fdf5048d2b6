"""The runs: who runs what, until when, and what the store knows of it. The one place where a run begins and ends.

A *run* is one attempt at a job by one worker. Its *lease* is only its time limit, by the monotonic clock: a stepped
wall clock neither ends nor prolongs it. Its *claim* is only the row that says that it runs, which may be written a
little later: a short job is finished before its claim was ever written. Before the store is asked anything about such
a job its claim is written (``claim``).

A run that was lost (its lease ran out, its connection ended) no longer holds its job, but its worker may yet report:
the handle counts until the job is given out again.
"""

from collections.abc import Callable

from periodicd.job import Job, State
from periodicd.protocol.requests import Outcome
from periodicd.scheduler import ends
from periodicd.scheduler.claims import Claims
from periodicd.scheduler.events import LeaseRanOut, WorkerLost
from periodicd.scheduler.in_progress import InProgress, Run, former
from periodicd.scheduler.locks import Locks
from periodicd.scheduler.numbers import Handles, job_of
from periodicd.scheduler.peers import Peer, Subscription
from periodicd.scheduler.performs import perform
from periodicd.scheduler.step import Step, Then
from periodicd.scheduler.timers import Deadlines
from periodicd.store import ops
from periodicd.store.ops import NO_FOLLOW_ONS, FollowOns

AFTER_GAP_MS = 1_000
"""After the process was suspended nobody is judged for so long: what was sent meanwhile is heard first."""


OnEnded = Callable[[Job, ends.How | None, ops.Ending, ops.Ended], None]
"""The store's answer to the end of a run: how it ended, or None if it had been counted before."""


class Runs:
    def __init__(self, step: Step, handles: Handles, claims: Claims, locks: Locks) -> None:
        self._step = step
        self._handles = handles
        self._claims = claims
        self._locks = locks
        self.on_ended: OnEnded
        """To be set by whoever composes the parts."""
        self.on_parts_lost: Callable[[Run, str], None]
        """Likewise: a broadcast is over before these."""
        self.in_progress = InProgress()
        self.requests: dict[Peer, dict[int, Run]] = {}
        """By the msgid of the ``perform`` that was not answered yet."""
        self._taken_over: dict[Peer, list[Run]] = {}
        self._late: dict[int, Run] = {}
        """By job: runs that ran out, of connected workers who have not answered. A report would still count."""
        self._leases: Deadlines[Run] = Deadlines()
        self._graces: Deadlines[Run] = Deadlines()
        """Until when a lost connection's run may still be reported."""
        self._judge_from_ms = step.now.mono_ms

    # -- beginning -----------------------------------------------------------------------------------------------------

    def recover(self, job: Job, grace_ms: int) -> None:
        """A job that ran when the daemon stopped: its worker has a while to come back or to report."""
        now = self._step.now
        run, ran_ms = former(job, now)
        self.in_progress.add(run)
        self._locks.uses.recover(job)
        if job.taken_ms and job.lease_until_at_ms is not None:
            run.lease_ms = job.taken_ms
            self._leases.set(run, now.mono_ms + max(0, job.lease_until_at_ms - (job.started_at_ms or 0) - ran_ms))
        else:
            # The parts of a broadcast had connections that are lost, and are not given out again.
            self._graces.set(run, now.mono_ms + (grace_ms if job.broadcast is None else 0))

    def begin(self, subscription: Subscription, job: Job) -> None:
        """The job is given to this worker. A lost run of it counts no more."""
        peer = subscription.peer
        run = self._begin(job, peer, job.lease_ms)
        msgid = subscription.take_room()
        self.requests[peer][msgid] = run
        perform(self._step, run, peer, msgid)

    def begin_taken(self, job: Job, lease_ms: int | None) -> Run:
        """The job is given to who asked for it, and the run is no connection's."""
        return self._begin(job, None, lease_ms or job.lease_ms)

    def begin_broadcast(self, job: Job) -> Run:
        """Its parts, which the caller gives out, are connections'."""
        run = self._begin(job, None, job.lease_ms)
        run.parts = {}
        return run

    def _begin(self, job: Job, peer: Peer | None, lease_ms: int) -> Run:
        late = self._late.get(job.id)
        if late is not None:
            self.tell_lost(late, "its job was given out again")
        now = self._step.now
        number, handle = self._handles.new(job.id)
        job.handle = handle
        job.attempt += 1
        job.state, job.started_at_ms = State.RUNNING, now.wall_ms
        job.taken_ms = lease_ms if peer is None and job.broadcast is None else 0
        run = Run(number, handle, job, peer, now.mono_ms)
        run.lease_ms = lease_ms
        if job.run_max_ms is not None:
            run.until_ms = now.mono_ms + job.run_max_ms
        self.in_progress.add(run)
        self._set_lease(run, lease_ms)
        self._claims.postpone(run)
        return run

    def _set_lease(self, run: Run, lease_ms: int) -> int:
        """Returns when it ends, by the wall clock: with the run's longest time at the latest."""
        now = self._step.now
        if run.until_ms is not None:
            lease_ms = max(0, min(lease_ms, run.until_ms - now.mono_ms))
        until_at_ms = run.job.lease_until_at_ms = now.wall_ms + lease_ms
        self._leases.set(run, now.mono_ms + lease_ms)
        return until_at_ms

    # -- finding -------------------------------------------------------------------------------------------------------

    def find(self, handle: str) -> Run | None:
        """The run in progress, or lost and not yet given out again, that this is the handle of."""
        run = self.in_progress.by_handle(handle)
        if run is None and (job_id := job_of(handle)) is not None:
            run = self._late.get(job_id)
        return run if run is not None and run.handle == handle else None

    def answered(self, peer: Peer, msgid: int) -> Run | None:
        """The run whose ``perform`` is answered now."""
        return self.requests[peer].pop(msgid, None)

    def has_taken_over(self, peer: Peer) -> bool:
        """Whether the connection runs what another was given."""
        return any(run.peer is peer and not run.ended for run in self._taken_over.get(peer, ()))

    # -- going on ------------------------------------------------------------------------------------------------------

    def extend(self, run: Run, lease_ms: int, then: Then[bool]) -> int:
        """The lease starts anew. Returns until when; ``then`` is told whether the store still has the run.

        The parts of a broadcast have one lease, which none of them makes shorter.
        """
        if run.job.broadcast is not None:
            lease_ms = max(lease_ms, (self._leases.get(run) or 0) - self._step.now.mono_ms)
        until_at_ms = self._set_lease(run, lease_ms)
        self._claims.write(run)
        self._step.write(ops.Extend(run.job.id, until_at_ms), then)
        return until_at_ms

    def take_over(self, run: Run, peer: Peer) -> None:
        """The run is this connection's from now on; it takes no room there."""
        run.peer = peer
        run.former = False
        others = [other for other in self._taken_over.get(peer, ()) if self._counts(other) and other is not run]
        self._taken_over[peer] = [*others, run]
        self._graces.discard(run)

    def _counts(self, run: Run) -> bool:
        """Whether a report of the run would."""
        return self.in_progress.by_handle(run.handle) is run or self._late.get(run.job.id) is run

    def claim(self, key: tuple[str, str]) -> None:
        """Before the store is asked about a job: if it runs, the store must know."""
        run = self.in_progress.of_key(key)
        if run is not None:
            self._claims.write(run)

    def claim_all(self) -> None:
        """All that were postponed, now."""
        self._claims.write_all()

    # -- ending --------------------------------------------------------------------------------------------------------

    def end(
        self, run: Run, how: ends.How, follow_ons: FollowOns = NO_FOLLOW_ONS, then: Then[ops.Ended] | None = None
    ) -> None:
        """The run stops counting. What depends on it is done in the store's answer."""
        handle = self._take_out(run)
        ending = ends.after(run.job, how, handle, self._step.now.wall_ms, follow_ons)
        self._write_end(run.job, how, ending, then)

    def report(self, run: Run, how: Outcome, follow_ons: FollowOns, then: Then[ops.Ended]) -> None:
        """Its worker says how it ended; perhaps late, when the run is already charged."""
        if not run.ended:
            self._claims.note(self._step.now.mono_ms - run.begun_ms)
            self.end(run, how, follow_ons, then)
            return
        self._forget_late(run)
        self.report_late(run.job.id, run.handle, how, follow_ons, then)

    def report_late(self, job_id: int, handle: str, how: Outcome, follow_ons: FollowOns, then: Then[ops.Ended]) -> None:
        """A report for a run that is over. It counts if it is the first and no later run was given out."""

        def on_fetched(job: Job | None) -> None:
            if job is None or job.handle != handle or job.state not in (State.WAITING, State.PARKED, State.DEAD):
                then(ops.Ended(False))
                return
            ending = ends.after_late(job, how, self._step.now.wall_ms, follow_ons)
            self._write_end(job, how if how.outcome == "done" else None, ending, then)

        if job_id in self.in_progress:
            then(ops.Ended(False))
        else:
            self._step.read(ops.Fetch(job_id), on_fetched)

    def stop(self, run: Run, how: Outcome, then: Then[ops.Ended] | None = None) -> None:
        """The run is ended by others than its worker, who is told. What it reports counts no more."""

        def on_ended(ended: ops.Ended) -> None:
            self.tell_lost(run, f"it was ended: {how.reason}")
            if then is not None:
                then(ended)

        self.end(run, how, then=on_ended)

    def gone(self, job_id: int, why: str) -> None:
        """The record of a job that waited, ran or was dead is. A run of it counts no more."""
        run = self.in_progress.of_job(job_id)
        if run is not None:
            self._take_out(run)
        late = run or self._late.get(job_id)
        if late is not None:
            self.tell_lost(late, why)

    def not_counted(self, run: Run, reporter: Peer, why: str) -> None:
        """A report of the run was refused. Its worker is told, unless it was the reporter, whom the refusal told."""
        if run.peer is not reporter:
            run.reported = False
            self.tell_lost(run, why)

    def _write_end(self, job: Job, how: ends.How | None, ending: ops.Ending, then: Then[ops.Ended] | None) -> None:
        def on_ended(ended: ops.Ended) -> None:
            if ended.found:
                self.on_ended(job, how, ending, ended)
            if then is not None:
                then(ended)

        self._step.write(ending, on_ended)

    def _take_out(self, run: Run) -> str | None:
        """Returns its handle if the store has it, or is asked to have it."""
        run.ended = True
        self.in_progress.remove(run)
        if run.job.locks is not None:
            self._locks.free(run.job)
        for part in run.parts.values():
            part.ended = True
        self._leases.discard(run)
        self._graces.discard(run)
        return None if self._claims.forget(run) else run.handle

    def tell_lost(self, run: Run, why: str) -> None:
        """The run no longer counts. Its worker is told once, and not if it has reported."""
        self._forget_late(run)
        if not run.lost and not run.reported:
            run.lost = True
            self._step.notice(run.peer, run.handle, "lost", f"this run no longer counts: {why}")
        if run.parts:
            self.on_parts_lost(run, why)

    def _forget_late(self, run: Run) -> None:
        if self._late.get(run.job.id) is run:
            del self._late[run.job.id]

    # -- connections ---------------------------------------------------------------------------------------------------

    def attach(self, peer: Peer) -> None:
        self.requests[peer] = {}

    def detach(self, peer: Peer) -> None:
        """The connection is gone. Its runs wait for their report, or are given out again at once.

        Those of one that fell silent wait for as long as their leases go: its process is alive, as far as its machine
        says, and code that holds the interpreter lets nobody ping.
        """
        requests, taken_over = self.requests.pop(peer), self._taken_over.pop(peer, [])
        mine = [run for run in dict.fromkeys((*requests.values(), *taken_over)) if run.peer is peer]
        open_ = [run for run in mine if not run.ended]
        if open_ and not peer.said_goodbye:
            self._step.tell(WorkerLost(peer, len(open_)))
        for run in mine:
            run.peer = None
            self._forget_late(run)
        for run in open_:
            run.alone = len(open_) == 1
            if peer.said_goodbye:
                self.end(run, ends.Returned())
            elif peer.fell_silent:
                continue
            elif peer.disconnect_grace_ms:
                self._graces.set(run, self._step.now.mono_ms + peer.disconnect_grace_ms)
            else:
                self.end(run, ends.Lost(run.alone))

    # -- time ----------------------------------------------------------------------------------------------------------

    def was_suspended(self) -> None:
        """The process stood still. What was sent to it meanwhile is heard before anyone is judged."""
        self._judge_from_ms = self._step.now.mono_ms + AFTER_GAP_MS

    def advance(self) -> None:
        """End what ran out of time, and write the claims that were postponed long enough."""
        mono_ms = self._step.now.mono_ms
        if mono_ms >= self._judge_from_ms:
            for run in self._leases.pop_due(mono_ms):
                self._run_out(run)
            for run in self._graces.pop_due(mono_ms):
                self.end(run, ends.CutOff() if run.former else ends.Lost(run.alone))
        self._claims.advance()

    def _run_out(self, run: Run) -> None:
        job = run.job
        if run.until_ms is not None and run.until_ms <= self._step.now.mono_ms:
            self.stop(run, Outcome("failed", f"it ran for longer than its run_max_ms, {job.run_max_ms:,}"))
            return
        self._step.tell(LeaseRanOut(run.peer, job.func, job.name, run.number, run.lease_ms))

        def on_ended(ended: ops.Ended) -> None:
            if job.broadcast is not None:
                self.tell_lost(run, "the lease of its broadcast ran out")
            elif not ended.found or ended.behind is not None:
                self.tell_lost(run, "a newer job has taken its place")
            elif run.peer is not None:
                # The handle stays: the worker's own report is better than none, until the job is given out again.
                self._late[job.id] = run

        self.end(run, ends.RanOut(), then=on_ended)

    def next_ms(self) -> int | None:
        """In how many milliseconds ``advance`` has something to do."""
        ends_at_ms = [at_ms for at_ms in (self._leases.next_ms(), self._graces.next_ms()) if at_ms is not None]
        waits = [max(at_ms, self._judge_from_ms) - self._step.now.mono_ms for at_ms in ends_at_ms]
        claim_ms = self._claims.next_ms()
        return min(waits + ([] if claim_ms is None else [claim_ms]), default=None)
