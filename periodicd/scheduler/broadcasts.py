"""Broadcasts: jobs that have a run on every connection of their function, busy or not, each reported by itself.

The job as a whole is one run, of nobody, with a part for each connection; it takes no room, of a connection or of its
function. It is over when each part was reported or is lost, when its lease is, or with the life of the daemon: then it
is done, whatever became of the parts, and how many of them were what is its result. Nothing is run again.

Waiting broadcasts are on disk only, in no window; memory knows when the first of each function is due. None begins
soon after a start, so that the workers of the life before can come back.
"""

from functools import partial
from typing import Literal

from periodicd.job import Broadcast, Job
from periodicd.protocol.requests import DONE, Outcome
from periodicd.scheduler import ends
from periodicd.scheduler.connections import Connections
from periodicd.scheduler.event_ring import EventRing
from periodicd.scheduler.figures import Figures
from periodicd.scheduler.functions import Functions
from periodicd.scheduler.in_progress import Run
from periodicd.scheduler.jobs import Jobs
from periodicd.scheduler.numbers import Handles, job_of
from periodicd.scheduler.peers import Peer
from periodicd.scheduler.performs import perform
from periodicd.scheduler.runs import Runs
from periodicd.scheduler.step import Step, Then
from periodicd.scheduler.timers import Deadlines
from periodicd.scheduler.watches import Watches
from periodicd.store import ops, order

Reported = Literal["done", "failed"]

BROADCASTS_A_STEP = 16
"""The rest waits for the next one."""


