"""Broadcasts: jobs that have a run on every connection of their function, busy or not, each reported by itself.

The job as a whole is one run, of nobody, with a part for each connection; it takes no room, of a connection or of its
function. It is over when each part was reported or is lost, when its lease is, or with the life of the daemon: then it
is done, whatever became of the parts, and how many of them were what is its result. Nothing is run again.

Waiting broadcasts are on disk only, in no window; memory knows when the first is due. None begins soon after a restart
or a sleep of the machine, so that workers can come back first.
"""

from functools import partial
from typing import Literal

from periodicd.job import Broadcast, Job
from periodicd.protocol.requests import DONE, Outcome
from periodicd.scheduler import ends
from periodicd.scheduler.connections import Connections
from periodicd.scheduler.event_ring import EventRing
from periodicd.scheduler.events import WorkerLost
from periodicd.scheduler.figures import Figures
from periodicd.scheduler.in_progress import Run
from periodicd.scheduler.jobs import Jobs
from periodicd.scheduler.numbers import Handles, job_of
from periodicd.scheduler.peers import Peer
from periodicd.scheduler.performs import perform
from periodicd.scheduler.runs import Runs
from periodicd.scheduler.step import Step, Then
from periodicd.scheduler.watches import Watches
from periodicd.store import ops, order

Word = Literal["done", "failed", "lost"]
"""What a part comes to."""

BROADCASTS_A_STEP = 16
PARTS_A_STEP = 1_000
"""Once so many have begun the rest waits for the next step."""
UNANSWERED_MAX = 1_000
"""A connection that has so many unanswered is given no more of them: they are lost."""


