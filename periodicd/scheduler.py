"""The rules: who gets which job when, and what becomes of it. The centre of the daemon.

One method for each message, in protocol.md's order and words, plus ``detach`` and ``advance``. No I/O, no clock, no
randomness, no await: the time is given with ``begin``, what is to be stored leaves as ops, what is to be said leaves as
``sends``, and the store's answers come back through ``absorb``. The engine sees to it that nothing said here reaches a
peer before the ops of the same step are on disk, and that nothing happens between an op and its answer.

What memory holds is always a part of what the store holds, with one exception: a run whose claim is not written yet
(``Leases.postpone_claim``). Before the store is asked anything about such a job its claim is written.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, NamedTuple

from periodic_client.wire import (
    PROTOCOL_VERSION,
    Busy,
    Draining,
    Invalid,
    LeaseLost,
    PeriodicError,
    encode_error,
    encode_notification,
    encode_request,
    encode_response,
)
from periodicd import ops, requests, retry
from periodicd.clock import Now
from periodicd.job import CRASHES_MAX, Job, State, cut_reason
from periodicd.leases import Lease, Leases
from periodicd.peers import CONNECTION_JOBS_MAX, Peer, Rotation, Subscription
from periodicd.queues import Budget, Queues
from periodicd.recent import Recent
from periodicd.timers import Deadlines

SUBSCRIPTIONS_MAX = 1000
LISTINGS_MAX = 8
IDS_RESERVED = 1_000_000
EVENTS_MAX = 1000
"""In one step; the rest are counted."""
SWEEP_MS = 5_000
GAP_MS = 10_000
"""Steps are a second apart at the most: after a longer gap the process or the machine was suspended."""
PATIENCE_MS = 1_000
PURGE_MS = 600_000


@dataclass(frozen=True, slots=True)
class Settings:
    server: str = "periodicd"
    durability: str = "full"
    message_bytes: int = 32 * 1024 * 1024
    workload_bytes: int = 16 * 1024 * 1024
    connections_bytes: int = 256 * 1024 * 1024
    """What all connections together may hold of messages in progress, not dealt with, and not yet sent."""
    budget: Budget = field(default_factory=Budget)
    claim_delay_ms: int = 50
    """A claim is written so long after its job was given out, unless the run has ended by then."""
    claims_wait: bool = False
    """Give a job out only after its claim was granted: for stores that several daemons share."""
    recovered_lease_ms: int = 30_000
    """A run of the daemon's life before keeps its lease for so long at the most."""
    silence_ms: int = 60_000
    """A subscribed connection that says nothing for so long is closed."""
    dead_kept_ms: int = 30 * 86_400_000
    dead_kept: int = 100_000


class Event(NamedTuple):
    """What an operator should know of. The scheduler does not log; whoever owns the engine may."""

    what: Literal["worker_lost", "lease_ran_out", "dead", "missed"]
    numbers: tuple[int, ...]
    """worker_lost: its runs. lease_ran_out: the lease in ms. dead: runs, failures, crashes. missed: events."""
    peer: Peer | None = None
    func: str | None = None
    name: str | None = None
    handle: str | None = None


Then = Callable[[Any], None]


