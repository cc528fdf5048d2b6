"""The rules: who gets which job when, and what becomes of it. The centre of the daemon.

One method for each message, in protocol.md's order and words, plus ``detach`` and ``advance``. No I/O, no clock, no
randomness, no await: the time is given with ``begin``, what is to be stored leaves as ops, what is to be said leaves as
``sends``, and the store's answers come back through ``absorb``. The engine sees to it that nothing said here reaches a
peer before the ops of the same step are on disk, and that nothing happens between an op and its answer.

What memory holds is always a part of what the store holds, with one exception: a run whose claim is not written yet
(``Leases.postpone_claim``). Before the store is asked anything about such a job its claim is written.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice, takewhile
from typing import Any, Literal, NamedTuple

from sortedcontainers import SortedDict

from periodic_client.wire import (
    PROTOCOL_VERSION,
    Busy,
    ClosingError,
    Draining,
    Invalid,
    LeaseLost,
    PeriodicError,
    Silent,
    encode_error,
    encode_notification,
    encode_request,
    encode_response,
)
from periodicd import answers, ops, requests, retry
from periodicd.clock import Now
from periodicd.job import CRASHES_MAX, RESTARTS_MAX, Job, State, cut_reason, run_of
from periodicd.leases import Lease, Leases
from periodicd.peers import CONNECTION_JOBS_MAX, SILENCE_MS, Peer, Rotation, Subscription
from periodicd.queues import Budget, Queues
from periodicd.recent import Recent
from periodicd.timers import Deadlines

SUBSCRIPTIONS_MAX = 1000
LATENESS_MAX = 10_000
"""Functions whose lateness is remembered: those that had a run last."""
HANDLE_BYTES = 8
"""Of chance in each handle: nobody guesses one."""
SECRETS_DRAWN = 256
LISTINGS_MAX = 8
IDS_RESERVED = 1_000_000
EVENTS_MAX = 1000
"""In one step; the rest are counted."""
SWEEP_MS = 5_000
STEP_MS = 1_000
"""A wall clock that is behind by so much was stepped back. By less, it is being adjusted."""
GAP_MS = 10_000
"""Steps are a second apart at the most: after a longer gap the process or the machine was suspended."""
PATIENCE_MS = 1_000
PURGE_MS = 600_000
PURGED_MAX = 1_000
PURGE_PAUSE_MS = 20
"""When so many dead jobs were forgotten at once there may be more, and others are to be served between."""


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
    restart_grace_ms: int = 30_000
    """A run of the daemon's life before waits so long for its worker to come back."""
    silence_ms: int = SILENCE_MS
    """A subscribed connection that says nothing for so long is closed, unless it has asked for more."""
    idle_ms: int = 3_600_000
    """Any other connection that says nothing for so long, and waits for nothing."""
    dead_kept_ms: int = 30 * 86_400_000
    dead_kept: int = 100_000


class Event(NamedTuple):
    """What an operator should know of. The scheduler does not log; whoever owns the engine may."""

    what: Literal["worker_lost", "lease_ran_out", "dead", "stepped_back", "missed"]
    numbers: tuple[int, ...]
    """worker_lost: its runs. lease_ran_out: the lease in ms. dead: runs, failures, crashes. stepped_back: by how many
    ms. missed: events."""
    peer: Peer | None = None
    func: str | None = None
    name: str | None = None
    run: int | None = None


Then = Callable[[Any], None]
Chance = Callable[[int], bytes]
"""So many random bytes."""