class Broadcasts:
    """``waits_ms``: how long after the start none begins; ``first_due``: the waiting ones, by function."""

    def __init__(
        self,
        step: Step,
        waits_ms: int,
        first_due: dict[str, int],
        handles: Handles,
        connections: Connections,
        runs: Runs,
        jobs: Jobs,
        functions: Functions,
        figures: Figures,
        watches: Watches,
        ring: EventRing,
    ) -> None:
        self._step = step
        self._handles = handles
        self._connections = connections
        self._runs = runs
        self._jobs = jobs
        self._functions = functions
        self._figures = figures
        self._watches = watches
        self._ring = ring
        self._from_ms = step.now.mono_ms + waits_ms
        """Nothing is broadcast before (monotonic clock)."""
        self._due: Deadlines[str] = Deadlines()
        """By function: when its next one is due, or was (wall clock)."""
        self._to_look: dict[str, None] = {}
        """Functions that may have one that is due."""
        self._begun = 0
        """In this step."""
        self._requests: dict[tuple[Peer, int], Run] = {}
        """By the msgid of the ``perform`` that was not answered yet."""
        self.has_stopped = False
        """From now on nothing is broadcast."""
        for func, due_at_ms in first_due.items():
            self._due.set(func, due_at_ms)

    # -- what waits ----------------------------------------------------------------------------------------------------

    def note(self, job: Job) -> None:
        """It waits now."""
        known_at_ms = self._due.get(job.func)
        if known_at_ms is None or job.due_at_ms < known_at_ms:
            self._due.set(job.func, job.due_at_ms)
        if job.due_at_ms <= self._step.now.wall_ms:
            self._to_look[job.func] = None

    def look_at(self, func: str) -> None:
        """It may be paused no more, or all may be due at other times."""
        self._to_look[func] = None

    def stepped_back(self) -> None:
        """The wall clock was."""
        for func in list(self._due):
            self.look_at(func)

    @property
    def starts_in_ms(self) -> int:
        """How long nothing is broadcast yet."""
        return max(0, self._from_ms - self._step.now.mono_ms)

    def is_postponed(self, func: str) -> bool:
        """Whether it has its turn in the next step."""
        return func in self._to_look

    # -- beginning -----------------------------------------------------------------------------------------------------

    def ask(self) -> None:
        """For those of the next function that are due; to be called again until nothing is asked."""
        while self._to_look and self._begun < BROADCASTS_A_STEP and not (self.has_stopped or self.starts_in_ms):
            func = next(iter(self._to_look))
            del self._to_look[func]
            self._due.discard(func)
            if not self._functions.is_paused(func):
                limit = BROADCASTS_A_STEP - self._begun
                asked = order.Broadcasts(func, self._step.now.wall_ms, limit)
                self._step.read(asked, partial(self._on_found, func))
                return

    def _on_found(self, func: str, found: order.BroadcastsResult) -> None:
        for job in found.jobs:
            if not job.has_expired(self._step.now.wall_ms):
                self._begun += 1
                self._begin(job)
        if found.next_at_ms is not None:
            self._due.set(func, found.next_at_ms)
            if found.next_at_ms <= self._step.now.wall_ms:
                self._to_look[func] = None

    def _begin(self, job: Job) -> None:
        whole = self._runs.begin_broadcast(job)
        if self._watches.tails:
            self._watches.began(job)
        if self._ring.is_on:
            self._ring.note("started", job.func, name=job.name, id=job.id, run=whole.number)
        peers = [peer for peer in self._connections if job.func in peer.subscriptions and not peer.has_ended]
        whole.parts = {}
        for peer in peers:
            self._figures.note_start(job, self._step.now.wall_ms)
            part = Run(*self._handles.new(job.id), job, peer, self._step.now.mono_ms)
            if peer.can_take_more:
                whole.parts[part.handle] = part
                self._give(part, peer)
            else:
                self._note("lost", part, "it does not read what is sent to it")
        job.broadcast = Broadcast(len(peers), lost=len(peers) - len(whole.parts))
        self._go_on(whole, DONE)

    def _give(self, part: Run, peer: Peer) -> None:
        msgid = peer.new_msgid()
        peer.told.add(msgid)
        self._requests[peer, msgid] = part
        perform(self._step, part, peer, msgid)

    # -- parts ---------------------------------------------------------------------------------------------------------

    def find(self, handle: str) -> Run | None:
        """The part with this handle, unless it is over."""
        whole = self._runs.in_progress.of_job(job_of(handle) or 0)
        return None if whole is None else whole.parts.get(handle)

    def answered(self, peer: Peer, msgid: int) -> Run:
        """The part whose ``perform`` is answered now: one of those that the peer was told."""
        peer.told.remove(msgid)
        return self._requests.pop((peer, msgid))

    def report(self, part: Run, how: Outcome, follow_ons: ops.FollowOns, then: Then[ops.Ended]) -> None:
        """Its worker says how it ended."""
        if part.ended:
            then(ops.Ended(False))
            return
        word: Reported = "done" if how.outcome == "done" else "failed"
        self._figures.count(word)
        if word == "failed":
            self._note(word, part, how.reason or "it is not run again later")
        self._end(part, word, how, follow_ons, then)

    def detach(self, peer: Peer) -> None:
        """The connection is gone, and its parts are lost."""
        for msgid in list(peer.told):
            part = self.answered(peer, msgid)
            if not part.ended:
                self._note("lost", part, ends.why_lost(ends.Lost(True)))
                self._end(part, "lost", DONE)

    def whole(self, part: Run) -> Run:
        """That it is a part of, as long as it is not over."""
        whole = self._runs.in_progress.of_job(part.job.id)
        assert whole is not None, "its parts end with it"
        return whole

    def _end(
        self,
        part: Run,
        word: Literal[Reported, "lost"],
        how: Outcome,
        follow_ons: ops.FollowOns = ops.NO_FOLLOW_ONS,
        then: Then[ops.Ended] | None = None,
    ) -> None:
        whole, job = self.whole(part), part.job
        part.ended = True
        del whole.parts[part.handle]
        assert job.broadcast is not None
        job.broadcast = job.broadcast._replace(**{word: getattr(job.broadcast, word) + 1})
        self._go_on(whole, how, follow_ons, then)

    def _go_on(
        self,
        whole: Run,
        how: Outcome,
        follow_ons: ops.FollowOns = ops.NO_FOLLOW_ONS,
        then: Then[ops.Ended] | None = None,
    ) -> None:
        """Unless it is over. ``how``: what it was that was reported, if anything was."""
        if not whole.parts:
            self._runs.end(whole, how._replace(outcome="done"), follow_ons, then)
            return
        tally = ends.of_part(whole.job, how, whole.handle, self._step.now.wall_ms, follow_ons)

        def on_tally(ended: ops.Ended) -> None:
            if ended.found:
                self._jobs.follow(tally.end, ended)
            if then is not None:
                then(ended)

        self._step.write(tally, on_tally)

    def _note(self, how: str, part: Run, text: str) -> None:
        if self._ring.is_on:
            worker = None if part.peer is None else part.peer.shown
            job = part.job
            self._ring.note(how, job.func, name=job.name, id=job.id, run=part.number, worker=worker, text=text)

    # -- time ----------------------------------------------------------------------------------------------------------

    def advance(self) -> None:
        self._begun = 0
        for func in self._due.pop_due(self._step.now.wall_ms):
            self._to_look[func] = None

    def next_ms(self) -> int | None:
        """In how many milliseconds ``advance`` has something to do. A stepped wall clock is the caller's care."""
        due_at_ms = self._due.next_ms()
        if self.has_stopped or (due_at_ms is None and not self._to_look):
            return None
        wait_ms = 0 if self._to_look or due_at_ms is None else due_at_ms - self._step.now.wall_ms
        return max(wait_ms, self.starts_in_ms)
