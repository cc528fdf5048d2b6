"""The face of the rules: one method for each message, in protocol.md's order and words, and what connects the parts.

No I/O, no clock, no randomness, no await: the time is given with ``begin``, what is to be stored and said leaves
through the ``Step``, and the store's answers come back through it. What memory holds is always a part of what the store
holds, but for runs whose claim is not written yet.

    runs        who runs what, until when; the one place where a run begins and ends
    dispatch    who gets which job
    waits       long polls, and when their time is over
    watches     who waits for a job's end, and what its run tells
    takes       workers that ask for jobs
    ring        what happened last, for who asks
    jobs        their records, as they come, go and end
    steering    what clients do with one job
    ordering    what they say of the order among jobs
    broadcasts  jobs that run on every connection
    reports     what workers say of their runs
    subscribing which jobs they take
    connections who is there
    explain     why a job does not run
    listings    pages of jobs, made beside the steps
    matching    requests on many jobs
    purges      how long dead jobs are kept
    figures     what is counted for ``status``
    functions   what is set of functions
    groups      which have finished
    expiry      when jobs end that have not begun
    schedules   what is submitted again and again
    locks       what of each is held, and who is next
"""

from typing import Any

from periodic_client.wire import Draining
from periodicd.clock import Now
from periodicd.protocol import answers, fields, requests
from periodicd.scheduler import matching
from periodicd.scheduler.broadcasts import Broadcasts
from periodicd.scheduler.claims import Claims
from periodicd.scheduler.clocks import Clocks
from periodicd.scheduler.connections import Connections
from periodicd.scheduler.dispatch import Dispatch
from periodicd.scheduler.event_ring import EventRing
from periodicd.scheduler.events import SteppedBack
from periodicd.scheduler.expiry import Expiry
from periodicd.scheduler.explain import Explain
from periodicd.scheduler.figures import Figures
from periodicd.scheduler.functions import Functions
from periodicd.scheduler.groups import Groups
from periodicd.scheduler.jobs import Jobs
from periodicd.scheduler.listings import Listings
from periodicd.scheduler.lock_pages import LockPages
from periodicd.scheduler.locks import Locks
from periodicd.scheduler.matching import Matching
from periodicd.scheduler.numbers import Chance, Handles, Numbers
from periodicd.scheduler.ordering import Ordering
from periodicd.scheduler.peers import Peer
from periodicd.scheduler.purges import Purges
from periodicd.scheduler.reports import Reports
from periodicd.scheduler.runs import Runs
from periodicd.scheduler.schedules import Schedules
from periodicd.scheduler.settings import Settings
from periodicd.scheduler.status import Status
from periodicd.scheduler.steering import Steering
from periodicd.scheduler.step import Step
from periodicd.scheduler.subscribing import Subscribing
from periodicd.scheduler.takes import Takes
from periodicd.scheduler.waits import Waits
from periodicd.scheduler.watches import Watches
from periodicd.scheduler.workers import Workers
from periodicd.store import ops