class Scheduler:
    def __init__(self, boot: ops.BootResult, now: Now, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.now = now
        self.started = now
        self.boot = boot.boot
        self.draining = False
        self.shutdown_asked = False
        self.strays = 0
        """Responses to requests that were never made."""
        self.commits_us = Recent()
        """Counted by the engine, told by ``status``."""
        self.sends: list[tuple[Peer, bytes]] = []
        self.closings: list[tuple[Peer, str]] = []
        self.events: list[Event] = []
        self.events_missed = 0
        self.listings: list[tuple[Peer, int, ops.Listing]] = []
        """To be answered by the engine's owner, beside the steps."""
        self._listings_open = 0
        self.peers: dict[int, Peer] = {}
        self.leases = Leases()
        self.queues = Queues(self.settings.budget)
        self._next_id = boot.next_id
        self._reserved_id = boot.next_id
        self._lease_number = 0
        self._rotations: dict[str, Rotation] = {}
        self._lateness_ms: dict[str, Recent] = {}
        self._due: Deadlines[str] = Deadlines()
        """By function: when its next job is due (wall clock)."""
        self._graces: Deadlines[str] = Deadlines()
        """By handle: until when a lost connection's run may still be reported (monotonic clock)."""
        self._restless: dict[str, None] = {}
        """Functions to be looked at by ``dispatch``, in order."""
        self._roomy: dict[Peer, None] = {}
        """Connections that got room and may have been passed over before."""
        self._next_sweep_ms = now.mono_ms
        self._patient_until_ms = now.mono_ms
        self._next_purge_ms = now.mono_ms
        self._writes: list[tuple[ops.Op, Then | None]] = []
        self._reads: list[tuple[ops.Op, Then | None]] = []
        self._thens: list[Then | None] = []
        for job in boot.running:
            self._recover(job)

    def _recover(self, job: Job) -> None:
        """A job that ran when the daemon stopped: its worker has a while to come back or to report."""
        assert job.handle is not None
        assert job.lease_until_ms is not None
        rest_ms = max(0, min(job.lease_until_ms - self.now.wall_ms, self.settings.recovered_lease_ms))
        self.leases.add(Lease(job.handle, job, None, None), self.now.mono_ms + rest_ms)

    # -- the step: begin, messages, advance; then take_ops and absorb until there are none; then dispatch, and again ---

    def begin(self, now: Now) -> None:
        if now.mono_ms - self.now.mono_ms > GAP_MS:
            self._was_suspended(now)
        self.now = now

    def _was_suspended(self, now: Now) -> None:
        """The daemon stood still. What was sent to it meanwhile is unread: hear that before judging anyone."""
        for peer in self.peers.values():
            peer.heard_ms = now.mono_ms
        self._patient_until_ms = now.mono_ms + PATIENCE_MS

    def advance(self) -> None:
        """Do what the time asks for."""
        wall_ms, mono_ms = self.now
        if mono_ms >= self._patient_until_ms:
            self._end_what_ran_out(mono_ms)
        for lease in self.leases.pop_claims_due(mono_ms):
            self._claim(lease)
        for func in self._due.pop_due(wall_ms):
            self._restless[func] = None
        if mono_ms >= self._next_sweep_ms:
            self._next_sweep_ms = mono_ms + SWEEP_MS
            self._close_silent()
        if mono_ms >= self._next_purge_ms:
            self._next_purge_ms = mono_ms + PURGE_MS
            self._write(ops.Purge(wall_ms - self.settings.dead_kept_ms, self.settings.dead_kept))

    def _end_what_ran_out(self, mono_ms: int) -> None:
        for lease in self.leases.pop_expired(mono_ms):
            job = lease.job
            self._note_event(Event("lease_ran_out", (job.lease_ms,), lease.peer, job.func, job.name, lease.handle))
            self._fail(lease, requests.Outcome("failed", f"the lease of {lease.job.lease_ms} ms ran out"))
        for handle in self._graces.pop_due(mono_ms):
            lost = self.leases.by_handle(handle)
            if lost is not None:
                self._crash(lost)

    def wakeup_ms(self, now: Now) -> int:
        """How long nothing needs to be done, if no message comes. A stepped wall clock is the caller's care."""
        ends = [end for end in (self.leases.next_end_ms(), self._graces.next_ms()) if end is not None]
        monos = [self._next_sweep_ms, *(max(end, self._patient_until_ms) for end in ends)]
        claim_ms = self.leases.next_claim_ms()
        if claim_ms is not None:
            monos.append(claim_ms)
        waits = [mono_ms - now.mono_ms for mono_ms in monos]
        due_ms = self._due.next_ms()
        if due_ms is not None:
            waits.append(due_ms - now.wall_ms)
        return max(0, min(waits))

    def take_ops(self) -> list[ops.Op]:
        """What the store is to be asked now, the reads last. The answers go to ``absorb``."""
        asked = self._writes + self._reads
        self._thens = [then for _, then in asked]
        self._writes, self._reads = [], []
        return [op for op, _ in asked]

    def absorb(self, results: list[ops.Result]) -> None:
        for then, result in zip(self._thens, results, strict=True):
            if then is not None:
                then(result)

    def dispatch(self) -> None:
        """Give out what is due to whoever has room. May ask for pages; then it is to be called again."""
        while self._restless or self._roomy:
            if not self._restless:
                self._offer_passed_over(next(iter(self._roomy)))
                continue
            func = next(iter(self._restless))
            del self._restless[func]
            if self.queues.is_open(func) and not self.draining:
                self._dispatch(func)

    def _offer_passed_over(self, peer: Peer) -> None:
        """One at a time, the longest passed over first: the next only if this one leaves room."""
        if peer.passed_over and peer.has_room:
            subscription = next(iter(peer.passed_over))
            del peer.passed_over[subscription]
            self._offer(subscription)
        else:
            del self._roomy[peer]

    def _write(self, op: ops.Op, then: Then | None = None) -> None:
        self._writes.append((op, then))

    def _read(self, op: ops.Op, then: Then) -> None:
        self._reads.append((op, then))

    def _note_event(self, event: Event) -> None:
        if len(self.events) < EVENTS_MAX:
            self.events.append(event)
        else:
            self.events_missed += 1

    def _reply(self, peer: Peer, msgid: int, result: Any) -> None:
        peer.unanswered.discard(msgid)
        self.sends.append((peer, encode_response(msgid, result)))

    def refuse(self, peer: Peer, msgid: int, error: PeriodicError) -> None:
        peer.unanswered.discard(msgid)
        self.sends.append((peer, encode_error(msgid, error)))

    # -- connections ---------------------------------------------------------------------------------------------------

    def attach(self, peer: Peer) -> None:
        self.peers[peer.number] = peer

    def detach(self, peer: Peer) -> None:
        """The connection is gone. Its runs wait for their report, or are given out again at once."""
        del self.peers[peer.number]
        goodbye = peer.said_goodbye
        for func in list(peer.subscriptions):
            self._unsubscribe(peer, func)
        runs = [lease for lease in (*peer.performing.values(), *peer.adopted) if lease.peer is peer and not lease.ended]
        if runs and not goodbye:
            self._note_event(Event("worker_lost", (len(runs),), peer))
        for lease in runs:
            lease.peer = None
            lease.alone = len(runs) == 1
            if goodbye:
                self._release(lease, self.now.wall_ms)
            elif peer.disconnect_grace_ms:
                self._graces.set(lease.handle, self.now.mono_ms + peer.disconnect_grace_ms)
            else:
                self._crash(lease)

    def drained(self, peer: Peer) -> None:
        """The peer has read enough of its outbox to be given jobs again."""
        self._roomy[peer] = None

    def relieved(self) -> None:
        """The daemon has memory again for what it sends."""
        for peer in self.peers.values():
            if peer.passed_over:
                self._roomy[peer] = None

    def _close_silent(self) -> None:
        limit_ms = self.settings.silence_ms
        for peer in self.peers.values():
            if peer.subscriptions and self.now.mono_ms - peer.heard_ms >= limit_ms:
                self.closings.append((peer, f"subscribed, but silent for {limit_ms // 1000} s"))

    # -- anyone's messages ---------------------------------------------------------------------------------------------

    def hello(self, peer: Peer, msgid: int, options: requests.Hello) -> None:
        peer.client, peer.credit, peer.disconnect_grace_ms = options
        self._roomy[peer] = None
        settings = self.settings
        limits = {
            "message_bytes": settings.message_bytes,
            "workload_bytes": settings.workload_bytes,
            "batch_jobs": requests.BATCH_JOBS_MAX,
            "name_bytes": requests.NAME_BYTES_MAX,
            "connection_jobs": CONNECTION_JOBS_MAX,
        }
        answer = {
            "protocol": PROTOCOL_VERSION,
            "server": settings.server,
            "boot": self.boot,
            "now_ms": self.now.wall_ms,
            "durability": settings.durability,
            "limits": limits,
        }
        self._reply(peer, msgid, answer)

    def ping(self, peer: Peer, msgid: int) -> None:
        self._reply(peer, msgid, "pong")

    # -- a client's messages -------------------------------------------------------------------------------------------

    def submit(self, peer: Peer, msgid: int, submissions: tuple[requests.Submission, ...], batch: bool) -> None:
        if not batch:
            self._put(submissions[0], partial(self._reply, peer, msgid))
            return
        outcomes: list[str] = []

        def tell(outcome: ops.Submitted) -> None:
            outcomes.append(outcome)
            if len(outcomes) == len(submissions):
                self._reply(peer, msgid, outcomes)

        for submission in submissions:
            self._put(submission, tell)
        if not submissions:
            self._reply(peer, msgid, outcomes)

    def _put(self, submission: requests.Submission, tell: Callable[[ops.Submitted], None] | None = None) -> None:
        job, keep = submission
        job.id = self._new_id()
        self._claim_now(job.key)
        self._write(ops.Put(job, keep), partial(self._on_put, job, tell))

    def _on_put(self, job: Job, tell: Callable[[ops.Submitted], None] | None, result: ops.PutResult) -> None:
        if result.old_id is not None:
            self.queues.discard(result.old_id)
        if result.outcome in ("created", "replaced"):
            self._enqueue(job)
        if tell is not None:
            tell(result.outcome)

    def remove(self, peer: Peer, msgid: int, func: str, name: str) -> None:
        def on_removed(result: ops.RemoveResult) -> None:
            if result.id is not None:
                self.queues.discard(result.id)
                lease = self.leases.by_id(result.id)
                if lease is not None:
                    self._end(lease)
            self._reply(peer, msgid, result.outcome)

        self._write(ops.Remove(func, name), on_removed)

    def requeue(self, peer: Peer, msgid: int, func: str, name: str) -> None:
        def on_requeued(result: ops.RequeueResult) -> None:
            if result.job is not None:
                self._enqueue(result.job)
            self._reply(peer, msgid, result.outcome)

        self._write(ops.Requeue(func, name, self._new_id(), self.now.wall_ms), on_requeued)

    def get(self, peer: Peer, msgid: int, func: str, name: str) -> None:
        def on_job(result: ops.GetResult) -> None:
            job = result.job
            answer = job and describe(job) | {"successor": result.successor, "workload": job.workload}
            self._reply(peer, msgid, answer)

        self._claim_now((func, name))
        self._read(ops.Get(func, name), on_job)

    def list(self, peer: Peer, msgid: int, listing: ops.Listing) -> None:
        if self._listings_open >= LISTINGS_MAX:
            self.refuse(peer, msgid, Busy(f"{LISTINGS_MAX} listings are open already"))
            return
        self._listings_open += 1
        self.listings.append((peer, msgid, listing))

    def listed(self, peer: Peer, msgid: int, answer: dict[str, Any]) -> None:
        """The listing was done, beside the steps."""
        self._listings_open -= 1
        self._reply(peer, msgid, answer)

    def status(self, peer: Peer, msgid: int) -> None:
        self.write_claims()
        self._read(ops.Count(), partial(self._on_count, peer, msgid))

    def _on_count(self, peer: Peer, msgid: int, counts: dict[str, ops.FunctionCount]) -> None:
        running = Counter(lease.job.func for lease in self.leases)
        functions = []
        for func in sorted(counts.keys() | self._rotations.keys()):
            count = counts.get(func, ops.FunctionCount())
            rotation = self._rotations.get(func)
            lateness_ms = self._lateness_ms.get(func) or Recent()
            figures = {
                "func": func,
                "workers": rotation.workers if rotation else 0,
                "waiting": count.live - running[func],
                "running": running[func],
                "dead": count.dead,
                "due_ms": count.due_ms,
                "started": lateness_ms.count,
                "lateness_p50_ms": lateness_ms.percentile(50),
                "lateness_p99_ms": lateness_ms.percentile(99),
                "lateness_max_ms": lateness_ms.percentile(100),
            }
            functions.append(figures)
        answer = {
            "server": self.settings.server,
            "boot": self.boot,
            "now_ms": self.now.wall_ms,
            "uptime_ms": self.now.mono_ms - self.started.mono_ms,
            "durability": self.settings.durability,
            "connections": len(self.peers),
            "commits": self.commits_us.count,
            "commit_p50_us": self.commits_us.percentile(50),
            "commit_p99_us": self.commits_us.percentile(99),
            "functions": functions,
        }
        self._reply(peer, msgid, answer)

    def shutdown(self, peer: Peer, msgid: int) -> None:
        self.shutdown_asked = True
        self._reply(peer, msgid, None)

    # -- a worker's messages -------------------------------------------------------------------------------------------

    def subscribe(self, peer: Peer, msgid: int, func: str, limit: int) -> None:
        if self.draining:
            self.refuse(peer, msgid, Draining("the daemon is stopping"))
            return
        subscription = peer.subscriptions.get(func)
        if subscription is None:
            if len(peer.subscriptions) >= SUBSCRIPTIONS_MAX:
                self.refuse(peer, msgid, Invalid(f"a connection may subscribe to {SUBSCRIPTIONS_MAX} functions"))
                return
            subscription = peer.subscriptions[func] = Subscription(peer, func, limit)
            peer.was_subscribed = True
            if func not in self._rotations:
                self._rotations[func] = Rotation()
                self._read(ops.Lanes(func), partial(self._on_lanes, func))
            self._rotations[func].workers += 1
        subscription.limit = limit
        self._offer(subscription)
        self._reply(peer, msgid, None)

    def _on_lanes(self, func: str, priorities: Sequence[int]) -> None:
        if func in self._rotations and not self.queues.is_open(func):
            self.queues.open(func, priorities)
            self._restless[func] = None

    def unsubscribe(self, peer: Peer, msgid: int, func: str | None) -> None:
        for each in [func] if func is not None else list(peer.subscriptions):
            self._unsubscribe(peer, each)
        self._reply(peer, msgid, None)

    def _unsubscribe(self, peer: Peer, func: str) -> None:
        subscription = peer.subscriptions.pop(func, None)
        if subscription is None:
            return
        rotation = self._rotations[func]
        rotation.withdraw(subscription)
        rotation.workers -= 1
        if not rotation.workers:
            del self._rotations[func]
            self._due.discard(func)
            self.queues.close(func)

    def respond(self, peer: Peer, msgid: int | None, error: str | None, result: Any) -> None:
        """The response to a ``perform``: the end of the run, and room for another."""
        lease = peer.performing.pop(msgid, None) if msgid is not None else None
        if lease is None:
            self.strays += 1
            return
        self._give_room(lease)
        if lease.ended:
            if not lease.reported:
                self.sends.append((peer, encode_notification("lost", [lease.handle])))
            return
        if error is not None:
            outcome = requests.Outcome("failed", error)
        else:
            try:
                outcome = requests.outcome(result, self.rules)
            except Invalid as bad:
                outcome = requests.Outcome("failed", bad.to_wire())
        self._report(lease, outcome)

    def finish(self, peer: Peer, msgid: int, handle: str, outcome: requests.Outcome) -> None:
        def tell(ended: ops.Ended) -> None:
            if ended.found:
                self._reply(peer, msgid, None)
            else:
                self.refuse(peer, msgid, LeaseLost(f"{handle:.100} is not the latest run of a job"))

        lease = self.leases.by_handle(handle)
        if lease is not None:
            lease.reported = True
            self._report(lease, outcome, tell)
            return
        job_id = _job_id(handle)
        if job_id is None or self.leases.by_id(job_id) is not None:
            tell(ops.Ended(False))
        else:
            self._read(ops.Fetch(job_id), partial(self._report_late, handle, outcome, tell))

    def extend(self, peer: Peer, msgid: int, handle: str, lease_ms: int | None) -> None:
        """The lease starts anew. Whoever extends a lost connection's run has taken it over."""
        lease = self.leases.by_handle(handle)
        if lease is None:
            self.refuse(peer, msgid, LeaseLost(f"{handle:.100} is not running"))
            return
        length_ms = lease_ms or lease.job.lease_ms
        self.leases.extend(lease, self.now.mono_ms + length_ms)
        lease.job.lease_until_ms = self.now.wall_ms + length_ms
        if lease.peer is None:
            lease.peer = peer
            peer.adopted = [other for other in peer.adopted if not other.ended] + [lease]
            self._graces.discard(handle)
        if self.leases.pop_claim(lease):
            self._claim(lease)
        else:
            self._write(ops.Extend(lease.job.id, lease.job.lease_until_ms))
        self._reply(peer, msgid, None)

    # -- giving out ----------------------------------------------------------------------------------------------------

    def _enqueue(self, job: Job) -> None:
        """The job waits now, and the store knows it."""
        job.state = State.WAITING
        if self.queues.add(job):
            self._restless[job.func] = None

    def _dispatch(self, func: str) -> None:
        rotation = self._rotations[func]
        while (job := self.queues.due(func, self.now.wall_ms)) is not None:
            subscription = rotation.head()
            if subscription is None:
                # Nobody has room: whoever gets some makes the function restless again.
                self._due.discard(func)
                return
            rotation.pass_turn()
            self.queues.discard(job.id)
            self._give(subscription, job)
        for page in self.queues.wanted_pages(func):
            self._read(page, partial(self._on_page, page))
        due_ms = self.queues.next_due_ms(func)
        if due_ms is None:
            self._due.discard(func)
        else:
            self._due.set(func, due_ms)

    def _on_page(self, page: ops.Page, result: ops.PageResult) -> None:
        running = {job.id for job in result.jobs if self.leases.by_id(job.id) is not None}
        self.queues.load(page, result, running)
        self._restless[page.func] = None

    def _give(self, subscription: Subscription, job: Job) -> None:
        peer = subscription.peer
        self._lease_number += 1
        job.attempt += 1
        job.state = State.RUNNING
        job.handle = f"{self.boot}-{self._lease_number}-{job.id}"
        job.lease_until_ms = self.now.wall_ms + job.lease_ms
        lease = Lease(job.handle, job, peer, subscription)
        msgid = peer.new_msgid()
        peer.performing[msgid] = lease
        subscription.running += 1
        peer.note_outbox(peer.outbox_bytes + job.workload_bytes)
        self.leases.add(lease, self.now.mono_ms + job.lease_ms)
        lateness_ms = self._lateness_ms.get(job.func)
        if lateness_ms is None:
            lateness_ms = self._lateness_ms[job.func] = Recent()
        lateness_ms.note(self.now.wall_ms - job.due_ms)
        if self.settings.claims_wait:
            self._claim(lease, partial(self._on_claimed, lease, msgid))
        else:
            self.leases.postpone_claim(lease, self.now.mono_ms + self.settings.claim_delay_ms)
            self._perform(lease, msgid)

    def _perform(self, lease: Lease, msgid: int) -> None:
        job = lease.job
        if job.workload is not None:
            self._send_perform(lease, msgid, job.workload)
            return
        # It keeps its place, or the small jobs after it would arrive before it.
        place = len(self.sends)
        assert lease.peer is not None
        self.sends.append((lease.peer, b""))

        def on_fetched(stored: Job) -> None:
            self._send_perform(lease, msgid, stored.workload)
            self.sends[place] = self.sends.pop()

        self._read(ops.Fetch(job.id), on_fetched)

    def _send_perform(self, lease: Lease, msgid: int, workload: bytes | None) -> None:
        job = lease.job
        given = {
            "handle": lease.handle,
            "func": job.func,
            "name": job.name,
            "workload": workload,
            "due_ms": job.due_ms,
            "priority": job.priority,
            "lease_ms": job.lease_ms,
            "attempt": job.attempt,
            "failures": job.failures,
            "crashes": job.crashes,
        }
        assert lease.peer is not None
        self.sends.append((lease.peer, encode_request(msgid, "perform", (given,))))

    def _offer(self, subscription: Subscription) -> None:
        """It may have room now."""
        self._rotations[subscription.func].offer(subscription)
        self._restless[subscription.func] = None

    def _give_room(self, lease: Lease) -> None:
        """A ``perform`` was answered; it is already out of ``peer.performing``."""
        subscription = lease.subscription
        assert subscription is not None
        subscription.running -= 1
        peer = subscription.peer
        if peer.passed_over:
            self._roomy[peer] = None
        if peer.subscriptions.get(subscription.func) is not subscription:
            return
        if peer.passed_over:
            peer.passed_over[subscription] = None
        else:
            self._offer(subscription)

    # -- claims --------------------------------------------------------------------------------------------------------

    def _claim(self, lease: Lease, then: Then | None = None) -> None:
        job = lease.job
        assert job.lease_until_ms is not None
        self._write(
            ops.Claim(job.id, lease.handle, job.attempt, job.lease_until_ms),
            then or partial(self._on_late_claim, lease),
        )

    def write_claims(self) -> None:
        """All that were postponed, now."""
        for lease in self.leases.pop_all_claims():
            self._claim(lease)

    def _claim_now(self, key: tuple[str, str]) -> None:
        """Before the store is asked about a job: if it runs, the store must know."""
        lease = self.leases.by_key(key)
        if lease is not None and self.leases.pop_claim(lease):
            self._claim(lease)

    def _on_claimed(self, lease: Lease, msgid: int, granted: bool) -> None:
        if granted:
            self._perform(lease, msgid)
            return
        assert lease.peer is not None
        del lease.peer.performing[msgid]
        self._give_room(lease)
        self._end(lease)

    def _on_late_claim(self, lease: Lease, granted: bool) -> None:
        """Refused after the job was given out: it is somebody else's, so this run's report will not count."""
        if not granted and not lease.ended:
            self._end(lease)

    # -- the end of a run ----------------------------------------------------------------------------------------------

    def _end(self, lease: Lease) -> None:
        self.leases.end(lease)
        self._graces.discard(lease.handle)

    def _report(self, lease: Lease, outcome: requests.Outcome, tell: Then | None = None) -> None:
        """The worker said how its run ended. ``tell`` is given the store's answer."""
        lease.job.handle = None
        if outcome.outcome == "done":
            self._end(lease)
            self._write(ops.Finish(lease.job.id, lease.job.func), partial(self._on_ended, None, tell))
        elif outcome.outcome == "later":
            self._release(lease, self.now.wall_ms + (outcome.delay_ms or 0), tell)
        else:
            self._fail(lease, outcome, tell)
        for submission in outcome.submit:
            self._put(submission)

    def _fail(self, lease: Lease, outcome: requests.Outcome, tell: Then | None = None) -> None:
        job = lease.job
        job.reason = cut_reason(outcome.reason)
        wait_ms = retry.wait_ms(job.retry, job.failures, job.id)
        job.failures += 1
        if wait_ms is None or not outcome.retry:
            self._bury(lease, tell)
        else:
            wait_ms = outcome.delay_ms if outcome.delay_ms is not None else wait_ms
            self._release(lease, self.now.wall_ms + wait_ms, tell)

    def _crash(self, lease: Lease) -> None:
        """The run's connection was lost and nobody reported. Only a job that is likely the cause is charged."""
        job = lease.job
        if lease.alone or job.suspect:
            job.crashes += 1
        job.suspect = True
        if job.crashes >= CRASHES_MAX:
            job.reason = f"its worker's connection was lost {job.crashes} times while it ran"
            self._bury(lease)
        else:
            self._release(lease, job.due_ms)

    def _release(self, lease: Lease, due_ms: int, tell: Then | None = None) -> None:
        self._end(lease)
        job = lease.job
        job.due_ms = due_ms
        self._write_release(job, tell)

    def _write_release(self, job: Job, tell: Then | None) -> None:
        op = ops.Release(
            job.id, job.func, job.due_ms, job.handle, job.attempt, job.failures, job.crashes, job.suspect, job.reason
        )
        self._write(op, partial(self._on_ended, job, tell))

    def _bury(self, lease: Lease, tell: Then | None = None) -> None:
        self._end(lease)
        self._write_bury(lease.job, tell)

    def _write_bury(self, job: Job, tell: Then | None) -> None:
        op = ops.Bury(
            job.id, job.func, self.now.wall_ms, job.handle, job.attempt, job.failures, job.crashes, job.reason or ""
        )
        self._write(op, partial(self._on_buried, job, tell))

    def _on_buried(self, job: Job, tell: Then | None, ended: ops.Ended) -> None:
        if ended.found and ended.successor is None:
            counts = job.attempt, job.failures, job.crashes
            self._note_event(Event("dead", counts, None, job.func, job.name))
        self._on_ended(None, tell, ended)

    def _on_ended(self, waiting: Job | None, tell: Then | None, ended: ops.Ended) -> None:
        """``waiting``: the job itself, if it waits again unless another took its place."""
        if ended.successor is not None:
            self._enqueue(ended.successor)
        elif waiting is not None and ended.found:
            self._enqueue(waiting)
        if tell is not None:
            tell(ended)

    def _report_late(self, handle: str, outcome: requests.Outcome, tell: Then, job: Job | None) -> None:
        """``finish`` for a run that was lost. It counts if it was not reported and no later run was given out.

        The lost run was charged when its lease ended, so a failure changes no counters now.
        """
        if job is None or job.handle != handle or job.state not in (State.WAITING, State.DEAD):
            tell(ops.Ended(False))
            return
        job.handle = None
        if outcome.outcome == "done":
            self.queues.discard(job.id)
            self._write(ops.Finish(job.id, job.func), partial(self._on_ended, None, tell))
        elif job.state is State.DEAD:
            tell(ops.Ended(True))
        else:
            self.queues.discard(job.id)
            job.reason = cut_reason(outcome.reason) if outcome.outcome == "failed" else job.reason
            if outcome.delay_ms is not None or outcome.outcome == "later":
                job.due_ms = self.now.wall_ms + (outcome.delay_ms or 0)
            if outcome.retry:
                self._write_release(job, tell)
            else:
                self._write_bury(job, tell)
        for submission in outcome.submit:
            self._put(submission)

    @property
    def performing(self) -> bool:
        """Whether a connected worker is busy with a run that counts."""
        return any(lease.peer is not None for lease in self.leases)

    # -- small things --------------------------------------------------------------------------------------------------

    @property
    def rules(self) -> requests.Rules:
        return requests.Rules(self.now.wall_ms, self.settings.workload_bytes)

    def _new_id(self) -> int:
        """The next id. Ids are reserved on disk by the million, in the commit that first uses one of them."""
        if self._next_id == self._reserved_id:
            self._reserved_id += IDS_RESERVED
            self._write(ops.Reserve(self._reserved_id))
        self._next_id += 1
        return self._next_id - 1


def describe(job: Job) -> dict[str, Any]:
    """A job as ``get`` and ``list`` show it, without its workload; protocol.md, get."""
    return {
        "id": job.id,
        "func": job.func,
        "name": job.name,
        "state": job.state.word,
        "priority": job.priority,
        "submitted_ms": job.submitted_ms,
        "due_ms": job.due_ms,
        "lease_ms": job.lease_ms,
        "attempt": job.attempt,
        "failures": job.failures,
        "crashes": job.crashes,
        "retry": job.retry.as_map(),
        "reason": job.reason,
        "ended_ms": job.ended_ms,
        "workload_bytes": job.workload_bytes,
    }


def _job_id(handle: str) -> int | None:
    """The job that a handle speaks of, or None if it is no handle of ours."""
    parts = handle.split("-")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() and len(part) < 19 for part in parts):
        return None
    return int(parts[2])