class Broadcasts:
    """``waits_ms``: how long nothing is broadcast after a restart; ``first_at_ms``: when the first is due, or was."""

    def __init__(
        self,
        step: Step,
        waits_ms: int,
        is_restart: bool,
        first_at_ms: int | None,
        handles: Handles,
        connections: Connections,
        runs: Runs,
        jobs: Jobs,
        figures: Figures,
        watches: Watches,
        ring: EventRing,
    ) -> None:
        self._step = step
        self._waits_ms = waits_ms
        self._handles = handles
        self._connections = connections
        self._runs = runs
        self._jobs = jobs
        self._figures = figures
        self._watches = watches
        self._ring = ring
        self._from_ms = step.now.mono_ms + (waits_ms if is_restart else 0)
        """Nothing is broadcast before (monotonic clock)."""
        self._at_ms = first_at_ms
        """When the next one may be due, if there is one (wall clock)."""
        self._begun = self._parts = 0
        """In this step."""
        self._held: dict[Peer, list[Run]] = {}
        """Parts that wait until their connection can take more."""
        self.has_stopped = False
        """From now on nothing is broadcast."""
        runs.on_parts_lost = self._parts_lost

    # -- what waits ----------------------------------------------------------------------------------------------------

    def note(self, job: Job) -> None:
        """It waits now."""
        self._at_ms = job.due_at_ms if self._at_ms is None else min(self._at_ms, job.due_at_ms)

    def look(self) -> None:
        """Some may be due that were not, or were paused."""
        self._at_ms = self._step.now.wall_ms

    def was_suspended(self) -> None:
        """The process stood still, and connections with it: as after a restart."""
        self._from_ms = max(self._from_ms, self._step.now.mono_ms + self._waits_ms)

    @property
    def starts_in_ms(self) -> int:
        """How long nothing is broadcast yet."""
        return max(0, self._from_ms - self._step.now.mono_ms)

    @property
    def are_due(self) -> bool:
        """Whether some may be, which have their turn in the next step."""
        return self._at_ms is not None and self._at_ms <= self._step.now.wall_ms

    # -- beginning -----------------------------------------------------------------------------------------------------

    def ask(self) -> None:
        """For those that are due; to be called again until nothing is asked."""
        left = BROADCASTS_A_STEP - self._begun if self._parts < PARTS_A_STEP else 0
        if self.are_due and left > 0 and not (self.has_stopped or self.starts_in_ms):
            self._at_ms = None
            self._step.read(order.Broadcasts(self._step.now.wall_ms, left), self._on_found)

    def _on_found(self, found: order.BroadcastsResult) -> None:
        self._at_ms = found.next_at_ms
        for job in found.jobs:
            if self._parts >= PARTS_A_STEP:
                self.note(job)
                return
            self._begun += 1
            self._begin(job)

    def _begin(self, job: Job) -> None:
        whole = self._runs.begin_broadcast(job)
        if self._watches.tails:
            self._watches.began(job)
        peers = [peer for peer in self._connections if job.func in peer.subscriptions and not peer.has_ended]
        self._parts += len(peers)
        job.broadcast = Broadcast(len(peers))
        for peer in peers:
            part = Run(0, f"for {peer.number}", job, peer, self._step.now.mono_ms)
            if len(peer.told) + len(self._held.get(peer, ())) >= UNANSWERED_MAX:
                job.broadcast = job.broadcast.with_one("lost")
                self._note("lost", part, f"{UNANSWERED_MAX:,} broadcasts before it are unanswered")
                continue
            whole.parts[part.handle] = part
            self._give(part, peer)
        # Or a part that is never answered would hold it.
        job.workload = None
        self._go_on(whole, DONE)

    def _give(self, part: Run, peer: Peer) -> None:
        """Or, if it cannot take more now, later. Only then it has a number and a handle of its own, which grow."""
        held = self._held.get(peer)
        if held is not None or not peer.can_take_more:
            self._held.setdefault(peer, []).append(part)
            return
        job, parts = part.job, self.whole(part).parts
        del parts[part.handle]
        part.number, part.handle = self._handles.new(job.id)
        parts[part.handle] = part
        msgid = peer.new_msgid()
        peer.told[msgid] = part
        perform(self._step, part, peer, msgid)
        if job.cancelled is not None:
            self._step.notice(peer, part.handle, "cancel", job.cancelled)
        self._figures.note_start(job, self._step.now.wall_ms)
        self._note("started", part)

    def _give_held(self) -> None:
        """To whom can take more now. What is over by now is nobody's."""
        for peer, held in list(self._held.items()):
            if peer.can_take_more:
                del self._held[peer]
                for part in held:
                    if not part.ended:
                        self._give(part, peer)

    # -- parts ---------------------------------------------------------------------------------------------------------

    def find(self, handle: str) -> Run | None:
        """The part with this handle, unless it is over."""
        whole = self._runs.in_progress.of_job(job_of(handle) or 0)
        return None if whole is None else whole.parts.get(handle)

    def whole(self, part: Run) -> Run:
        """That it is a part of, as long as it is not over."""
        whole = self._runs.in_progress.of_job(part.job.id)
        assert whole is not None, "its parts end with it"
        return whole

    def report(self, part: Run, how: Outcome, follow_ons: ops.FollowOns, then: Then[ops.Ended]) -> None:
        """Its worker says how it ended."""
        if part.ended:
            then(ops.Ended(False))
            return
        word: Literal["done", "failed"] = "done" if how.outcome == "done" else "failed"

        def on_ended(ended: ops.Ended) -> None:
            if ended.found:
                self._figures.count(word, part.job.func)
                self._figures.note_report(part.job.func, self._step.now.mono_ms - part.begun_ms)
                if word == "failed":
                    self._note(word, part, how.reason or "it is not run again later")
            then(ended)

        self._end(part, word, how, follow_ons, on_ended)

    def detach(self, peer: Peer) -> None:
        """The connection is gone, and its parts are lost."""
        parts = [*peer.told.values(), *self._held.pop(peer, [])]
        peer.told.clear()
        open_ = [part for part in parts if not part.ended]
        if open_ and not peer.said_goodbye:
            self._step.tell(WorkerLost(peer, len(open_)))
        why = ends.why_lost(ends.Returned() if peer.said_goodbye else ends.Lost(True))
        for part in open_:
            self._end(part, "lost", DONE, then=partial(self._on_lost, part, why))

    def _on_lost(self, part: Run, why: str, ended: ops.Ended) -> None:
        if ended.found:
            self._note("lost", part, why)

    def _parts_lost(self, whole: Run, why: str) -> None:
        """It is over before they are."""
        parts, whole.parts = whole.parts, {}
        for part in parts.values():
            if not part.reported:
                part.lost = True
                if part.number:
                    self._step.notice(part.peer, part.handle, "lost", f"this run no longer counts: {why}")
                self._note("lost", part, why)

    def _end(
        self,
        part: Run,
        word: Word,
        how: Outcome,
        follow_ons: ops.FollowOns = ops.NO_FOLLOW_ONS,
        then: Then[ops.Ended] | None = None,
    ) -> None:
        whole, job = self.whole(part), part.job
        part.ended = True
        del whole.parts[part.handle]
        assert job.broadcast is not None
        job.broadcast = job.broadcast.with_one(word)
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

    def _note(self, how: str, part: Run, text: str | None = None) -> None:
        if self._ring.is_on:
            worker = None if part.peer is None else part.peer.shown
            job = part.job
            run = part.number or None
            self._ring.note(how, job.func, name=job.name, id=job.id, run=run, worker=worker, text=text)

    # -- time ----------------------------------------------------------------------------------------------------------

    def advance(self) -> None:
        self._begun = self._parts = 0
        if self._held:
            self._give_held()

    def next_ms(self) -> int | None:
        """In how many milliseconds ``advance`` has something to do. A stepped wall clock is the caller's care."""
        if self.has_stopped or self._at_ms is None:
            return None
        return max(0, self._at_ms - self._step.now.wall_ms, self.starts_in_ms)