class Scheduler:
    def __init__(self, boot: ops.BootResult, now: Now, chance: Chance, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.boot = boot.boot
        self.draining = False
        self.shutdown_asked = False
        self.step = Step(now)
        self.rules: requests.Rules
        """What params are checked by in this step."""
        self.numbers = Numbers(self.step, boot.next_id)
        claims = Claims(self.step, self.settings.claim_delay_ms, self.settings.claim_delay_max_ms)
        self.locks = Locks(self.step, boot.locks, boot.lines)
        handles = Handles(self.numbers, boot.boot, chance)
        self.runs = Runs(self.step, handles, claims, self.locks)
        self.functions = Functions(self.step, boot.functions, self.runs.in_progress)
        self.dispatch = Dispatch(self.step, self.settings, self.runs.in_progress, self.functions, self.locks)
        self.connections = Connections(self.step, self.settings.idle_ms, self.runs.has_taken_over)
        self.figures = Figures(self.settings.measures)
        self.waits = Waits(self.step)
        self.watches = Watches(self.step, self.waits, self.boot, self.settings.tails_bytes)
        self.takes = Takes(self.step, self.waits, self.dispatch, self.runs)
        self.ring = EventRing(self.step, self.waits, self.boot)
        self.purges = Purges(self.step, self.settings)
        self.expiry = Expiry(self.step, boot.expires_at_ms)
        self.groups = Groups(self.step, boot.has_groups)
        self.groups.enqueue = self.dispatch.enqueue_if_new
        self.jobs = Jobs(
            self.step, self.numbers, self.runs, self.dispatch, self.watches, self.ring, self.purges, self.figures,
            self.functions, self.locks, self.groups, self.expiry,
        )  # fmt: skip
        self.schedules = Schedules(self.step, self.settings, self.jobs, self.functions, self.ring, boot.schedules)
        self.steering = Steering(self.step, self.numbers, self.runs, self.dispatch, self.jobs, self.watches)
        self.broadcasts = Broadcasts(
            self.step, self.settings.restart_grace_ms, boot.boot > 1, boot.broadcast_at_ms, handles,
            self.connections, self.runs, self.jobs, self.figures, self.watches, self.ring,
        )  # fmt: skip
        self.dispatch.on_broadcast = self.broadcasts.note
        self.reports = Reports(self.step, self.runs, self.dispatch, self.jobs, self.watches, self.broadcasts)
        self.listings = Listings(self.step)
        self.matching = Matching(self.step, self.listings, self.numbers, self.jobs)
        self._status = Status(
            self.step, self.settings, self.boot, self.runs, self.dispatch, self.connections, self.figures,
            self.functions, self.schedules.known,
        )  # fmt: skip
        self._subscribing = Subscribing(self.step, self.dispatch, self.ring)
        self.ordering = Ordering(
            self.step, self.dispatch, self.broadcasts, self.jobs, self.ring, self.functions, self.locks,
            LockPages(self.step, self.locks.uses, self.runs.in_progress), self.schedules,
        )  # fmt: skip
        self.explain = Explain(self.step, self.runs, self.dispatch, self.broadcasts, self.functions, self.locks)
        self._workers = Workers(self.step, self.runs, self.connections)
        self._clocks = Clocks(now)
        for job in boot.running:
            self.runs.recover(job, self.settings.restart_grace_ms)

    # -- time ----------------------------------------------------------------------------------------------------------

    def begin(self, now: Now) -> None:
        """A step begins. Messages may follow, then ``advance``."""
        self.step.now = now
        self.rules = requests.Rules(now.wall_ms, self.settings.workload_bytes, self.functions.known)
        self._clocks.look(now)
        if self._clocks.was_suspended:
            self.connections.was_suspended()
            self.runs.was_suspended()
            self.broadcasts.was_suspended()
        if self._clocks.stepped_back_ms:
            self._step_back(self._clocks.stepped_back_ms)

    def _step_back(self, by_ms: int) -> None:
        """Waits are durations: they end when the clock would have said so, had it not been stepped back.

        Costs the store a change of each job that waits for no date.
        """
        self.step.tell(SteppedBack(by_ms))
        self.runs.claim_all()
        self.functions.stepped_back(by_ms)
        self.locks.stepped_back(by_ms)
        self.broadcasts.look()
        self.step.write(ops.Shift(by_ms), lambda _: self.dispatch.read_anew())

    def advance(self) -> None:
        """Do what the time asks for."""
        self.runs.advance()
        self.expiry.advance()
        self.schedules.advance()
        self.locks.advance()
        self.broadcasts.advance()
        self.dispatch.advance()
        self.connections.advance()
        self.purges.advance()
        self.waits.advance()
        self.watches.advance()
        self.ring.advance()
        self.matching.advance()

    def next_ms(self) -> int:
        """How long after this step nothing needs to be done, if nothing arrives."""
        parts = (
            self.runs, self.locks, self.dispatch, self.connections, self.purges, self.waits, self.watches, self.ring,
            self.matching, self.schedules, self.expiry, self.broadcasts,
        )  # fmt: skip
        return max(0, min(wait_ms for part in parts if (wait_ms := part.next_ms()) is not None))

    def ask(self) -> list[ops.Op[Any]]:
        """What the store is to be asked now: first what follows from messages and answers, then to give out."""
        asked = self.step.ask()
        if not asked:
            self._give_out()
            asked = self.step.ask()
            if not asked:
                self.takes.answer()
                # Who was answered takes no more jobs, which may let others in line go.
                if self.locks.lines:
                    self._look_at_lines()
                    asked = self.step.ask()
            if not asked:
                self.locks.end_step()
                self.ring.answer()
        return asked

    def drain(self) -> None:
        """The daemon stops: from now on nothing is given out, and the workers are told."""
        self.draining = self._subscribing.has_stopped = True
        self.dispatch.stop()
        self.broadcasts.has_stopped = True
        self.takes.stop()
        for run in self.runs.in_progress.of_peers():
            self.step.notice(run.peer, run.handle, "stop", "the daemon is stopping")

    # -- connections ---------------------------------------------------------------------------------------------------

    def attach(self, peer: Peer) -> None:
        self.connections.add(peer)
        self.runs.attach(peer)

    def detach(self, peer: Peer) -> None:
        """The connection is gone, unless it was so before."""
        if peer not in self.connections:
            return
        self.waits.detach(peer)
        self.connections.remove(peer)
        if peer.subscriptions:
            self._subscribing.leave(peer)
        self.runs.detach(peer)
        self.broadcasts.detach(peer)
        peer.performing.clear()  # or it and its subscriptions would hold each other

    # -- anyone's messages ---------------------------------------------------------------------------------------------

    def hello(self, peer: Peer, msgid: int, options: fields.Hello) -> None:
        """What is not said stays as it was. There is one version and no feature yet, so nothing else can be agreed."""
        for attribute in ("client", "credit", "disconnect_grace_ms", "silence_ms"):
            said = getattr(options, attribute)
            if said is not None:
                setattr(peer, attribute, said)
        self.dispatch.has_room(peer)
        settings = self.settings
        answer = answers.hello(
            settings.server,
            self.boot,
            self.step.now.wall_ms,
            settings.durability,
            settings.message_bytes,
            settings.workload_bytes,
        )
        self.step.reply(peer, msgid, answer)

    def ping(self, peer: Peer, msgid: int) -> None:
        self.step.reply_last(peer, msgid)

    # -- a client's messages -------------------------------------------------------------------------------------------

    def submit(self, peer: Peer, msgid: int, submission: requests.Submission) -> None:
        self.steering.submit(peer, msgid, submission)

    def submit_batch(self, peer: Peer, msgid: int, submissions: tuple[requests.Submission, ...]) -> None:
        self.steering.submit_batch(peer, msgid, submissions)

    def remove(self, peer: Peer, msgid: int, func: str, name: str, job_id: int | None) -> None:
        self.steering.remove(peer, msgid, func, name, job_id)

    def requeue(self, peer: Peer, msgid: int, func: str, name: str, job_id: int | None) -> None:
        self.steering.requeue(peer, msgid, func, name, job_id)

    def cancel(self, peer: Peer, msgid: int, cancel: ops.Cancel) -> None:
        self.steering.cancel(peer, msgid, cancel)

    def move(self, peer: Peer, msgid: int, move: ops.Move) -> None:
        self.steering.move(peer, msgid, move)

    def end_run(self, peer: Peer, msgid: int, end: requests.EndRun) -> None:
        self.steering.end_run(peer, msgid, end)

    def get(self, peer: Peer, msgid: int, get: ops.Get) -> None:
        self.steering.get(peer, msgid, get)

    def explain_job(self, peer: Peer, msgid: int, query: requests.ExplainQuery) -> None:
        self.explain.ask(peer, msgid, query)

    def watch(self, peer: Peer, msgid: int, query: requests.Watch) -> None:
        self.steering.watch(peer, msgid, query)

    def unwait(self, peer: Peer, msgid: int, waiting: int) -> None:
        self.steering.unwatch(peer, waiting)
        self.waits.end_early(peer, waiting)
        self.step.reply(peer, msgid)

    def list(self, peer: Peer, msgid: int, listing: ops.Listing) -> None:
        self.listings.show(peer, msgid, listing)

    def events(self, peer: Peer, msgid: int, query: requests.Events) -> None:
        self.ring.ask(peer, msgid, query)

    def workers(self, peer: Peer, msgid: int, query: requests.WorkersQuery) -> None:
        self._workers.ask(peer, msgid, query)

    def status(self, peer: Peer, msgid: int, query: requests.NamesQuery) -> None:
        self._status.ask(peer, msgid, query)

    def remove_matching(self, peer: Peer, msgid: int, listing: ops.Listing) -> None:
        self.matching.begin(peer, msgid, matching.REMOVE, listing)

    def requeue_matching(self, peer: Peer, msgid: int, listing: ops.Listing) -> None:
        self.matching.begin(peer, msgid, matching.REQUEUE, listing)

    def cancel_matching(self, peer: Peer, msgid: int, listing: ops.Listing, reason: str) -> None:
        self.matching.begin(peer, msgid, matching.cancel(reason, self.step.now.wall_ms), listing)

    def move_matching(self, peer: Peer, msgid: int, listing: ops.Listing, pattern: ops.Move) -> None:
        self.matching.begin(peer, msgid, matching.move(pattern), listing)

    def shutdown(self, peer: Peer, msgid: int) -> None:
        self.shutdown_asked = True
        self.step.reply(peer, msgid)

    # -- a worker's messages -------------------------------------------------------------------------------------------

    def subscribe(self, peer: Peer, msgid: int, func: str, limit: int) -> None:
        self._subscribing.subscribe(peer, msgid, func, limit)

    def unsubscribe(self, peer: Peer, msgid: int, func: str) -> None:
        self._subscribing.unsubscribe(peer, msgid, func)

    def unsubscribe_all(self, peer: Peer, msgid: int) -> None:
        self._subscribing.unsubscribe_all(peer, msgid)

    def take(self, peer: Peer, msgid: int, query: requests.Take) -> None:
        if self.draining:
            self.step.refuse(peer, msgid, Draining("the daemon is stopping"))
        else:
            self.takes.begin(peer, msgid, query)

    def respond(self, peer: Peer, msgid: int | None, error: str | None, result: Any) -> None:
        self.reports.respond(peer, msgid, error, result, self.rules)

    def finish(self, peer: Peer, msgid: int, handle: str, outcome: requests.Outcome) -> None:
        self.reports.finish(peer, msgid, handle, outcome)

    def extend(self, peer: Peer, msgid: int, handle: str, lease_ms: int | None, own: bool) -> None:
        self.reports.extend(peer, msgid, handle, lease_ms, own)

    def data(self, peer: Peer, msgid: int, handle: str, data: bytes) -> None:
        self.reports.data(peer, msgid, handle, data)

    def progress(self, peer: Peer, msgid: int, handle: str, progress: requests.Progress) -> None:
        self.reports.progress(peer, msgid, handle, progress)

    # -- what connects the parts ---------------------------------------------------------------------------------------

    def _give_out(self) -> None:
        """And what that changes; and look who is next in line."""
        self.groups.ask()
        self.broadcasts.ask()
        for subscription, job in self.dispatch.pairs():
            self.figures.note_start(job, self.step.now.wall_ms)
            if subscription.take is None:
                self.runs.begin(subscription, job)
            else:
                self.takes.give(subscription, job)
            if self.watches.tails:
                self.watches.began(job)
            if self.ring.is_on:
                worker = None if subscription.take is not None else subscription.peer.shown
                self.ring.note("started", job.func, name=job.name, id=job.id, run=job.run, worker=worker)
                self.ring.note_locks("lock_taken", job)
        if self.locks.lines:
            self._look_at_lines()
        if self.functions.moved or self.locks.uses.moved:
            self.functions.write()
            self.locks.uses.write()

    def _look_at_lines(self) -> None:
        if self.locks.wants_to_ask:
            self.locks.ask()
