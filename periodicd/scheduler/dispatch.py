"""Who gets which job, and when: windows on the waiting jobs, rotations of the subscriptions, and whom to look at.

A *function* is looked at when it may have a job for somebody: one came due, one was added, a page was read, or one of
its subscriptions got room. It gives its due jobs, in order, to its subscriptions in turn, until one of both is used up.

Functions have turns: each gives a few jobs and is looked at again after the others, and when many jobs were given in a
step the rest waits for the next. So however many are due of one function, another's wait for a turn and a step.

A *connection* is looked at when it got room as a whole (it has credit again, it reads again, the daemon has memory
again). Subscriptions that had been passed over for its sake are offered to their functions, one at a time, the longest
passed over first: the next one only if this one leaves room.

Says who gets what; it begins no run, and asks the store for nothing but pages.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from sortedcontainers import SortedDict

from periodicd.job import Job, State
from periodicd.scheduler.functions import Functions, Hold
from periodicd.scheduler.in_progress import InProgress
from periodicd.scheduler.locks import Locks
from periodicd.scheduler.peers import Peer, Subscription
from periodicd.scheduler.queues import Queues
from periodicd.scheduler.settings import Settings
from periodicd.scheduler.step import Step
from periodicd.scheduler.timers import Deadlines
from periodicd.store import ops

LINGER_MS = 10_000
"""After the last who asked for jobs of a function was answered, its jobs are remembered for so long."""


class Rotation:
    """The subscriptions of one function that may have room, each taken in turn.

    A subscription without room is dropped when its turn comes and must be offered again when room comes back; so a
    thousand busy workers cost nothing.
    """

    def __init__(self) -> None:
        self.workers = 0
        """How many peers are subscribed, with room or without."""
        self._turn: deque[Subscription] = deque()

    def offer(self, subscription: Subscription) -> None:
        if not subscription.is_queued and subscription.running < subscription.limit:
            subscription.is_queued = True
            self._turn.append(subscription)

    def withdraw(self, subscription: Subscription) -> None:
        subscription.peer.passed_over.pop(subscription, None)
        if subscription.is_queued:
            subscription.is_queued = False
            self._turn.remove(subscription)

    def head(self) -> Subscription | None:
        """The subscription whose turn it is to get the job that is due, if any has room."""
        turn = self._turn
        while turn:
            subscription = turn[0]
            if subscription.running < subscription.limit:
                if subscription.peer.has_room:
                    return subscription
                subscription.peer.passed_over[subscription] = None
            turn.popleft()
            subscription.is_queued = False
        return None

    @property
    def has_room(self) -> bool:
        return any(each.running < each.limit and each.peer.has_room for each in self._turn)

    def pass_turn(self) -> None:
        """The head was given a job: now the next one."""
        self._turn.rotate(-1)


class Dispatch:
    """``running``: the jobs that run, though their rows may not say so yet."""

    def __init__(self, step: Step, settings: Settings, running: InProgress, functions: Functions, locks: Locks) -> None:
        self._step = step
        self._turn = settings.turn
        self._given_a_step = settings.given_a_step
        self._given = 0
        """In this step."""
        self._running = running
        self._settings = functions
        self._locks = locks
        self.on_broadcast: Callable[[Job], None]
        """To be set by whoever composes the parts: it waits, and is in no window."""
        locks.can_begin = self.can_begin
        locks.enqueue = self.enqueue
        self._postponed: dict[str, None] = {}
        """Functions that are to be looked at in the next step: of this one, enough jobs were given or parked."""
        self.queues = Queues(settings.budget)
        self.rotations: SortedDict[str, Rotation] = SortedDict()
        self._due: Deadlines[str] = Deadlines()
        """By function: when its next job is due (wall clock)."""
        self._functions: dict[str, None] = {}
        """To be looked at, in order."""
        self._connections: dict[Peer, None] = {}
        """To be looked at, in order."""
        self._unserved: Deadlines[str] = Deadlines()
        """Functions that nobody waits for any more, and how long they are remembered (monotonic clock)."""
        self._has_stopped = False

    # -- who has room --------------------------------------------------------------------------------------------------

    def subscribe(self, peer: Peer, func: str, limit: int) -> None:
        subscription = peer.subscriptions.get(func)
        if subscription is None:
            subscription = peer.subscriptions[func] = Subscription(peer, func, limit)
            self._add(subscription)
        subscription.limit = limit
        self._offer(subscription)

    def unsubscribe(self, peer: Peer, func: str) -> bool:
        """Whether there was such a subscription."""
        subscription = peer.subscriptions.pop(func, None)
        if subscription is None:
            return False
        self._remove(subscription)
        if not self.rotations[func].workers:
            self._close(func)
        return True

    def enter(self, subscription: Subscription) -> None:
        """Somebody waits for jobs of the function, and leaves when there are some."""
        self._add(subscription)
        self._offer(subscription)

    def leave(self, subscription: Subscription) -> None:
        """Whoever left will soon be back: the function's jobs are remembered for a moment."""
        self._remove(subscription)
        if not self.rotations[subscription.func].workers:
            self._unserved.set(subscription.func, self._step.now.mono_ms + LINGER_MS)

    def _add(self, subscription: Subscription) -> None:
        func = subscription.func
        if func not in self.rotations:
            self.rotations[func] = Rotation()
            self._open(func)
        self.rotations[func].workers += 1
        self._unserved.discard(func)

    def _remove(self, subscription: Subscription) -> None:
        rotation = self.rotations[subscription.func]
        rotation.withdraw(subscription)
        rotation.workers -= 1

    def can_begin(self, func: str) -> bool:
        """Whether a job of the function could be given out now. If not, the function is looked at when it may be."""
        rotation = self.rotations.get(func)
        if rotation is None or not rotation.workers or self._has_stopped:
            return False
        hold = self._settings.hold(func)
        if hold is not None:
            self._hold_back(func, hold)
            return False
        return rotation.head() is not None

    def workers(self, func: str) -> int:
        """How many have it, or wait for one of its jobs."""
        rotation = self.rotations.get(func)
        return 0 if rotation is None else rotation.workers

    def has_room_for(self, func: str) -> bool:
        """Whether one of them could take a job."""
        rotation = self.rotations.get(func)
        return rotation is not None and rotation.has_room

    def first_due(self, func: str) -> Job | None:
        """The job that is next, as far as memory knows."""
        return self.queues.due(func, self._step.now.wall_ms) if self.queues.is_open(func) else None

    @property
    def has_stopped(self) -> bool:
        return self._has_stopped

    def has_room(self, peer: Peer) -> None:
        """The connection may have, as a whole, and had not."""
        self._connections[peer] = None

    def memory_freed(self, peers: Iterable[Peer]) -> None:
        """The daemon has memory again for what it sends."""
        for peer in peers:
            if peer.passed_over:
                self.has_room(peer)

    def give_room(self, peer: Peer, msgid: int) -> None:
        """A ``perform`` was answered."""
        subscription = peer.performing.pop(msgid)
        subscription.running -= 1
        if peer.passed_over:
            self.has_room(peer)
        if peer.subscriptions.get(subscription.func) is not subscription:
            return
        if peer.passed_over:
            peer.passed_over[subscription] = None
        else:
            self._offer(subscription)

    def _offer(self, subscription: Subscription) -> None:
        """It may have room now."""
        self.rotations[subscription.func].offer(subscription)
        self._functions[subscription.func] = None

    # -- what waits ----------------------------------------------------------------------------------------------------

    def enqueue(self, job: Job) -> None:
        """The job waits now, and the store knows it."""
        job.state = State.WAITING
        if job.broadcast is not None:
            self.on_broadcast(job)
        elif self.queues.add(job):
            self._functions[job.func] = None

    def enqueue_if_new(self, job: Job) -> None:
        """It may wait since earlier in this step, so that memory knows it by now, or has given it out."""
        if job.id not in self._running and self.queues.get(job.id) is None:
            self.enqueue(job)

    def discard(self, job_id: int) -> None:
        """The job waits no more, or not as it was."""
        self.queues.discard(job_id)

    def look_at(self, func: str) -> None:
        """What is set of the function has changed."""
        self._functions[func] = None

    def read_anew(self) -> None:
        """What is remembered of the store is not true any more."""
        for func in self.rotations:
            if self.queues.is_open(func):
                self._forget(func)
                self._open(func)

    def _open(self, func: str) -> None:
        self._step.read(ops.Lanes(func), partial(self._on_lanes, func))

    def _on_lanes(self, func: str, priorities: Sequence[int]) -> None:
        if func in self.rotations and not self.queues.is_open(func):
            self.queues.open(func, priorities)
            self._functions[func] = None

    def _close(self, func: str) -> None:
        del self.rotations[func]
        self._unserved.discard(func)
        self._forget(func)

    def _forget(self, func: str) -> None:
        self._due.discard(func)
        self.queues.close(func)

    # -- giving out ----------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """From now on nothing is given out."""
        self._has_stopped = True

    def pairs(self) -> Iterator[tuple[Subscription, Job]]:
        """What is due and who gets it. The caller must begin each run before it asks for the next pair.

        May ask for pages; then it is to be called again once they are there.
        """
        self._functions.update(self._running.take_freed())
        while self._functions or self._connections:
            if not self._functions:
                self._look_at_connection(next(iter(self._connections)))
                continue
            func = next(iter(self._functions))
            del self._functions[func]
            if self._given >= self._given_a_step and not self._locks.has_granted(func):
                self._postponed[func] = None
                continue
            if self.queues.is_open(func) and not self._has_stopped:
                yield from self._look_at_function(func)

    def _look_at_connection(self, peer: Peer) -> None:
        if peer.passed_over and peer.has_room:
            subscription = next(iter(peer.passed_over))
            del peer.passed_over[subscription]
            self._offer(subscription)
        else:
            del self._connections[peer]

    def _look_at_function(self, func: str) -> Iterator[tuple[Subscription, Job]]:
        rotation, wall_ms = self.rotations[func], self._step.now.wall_ms
        if func in self._locks.passed_over:
            self._locks.became_able(func)
        enough = self._given + self._turn
        while (job := self.queues.due(func, wall_ms)) is not None:
            if func in self._settings.known and (hold := self._settings.hold(func)) is not None:
                self._hold_back(func, hold)
                return
            subscription = rotation.head()
            if subscription is None:
                # Whoever gets room has the function looked at again.
                self._due.discard(func)
                return
            if job.expires_at_ms is not None and job.has_expired(wall_ms):
                self.queues.discard(job.id)
                continue
            if job.locks is not None and not self._locks.take(job):
                if self._locks.has_parked_enough:
                    self._postponed[func] = None
                    return
                self.queues.discard(job.id)
                self._locks.park(job)
                continue
            rotation.pass_turn()
            self.queues.discard(job.id)
            if func in self._settings.known:
                self._settings.begun(func)
            self._given += 1
            yield subscription, job
            if self._given >= enough:
                self._functions[func] = None
                return
        for page in self.queues.wanted_pages(func):
            self._step.read(page, partial(self._on_page, page))
        due_at_ms = self.queues.next_due_at_ms(func)
        if due_at_ms is None:
            self._due.discard(func)
        else:
            self._due.set(func, due_at_ms)

    def _hold_back(self, func: str, hold: Hold) -> None:
        """Whatever ends it has the function looked at again."""
        if hold.code == "running_max":
            self._running.await_end(func)
        if hold.until_at_ms is None:
            self._due.discard(func)
        else:
            self._due.set(func, hold.until_at_ms)

    def _on_page(self, page: ops.Page, result: ops.PageResult) -> None:
        running = {job.id for job in result.jobs if job.id in self._running}
        self.queues.load(page, result, running)
        self._functions[page.func] = None

    # -- time ----------------------------------------------------------------------------------------------------------

    @property
    def has_postponed(self) -> bool:
        """Whether something is to be given out in the next step, at once."""
        return bool(self._postponed)

    def is_postponed(self, func: str) -> bool:
        """Whether it has its turn in the next step."""
        return func in self._postponed

    def advance(self) -> None:
        """Functions whose next job is due now are to be looked at."""
        self._given = 0
        self._functions.update(self._postponed)
        self._postponed.clear()
        for func in self._due.pop_due(self._step.now.wall_ms):
            self._functions[func] = None
        for func in list(self._unserved.pop_due(self._step.now.mono_ms)):
            self._close(func)

    def next_ms(self) -> int | None:
        """In how many milliseconds ``advance`` has something to do. A stepped wall clock is the caller's care."""
        due_at_ms, close_ms = self._due.next_ms(), self._unserved.next_ms()
        waits = [] if due_at_ms is None else [due_at_ms - self._step.now.wall_ms]
        return min(waits + ([] if close_ms is None else [close_ms - self._step.now.mono_ms]), default=None)