class Scheduler:
    def __init__(self, boot: ops.BootResult, now: Now, chance: Chance, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self._chance = chance
        self._secrets: list[str] = []
        """Drawn ahead: to ask the system for each would be felt."""
        self.now = now
        self.started = now
        self._lead_ms = now.wall_ms - now.mono_ms
        """The most that the wall clock was ever ahead of the monotonic one since it was last stepped back."""
        self.boot = boot.boot
        self.draining = False
        self.shutdown_asked = False
        self.strays = 0
        """Responses to requests that were never made."""
        self.commits_us = Recent()
        """Counted by the engine, told by ``status``."""
        self.sends: list[tuple[Peer, bytes]] = []
        self.closings: list[tuple[Peer, ClosingError]] = []
        self.events: list[Event] = []
        self.events_missed = 0
        self.listings: list[tuple[Peer, int, ops.Listing]] = []
        """To be answered by the engine's owner, beside the steps."""
        self._listings_open = 0
        self._pings: list[tuple[Peer, int]] = []
        self.peers: dict[int, Peer] = {}
        self.leases = Leases()
        self.queues = Queues(self.settings.budget)
        self._next_id = boot.next_id
        self._reserved_id = boot.next_id
        self._counts: Counter[str] = Counter()
        """Since the start: submitted, started, done, failed, later."""
        self._rotations: SortedDict[str, Rotation] = SortedDict()
        self._lateness_ms: OrderedDict[str, Recent] = OrderedDict()
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
        lease = Lease(job.handle, run_of(job.handle), job, None, None)
        lease.former = True
        self.leases.add(lease, None)
        self._graces.set(job.handle, self.now.mono_ms + self.settings.restart_grace_ms)

    # -- the step: begin, messages, advance; then take_ops and absorb until there are none; then dispatch, and again ---

    def begin(self, now: Now) -> None:
        if now.mono_ms - self.now.mono_ms > GAP_MS:
            self._was_suspended(now)
        self.now = now
        lead_ms = now.wall_ms - now.mono_ms
        if lead_ms > self._lead_ms:
            self._lead_ms = lead_ms
        elif self._lead_ms - lead_ms >= STEP_MS:
            self._was_stepped_back(self._lead_ms - lead_ms)
            self._lead_ms = lead_ms

    def _was_stepped_back(self, by_ms: int) -> None:
        """Waits are durations: they end when the clock would have said so, had it not been stepped back.

        What memory knows is read anew. Costs the store a change of each job that waits for no date.
        """
        self._note_event(Event("stepped_back", (by_ms,)))
        self.write_claims()
        self._write(ops.Shift(by_ms), self._on_shifted)

    def _on_shifted(self, _: None) -> None:
        for func in self._rotations:
            if self.queues.is_open(func):
                self.queues.close(func)
                self._read(ops.Lanes(func), partial(self._on_lanes, func))

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
            purge = ops.Purge(wall_ms - self.settings.dead_kept_ms, self.settings.dead_kept, PURGED_MAX)
            self._write(purge, self._on_purged)

    def _on_purged(self, count: int) -> None:
        if count == PURGED_MAX:
            self._next_purge_ms = self.now.mono_ms + PURGE_PAUSE_MS

    def _end_what_ran_out(self, mono_ms: int) -> None:
        for lease in self.leases.pop_expired(mono_ms):
            job = lease.job
            self._note_event(Event("lease_ran_out", (job.lease_ms,), lease.peer, job.func, job.name, lease.run))
            # The handle stays: the worker's own report is better than none, until the job is given out again.
            self._fail(lease, requests.Outcome("failed", "its lease ran out"), partial(self._on_ran_out, lease))
        for handle in self._graces.pop_due(mono_ms):
            lost = self.leases.by_handle(handle)
            if lost is not None and lost.former:
                self._cut_off(lost)
            elif lost is not None:
                self._crash(lost)

    def _on_ran_out(self, lease: Lease, ended: ops.Ended) -> None:
        if not ended.found or ended.successor is not None:
            self._tell_lost(lease, "a newer job has taken its place")
        elif lease.peer is not None:
            self.leases.keep_late(lease)

    def wakeup_ms(self, now: Now) -> int:
        """How long nothing needs to be done, if no message comes. A stepped wall clock is the caller's care."""
        ends = [end for end in (self.leases.next_end_ms(), self._graces.next_ms()) if end is not None]
        monos = [self._next_sweep_ms, self._next_purge_ms, *(max(end, self._patient_until_ms) for end in ends)]
        claim_ms = self.leases.next_claim_ms()
        if claim_ms is not None:
            monos.append(claim_ms)
        waits = [mono_ms - now.mono_ms for mono_ms in monos]
        due_at_ms = self._due.next_ms()
        if due_at_ms is not None:
            waits.append(due_at_ms - now.wall_ms)
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

    def _reply(self, peer: Peer, msgid: int, answer: Mapping[str, Any] = answers.NOTHING) -> None:
        peer.unanswered.discard(msgid)
        self.sends.append((peer, encode_response(msgid, answer)))

    def refuse(self, peer: Peer, msgid: int, error: PeriodicError) -> None:
        peer.unanswered.discard(msgid)
        self.sends.append((peer, encode_error(msgid, error)))

    def _notice(self, lease: Lease, kind: str, text: str) -> None:
        if lease.peer is not None:
            self.sends.append((lease.peer, encode_notification("notice", (lease.handle, kind, text))))

    def _tell_lost(self, lease: Lease, why: str) -> None:
        """The run no longer counts. Its worker is told once, and not if it has reported."""
        self.leases.forget_late(lease)
        if not lease.lost and not lease.reported:
            lease.lost = True
            self._notice(lease, "lost", f"this run no longer counts: {why}")

    # -- connections ---------------------------------------------------------------------------------------------------

    def attach(self, peer: Peer) -> None:
        self.peers[peer.number] = peer

    def detach(self, peer: Peer) -> None:
        """The connection is gone. Its runs wait for their report, or are given out again at once.

        Those of one that fell silent wait for as long as their leases go.
        """
        del self.peers[peer.number]
        goodbye = peer.said_goodbye
        for func in list(peer.subscriptions):
            self._unsubscribe(peer, func)
        mine = [lease for lease in dict.fromkeys((*peer.performing.values(), *peer.adopted)) if lease.peer is peer]
        runs = [lease for lease in mine if not lease.ended]
        if runs and not goodbye:
            self._note_event(Event("worker_lost", (len(runs),), peer))
        for lease in mine:
            lease.peer = None
            self.leases.forget_late(lease)
        for lease in runs:
            lease.alone = len(runs) == 1
            if goodbye:
                self._release(lease, self.now.wall_ms)
            elif peer.fell_silent:
                # Its process is alive, as far as its machine says: code that holds the interpreter lets nobody ping.
                continue
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
        for peer in self.peers.values():
            silent_ms = self.now.mono_ms - peer.heard_ms
            limit_ms = peer.silence_ms or self.settings.silence_ms
            if peer.subscriptions and silent_ms >= limit_ms:
                peer.fell_silent = True
                self.closings.append((peer, Silent(f"subscribed, but silent for {limit_ms // 1000} s")))
            elif silent_ms >= self.settings.idle_ms and peer.is_idle:
                self.closings.append((peer, Silent(f"silent for {self.settings.idle_ms // 1000} s")))

    def idlest(self, before_mono_ms: int) -> Peer | None:
        """The connection that has been silent for longest, if since before then, and waits for nothing."""
        idle = (peer for peer in self.peers.values() if peer.heard_ms < before_mono_ms and peer.is_idle)
        return min(idle, key=lambda peer: peer.heard_ms, default=None)

    def drain(self) -> None:
        """The daemon stops: from now on nothing is given out, and the workers are told."""
        self.draining = True
        for lease in self.leases:
            self._notice(lease, "stop", "the daemon is stopping")

    # -- anyone's messages ---------------------------------------------------------------------------------------------

    def hello(self, peer: Peer, msgid: int, options: requests.Hello) -> None:
        """What is not said stays as it was. There is one version and no feature yet, so nothing else can be agreed."""
        for attribute in ("client", "credit", "disconnect_grace_ms", "silence_ms"):
            said = getattr(options, attribute)
            if said is not None:
                setattr(peer, attribute, said)
        self._roomy[peer] = None
        settings = self.settings
        limits = {
            "message_bytes": settings.message_bytes,
            "workload_bytes": settings.workload_bytes,
            "headers_bytes": requests.HEADERS_BYTES_MAX,
            "batch_jobs": requests.BATCH_JOBS_MAX,
            "name_bytes": requests.NAME_BYTES_MAX,
            "connection_jobs": CONNECTION_JOBS_MAX,
        }
        answer: answers.HelloAnswer = {
            "protocol": PROTOCOL_VERSION,
            "server": settings.server,
            "boot": self.boot,
            "now_at_ms": self.now.wall_ms,
            "durability": settings.durability,
            "features": [],
            "limits": limits,
        }
        self._reply(peer, msgid, answer)

    def ping(self, peer: Peer, msgid: int) -> None:
        """Answered last in the step: until then a report that came before may still turn out not to count."""
        self._pings.append((peer, msgid))

    def answer_pings(self) -> None:
        pings, self._pings = self._pings, []
        for peer, msgid in pings:
            self._reply(peer, msgid)

    # -- a client's messages -------------------------------------------------------------------------------------------

    def submit(self, peer: Peer, msgid: int, submission: requests.Submission) -> None:
        put = self._new_put(submission)
        self._write(put, partial(self._on_submitted, peer, msgid, put.job))

    def _on_submitted(self, peer: Peer, msgid: int, job: Job, result: ops.PutResult) -> None:
        self._was_put(job, result)
        answer: answers.SubmitAnswer = {"result": result.result, "id": result.id}
        self._reply(peer, msgid, answer)

    def submit_batch(self, peer: Peer, msgid: int, submissions: tuple[requests.Submission, ...]) -> None:
        answer: answers.SubmitBatchAnswer = {"results": [], "ids": []}

        def on_put(job: Job, result: ops.PutResult) -> None:
            self._was_put(job, result)
            answer["results"].append(result.result)
            answer["ids"].append(result.id)
            if len(answer["ids"]) == len(submissions):
                self._reply(peer, msgid, answer)

        for submission in submissions:
            put = self._new_put(submission)
            self._write(put, partial(on_put, put.job))
        if not submissions:
            self._reply(peer, msgid, answer)

    def _new_put(self, submission: requests.Submission) -> ops.Put:
        """To be written by the caller, before anything else is."""
        job, existing = submission
        job.id = self._new_number()
        self._claim_now(job.key)
        return ops.Put(job, existing)

    def _was_put(self, job: Job, result: ops.PutResult) -> None:
        if result.old_id is not None:
            self._is_gone(result.old_id, "its job was replaced")
        if result.id == job.id:
            self._counts["submitted"] += 1
            if result.result != "queued_behind":
                self._enqueue(job)

    def _is_gone(self, job_id: int, why: str) -> None:
        """The record of a job that waited, ran or was dead."""
        self.queues.discard(job_id)
        lease = self.leases.by_id(job_id)
        if lease is not None:
            self._end(lease)
        late = lease or self.leases.late(job_id)
        if late is not None:
            self._tell_lost(late, why)

    def remove(self, peer: Peer, msgid: int, func: str, name: str, job_id: int | None) -> None:
        def on_removed(result: ops.RemoveResult) -> None:
            if result.id is not None:
                self._is_gone(result.id, "its job was removed")
            if result.successor is not None:
                self._enqueue(result.successor)
            answer: answers.RemoveAnswer = {"result": result.result}
            self._reply(peer, msgid, answer)

        self._write(ops.Remove(func, name, self.now.wall_ms, job_id), on_removed)

    def requeue(self, peer: Peer, msgid: int, func: str, name: str, job_id: int | None) -> None:
        def on_requeued(result: ops.RequeueResult) -> None:
            if result.job is not None and result.old_id is not None:
                self._is_gone(result.old_id, "its job was requeued")
                self._enqueue(result.job)
            answer: answers.RequeueAnswer = {"result": result.result, "id": result.job.id if result.job else None}
            self._reply(peer, msgid, answer)

        self._write(ops.Requeue(func, name, self._new_number(), self.now.wall_ms, job_id), on_requeued)

    def get(self, peer: Peer, msgid: int, func: str, name: str, job_id: int | None, workload: bool) -> None:
        def on_job(found: ops.GetResult) -> None:
            job = None if found.shown is None else answers.describe(found.shown, workload)
            answer: answers.GetAnswer = {"result": found.result, "job": job}
            self._reply(peer, msgid, answer)

        self._claim_now((func, name))
        self._read(ops.Get(func, name, job_id, workload), on_job)

    def list(self, peer: Peer, msgid: int, listing: ops.Listing) -> None:
        if self._listings_open >= LISTINGS_MAX:
            self.refuse(peer, msgid, Busy(f"{LISTINGS_MAX} listings are open already", retry_after_ms=100))
            return
        self._listings_open += 1
        self.listings.append((peer, msgid, listing))

    def listed(self, peer: Peer, msgid: int, page: ops.ListingResult) -> None:
        """The listing was done, beside the steps."""
        self._listings_open -= 1
        answer: answers.ListAnswer = {
            "jobs": [answers.describe(shown) for shown in page.jobs],
            "next": None if page.next is None else requests.job_cursor(page.next),
        }
        self._reply(peer, msgid, answer)

    def not_listed(self, peer: Peer, msgid: int, error: PeriodicError) -> None:
        self._listings_open -= 1
        self.refuse(peer, msgid, error)

    def status(self, peer: Peer, msgid: int, query: requests.FunctionsQuery) -> None:
        self.write_claims()
        self._read(ops.Count(*query), partial(self._on_count, peer, msgid, query))

    def _on_count(self, peer: Peer, msgid: int, query: requests.FunctionsQuery, found: ops.CountResult) -> None:
        last = next(reversed(found.functions)) if found.more else None
        names = sorted({*found.functions, *self._functions_with_workers(query, last)})
        more = last is not None or len(names) > query.limit
        page = names[: query.limit]
        p50_us, p99_us = self.commits_us.percentiles(50, 99)
        answer: answers.StatusAnswer = {
            "server": self.settings.server,
            "boot": self.boot,
            "now_at_ms": self.now.wall_ms,
            "uptime_ms": self.now.mono_ms - self.started.mono_ms,
            "durability": self.settings.durability,
            "connections": len(self.peers),
            "running": len(self.leases),
            "submitted": self._counts["submitted"],
            "started": self._counts["started"],
            "done": self._counts["done"],
            "failed": self._counts["failed"],
            "later": self._counts["later"],
            "commits": self.commits_us.count,
            "commit_p50_us": p50_us,
            "commit_p99_us": p99_us,
            "functions": [self._figures(func, found.functions.get(func, ops.FunctionCount())) for func in page],
            "next": page[-1] if more else None,
        }
        self._reply(peer, msgid, answer)

    def _functions_with_workers(self, query: requests.FunctionsQuery, last: str | None) -> set[str]:
        """In order, from where the page begins to ``last``, and one more than the page can hold."""
        begin = max(query.prefix, query.after)
        names = self._rotations.irange(begin, last, inclusive=(begin != query.after, True))
        return set(islice(takewhile(lambda func: func.startswith(query.prefix), names), query.limit + 1))

    def _figures(self, func: str, count: ops.FunctionCount) -> answers.FunctionAnswer:
        rotation = self._rotations.get(func)
        running = self.leases.running[func]
        lateness_ms = self._lateness_ms.get(func) or Recent()
        p50_ms, p99_ms, max_ms = lateness_ms.percentiles(50, 99, 100)
        return {
            "func": func,
            "workers": rotation.workers if rotation else 0,
            "waiting": count.live - count.behind - running,
            "running": running,
            "behind": count.behind,
            "dead": count.dead,
            "due_at_ms": count.due_at_ms,
            "started": lateness_ms.count,
            "lateness_p50_ms": p50_ms,
            "lateness_p99_ms": p99_ms,
            "lateness_max_ms": max_ms,
        }

    def shutdown(self, peer: Peer, msgid: int) -> None:
        self.shutdown_asked = True
        self._reply(peer, msgid)

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
            peer.said_goodbye = False
            if func not in self._rotations:
                self._rotations[func] = Rotation()
                self._read(ops.Lanes(func), partial(self._on_lanes, func))
            self._rotations[func].workers += 1
        subscription.limit = limit
        self._offer(subscription)
        self._reply(peer, msgid)

    def _on_lanes(self, func: str, priorities: Sequence[int]) -> None:
        if func in self._rotations and not self.queues.is_open(func):
            self.queues.open(func, priorities)
            self._restless[func] = None

    def unsubscribe(self, peer: Peer, msgid: int, func: str) -> None:
        self._unsubscribe(peer, func)
        self._reply(peer, msgid)

    def unsubscribe_all(self, peer: Peer, msgid: int) -> None:
        for func in list(peer.subscriptions):
            self._unsubscribe(peer, func)
        peer.said_goodbye = True
        self._reply(peer, msgid)

    def _unsubscribe(self, peer: Peer, func: str) -> None:
        subscription = peer.subscriptions.pop(func, None)
        if subscription is None:
            return
        peer.said_goodbye = not peer.subscriptions
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
        if lease.lost or lease.reported:
            return
        if error is not None:
            outcome = requests.Outcome("failed", error)
        else:
            try:
                outcome = requests.outcome(result, self.rules)
            except Invalid as bad:
                outcome = requests.Outcome("failed", bad.to_wire())
                self._notice(lease, "refused", bad.to_wire())

        def tell(ended: ops.Ended) -> None:
            if not ended.found:
                self._tell_lost(lease, "its job was removed, replaced or given out again")

        self._report(lease, outcome, tell)

    def finish(self, peer: Peer, msgid: int, handle: str, outcome: requests.Outcome) -> None:
        def tell(ended: ops.Ended) -> None:
            if ended.found:
                self._reply(peer, msgid)
                return
            self.refuse(peer, msgid, LeaseLost("this is not the latest run of a job, or it was reported already"))
            if lease is not None and lease.peer is not peer:
                lease.reported = False
                self._tell_lost(lease, "its job was removed or replaced")

        job_id = _job_id(handle)
        lease = self.leases.by_handle(handle) or (self.leases.late(job_id) if job_id is not None else None)
        if lease is not None and lease.handle != handle:
            lease = None
        if lease is not None:
            lease.reported = True
            self._report(lease, outcome, tell)
        elif job_id is None or self.leases.by_id(job_id) is not None:
            tell(ops.Ended(False))
        else:
            self._read(ops.Fetch(job_id), partial(self._report_late, handle, outcome, tell))

    def extend(self, peer: Peer, msgid: int, handle: str, lease_ms: int | None, own: bool) -> None:
        """The lease starts anew. A worker that has connected again says that the run is its own."""
        lease = self.leases.by_handle(handle)
        if lease is None:
            self.refuse(peer, msgid, LeaseLost("this run is not in progress"))
            return
        length_ms = lease_ms or lease.job.lease_ms
        until_at_ms = lease.job.lease_until_at_ms = self.now.wall_ms + length_ms
        self.leases.extend(lease, self.now.mono_ms + length_ms)
        if own and lease.peer is not peer:
            self._take_over(lease, peer)

        def on_extended(found: bool) -> None:
            if not found:
                self.refuse(peer, msgid, LeaseLost("its job was removed or replaced"))
                return
            answer: answers.ExtendAnswer = {"lease_until_at_ms": until_at_ms}
            self._reply(peer, msgid, answer)

        if self.leases.pop_claim(lease):
            self._claim(lease)
        self._write(ops.Extend(lease.job.id, until_at_ms), on_extended)

    def _take_over(self, lease: Lease, peer: Peer) -> None:
        lease.peer = peer
        lease.former = False
        peer.adopted = [other for other in peer.adopted if self.leases.knows(other) and other is not lease] + [lease]
        self._graces.discard(lease.handle)

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
        due_at_ms = self.queues.next_due_at_ms(func)
        if due_at_ms is None:
            self._due.discard(func)
        else:
            self._due.set(func, due_at_ms)

    def _on_page(self, page: ops.Page, result: ops.PageResult) -> None:
        running = {job.id for job in result.jobs if self.leases.by_id(job.id) is not None}
        self.queues.load(page, result, running)
        self._restless[page.func] = None

    def _give(self, subscription: Subscription, job: Job) -> None:
        peer = subscription.peer
        late = self.leases.late(job.id)
        if late is not None:
            self._tell_lost(late, "its job was given out again")
        job.attempt += 1
        job.state = State.RUNNING
        run = self._new_number()
        job.handle = f"{self.boot}-{run}-{job.id}-{self._secret()}"
        job.lease_until_at_ms = self.now.wall_ms + job.lease_ms
        lease = Lease(job.handle, run, job, peer, subscription)
        msgid = peer.new_msgid()
        peer.performing[msgid] = lease
        subscription.running += 1
        peer.note_outbox(peer.outbox_bytes + job.workload_bytes)
        self.leases.add(lease, self.now.mono_ms + job.lease_ms)
        self._note_start(job)
        if self.settings.claims_wait:
            self._claim(lease, partial(self._on_claimed, lease, msgid))
        else:
            self.leases.postpone_claim(lease, self.now.mono_ms + self.settings.claim_delay_ms)
            self._perform(lease, msgid)

    def _note_start(self, job: Job) -> None:
        self._counts["started"] += 1
        lateness_ms = self._lateness_ms.get(job.func)
        if lateness_ms is None:
            lateness_ms = self._lateness_ms[job.func] = Recent()
            if len(self._lateness_ms) > LATENESS_MAX:
                self._lateness_ms.popitem(last=False)
        else:
            self._lateness_ms.move_to_end(job.func)
        lateness_ms.note(self.now.wall_ms - job.due_at_ms)

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
        assert lease.peer is not None
        given = answers.performed(lease.job, lease.handle, lease.run, workload)
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
        assert job.lease_until_at_ms is not None
        self._write(
            ops.Claim(job.id, lease.handle, job.attempt, job.lease_until_at_ms),
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
            self._tell_lost(lease, "its job is not to be claimed")

    # -- the end of a run ----------------------------------------------------------------------------------------------

    def _end(self, lease: Lease) -> str | None:
        """Returns the handle by which the store knows the run."""
        self._graces.discard(lease.handle)
        return self.leases.end(lease)

    def _report(self, lease: Lease, outcome: requests.Outcome, tell: Then) -> None:
        """The worker said how its run ended. ``tell`` is given the store's answer."""
        if lease.ended:
            self.leases.forget_late(lease)
            self._read(ops.Fetch(lease.job.id), partial(self._report_late, lease.handle, outcome, tell))
            return
        lease.job.handle = None
        if outcome.outcome == "done":
            end = self._end_of(lease.job, self._end(lease), outcome)
            self._write(ops.Delete(end), partial(self._on_ended, end, "done", None, tell))
        elif outcome.outcome == "later":
            self._release(lease, self.now.wall_ms + outcome.delay_ms, tell, outcome)
        else:
            self._fail(lease, outcome, tell)

    def _end_of(self, job: Job, handle: str | None, outcome: requests.Outcome | None = None) -> ops.End:
        """To be written by the caller at once: what it holds is done in the store's answer, if the run is found."""
        follow_ons = tuple(map(self._new_put, outcome.submit)) if outcome else ()
        return ops.End(job.id, job.func, handle, self.now.wall_ms, follow_ons)

    def _fail(self, lease: Lease, outcome: requests.Outcome, tell: Then) -> None:
        job = lease.job
        job.reason = cut_reason(outcome.reason)
        wait_ms = retry.wait_ms(job.retry, job.failures, job.id)
        job.failures += 1
        if wait_ms is None or outcome.final:
            self._bury(lease, tell, outcome)
        else:
            self._release(lease, self.now.wall_ms + (outcome.delay_ms or wait_ms), tell, outcome)

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
            self._release(lease, self.now.wall_ms)

    def _cut_off(self, lease: Lease) -> None:
        """The daemon ended while it ran, and its worker did not come back. That is nobody's fault, unless it recurs."""
        job = lease.job
        job.restarts += 1
        if job.restarts >= RESTARTS_MAX:
            job.reason = f"its runs were cut off by {job.restarts} restarts of the daemon"
            self._bury(lease)
        else:
            self._release(lease, self.now.wall_ms)

    def _release(
        self, lease: Lease, due_at_ms: int, tell: Then | None = None, outcome: requests.Outcome | None = None
    ) -> None:
        lease.job.due_at_ms = due_at_ms
        end = self._end_of(lease.job, self._end(lease), outcome)
        self._write_release(lease.job, end, outcome.outcome if outcome else None, tell)

    def _write_release(self, job: Job, end: ops.End, how: str | None, tell: Then | None) -> None:
        job.dated = False
        op = ops.Release(
            end,
            job.due_at_ms,
            job.handle,
            job.attempt,
            job.failures,
            job.crashes,
            job.restarts,
            job.suspect,
            job.reason,
        )
        self._write(op, partial(self._on_ended, end, how, job, tell))

    def _bury(self, lease: Lease, tell: Then | None = None, outcome: requests.Outcome | None = None) -> None:
        end = self._end_of(lease.job, self._end(lease), outcome)
        self._write_bury(lease.job, end, outcome.outcome if outcome else None, tell)

    def _write_bury(self, job: Job, end: ops.End, how: str | None, tell: Then | None) -> None:
        ended_at_ms = job.ended_at_ms or end.at_ms
        op = ops.Bury(
            end, ended_at_ms, job.handle, job.attempt, job.failures, job.crashes, job.restarts, job.reason or ""
        )

        def on_buried(ended: ops.Ended) -> None:
            if ended.found and ended.successor is None and job.ended_at_ms is None:
                counts = job.attempt, job.failures, job.crashes
                self._note_event(Event("dead", counts, None, job.func, job.name))
            self._on_ended(end, how, None, tell, ended)

        self._write(op, on_buried)

    def _on_ended(
        self, end: ops.End, how: str | None, waiting: Job | None, tell: Then | None, ended: ops.Ended
    ) -> None:
        """``waiting``: the job itself, if it waits again unless another took its place."""
        if ended.found:
            if how is not None:
                self._counts[how] += 1
            if ended.successor is not None:
                self._enqueue(ended.successor)
            elif waiting is not None:
                self._enqueue(waiting)
            for put, result in zip(end.follow_ons, ended.follow_ons, strict=True):
                if result is not None:
                    self._was_put(put.job, result)
        if tell is not None:
            tell(ended)

    def _report_late(self, handle: str, outcome: requests.Outcome, tell: Then, job: Job | None) -> None:
        """A report for a run that is over. It counts if it is the first and no later run was given out.

        The run was charged when its lease ended, so a failure changes no counters now.
        """
        if job is None or job.handle != handle or job.state not in (State.WAITING, State.DEAD):
            tell(ops.Ended(False))
            return
        job.handle = None
        if outcome.outcome == "failed":
            job.reason = cut_reason(outcome.reason)
        end = self._end_of(job, handle, outcome)
        self.queues.discard(job.id)
        if outcome.outcome == "done":
            self._write(ops.Delete(end), partial(self._on_ended, end, "done", None, tell))
        elif job.state is State.DEAD or outcome.final:
            self._write_bury(job, end, None, tell)
        else:
            if outcome.delay_ms or outcome.outcome == "later":
                job.due_at_ms = self.now.wall_ms + outcome.delay_ms
            self._write_release(job, end, None, tell)

    @property
    def performing(self) -> bool:
        """Whether a connected worker is busy with a run that counts."""
        return any(lease.peer is not None for lease in self.leases)

    # -- small things --------------------------------------------------------------------------------------------------

    @property
    def rules(self) -> requests.Rules:
        return requests.Rules(self.now.wall_ms, self.settings.workload_bytes)

    def _new_number(self) -> int:
        """For a job or a run. Reserved on disk by the million, in the commit that first uses one of them."""
        if self._next_id == self._reserved_id:
            self._reserved_id += IDS_RESERVED
            self._write(ops.Reserve(self._reserved_id))
        self._next_id += 1
        return self._next_id - 1

    def _secret(self) -> str:
        """The part of a handle that nobody guesses."""
        if not self._secrets:
            drawn = self._chance(HANDLE_BYTES * SECRETS_DRAWN)
            self._secrets = [drawn[at : at + HANDLE_BYTES].hex() for at in range(0, len(drawn), HANDLE_BYTES)]
            self._secrets.reverse()
        return self._secrets.pop()


def _job_id(handle: str) -> int | None:
    """The job that a handle speaks of, or None if it is no handle of ours."""
    parts = handle.split("-")
    if len(parts) != 4 or not (parts[2].isascii() and parts[2].isdigit() and len(parts[2]) < 17):
        return None
    return int(parts[2])
