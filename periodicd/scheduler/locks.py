"""Locks: what of each is held, by whose run, and who of those in line is next. Decides nothing about due times or room.

A job takes all its locks together, in the step that gives it out, or none. Who is due and cannot have them is *parked*:
it stands in line for each of them, on disk. When something of a lock comes free, the first in line is *granted* it: it
waits in its lane again, and what it needs is kept for it until it is given out. Nobody holds some while waiting for
others, so nothing deadlocks; and nobody overtakes, so a job that wants much is not starved by many that want little.

Who could not be given out anyway, since its function is paused or has no worker, or it wants more than there is, is
passed over. What memory knows of a line is only that there may be one; who stands there is the store's.
"""

from collections.abc import Callable
from functools import partial
from itertools import islice
from operator import itemgetter
from typing import Literal

from msgspec.structs import replace
from sortedcontainers import SortedDict

from periodic_client.wire import Invalid
from periodic_client.wire.limits import LOCKS_SET_MAX
from periodicd.job import Job
from periodicd.lock import NOTHING_SET, Lock
from periodicd.scheduler.step import Step
from periodicd.scheduler.timers import Deadlines
from periodicd.store import order

PARKED_A_STEP = 256
"""So many are parked in a step, and so many lines looked at. The rest waits for the next one."""


class Use:
    """Of one lock. There is none of a lock that nobody holds or waits for, and of which nothing is set."""

    __slots__ = ("has_line", "holders", "lock", "used")

    def __init__(self, lock: Lock) -> None:
        self.lock = lock
        self.used = 0
        """By runs, and kept for who was granted it."""
        self.holders: dict[int, int] = {}
        """By job: what it holds, or is granted."""
        self.has_line = False
        """Whether somebody may stand in line."""

    @property
    def free(self) -> int:
        return self.lock.capacity - self.used


class Locks:
    def __init__(self, step: Step, known: dict[str, Lock], lines: tuple[str, ...]) -> None:
        self._step = step
        self.uses: SortedDict[str, Use] = SortedDict()
        """Not to be changed elsewhere."""
        self.granted: dict[int, Job] = {}
        """Those that wait for room."""
        self._ids_granted: dict[str, dict[int, None]] = {}
        """Their ids, by function."""
        self.to_look: dict[str, None] = {}
        """Lines that may have moved on."""
        self._opens: Deadlines[str] = Deadlines()
        """Locks whose rate holds their line back (wall clock)."""
        self.moved: dict[str, None] = {}
        """Locks whose rate's time has moved in this step."""
        self._passed_over: dict[str, dict[str, None]] = {}
        """By function that is not served: the lines in which it would be first."""
        self._set = len(known)
        """Locks of which something is set."""
        self._parked = self._looked = 0
        """In this step."""
        self.is_served: Callable[[str], bool]
        """To be set by whoever composes the parts: whether jobs of the function could be given out, had they room."""
        self.enqueue: Callable[[Job], None]
        """Likewise: the job waits."""
        for name, lock in known.items():
            full_at_us = min(lock.full_at_us, (step.now.wall_ms + (lock.rate.per_ms if lock.rate else 0)) * 1_000)
            self.uses[name] = Use(replace(lock, full_at_us=full_at_us))
        for name in lines:
            self._use(name).has_line = True
            self.to_look[name] = None

    def _use(self, name: str) -> Use:
        use = self.uses.get(name)
        if use is None:
            use = self.uses[name] = Use(NOTHING_SET)
        return use

    # -- what is set ---------------------------------------------------------------------------------------------------

    def set(self, name: str, lock: Lock) -> None:
        """Raises Invalid."""
        use = self._use(name)
        was_set, is_set = use.lock != NOTHING_SET, lock != NOTHING_SET
        if is_set and not was_set and self._set >= LOCKS_SET_MAX:
            self._look_at(name)
            raise Invalid(f"something is set of {LOCKS_SET_MAX:,} locks already; unset one")
        self._set += is_set - was_set
        full_at_us = use.lock.full_at_us if use.lock.rate == lock.rate else 0
        use.lock = replace(lock, full_at_us=full_at_us)
        self._step.write(order.SetLock(name, None if lock == NOTHING_SET else use.lock))
        self._look_at(name)

    # -- taking --------------------------------------------------------------------------------------------------------

    def take(self, job: Job) -> bool:
        """The due job is to be given out now: whether it may. If not, it is to be parked."""
        assert job.locks is not None
        if self._ungrant(job.id) is not None:
            return True
        uses = [self._use(name) for name in job.locks]
        if any(use.has_line for use in uses) or not self._is_free(job.locks):
            return False
        self._hold(job)
        return True

    def capacity(self, name: str) -> int:
        use = self.uses.get(name)
        return NOTHING_SET.capacity if use is None else use.lock.capacity

    def used(self, name: str) -> int:
        use = self.uses.get(name)
        return 0 if use is None else use.used

    def closed_to(self, name: str, weight: int) -> Literal["too_small", "held", "rate"] | None:
        """Why nobody can take so much of it now. None: one can."""
        if weight > self.capacity(name):
            return "too_small"
        use = self.uses.get(name)
        if use is None:
            return None
        rate = use.lock.rate
        if weight > use.free:
            return "held"
        is_open = rate is None or rate.opens_at_ms(use.lock.full_at_us) <= self._step.now.wall_ms
        return None if is_open else "rate"

    def _is_free(self, wanted: dict[str, int]) -> bool:
        return all(self.closed_to(name, weight) is None for name, weight in wanted.items())

    def _hold(self, job: Job) -> None:
        for name, weight in (job.locks or {}).items():
            use = self._use(name)
            use.used += weight
            use.holders[job.id] = weight
            rate = use.lock.rate
            if rate is not None:
                full_at_us = rate.begun(use.lock.full_at_us, self._step.now.wall_ms)
                use.lock = replace(use.lock, full_at_us=full_at_us)
                self.moved[name] = None

    def recover(self, job: Job) -> None:
        """It ran when the daemon stopped, and holds what it took."""
        for name, weight in (job.locks or {}).items():
            use = self._use(name)
            use.used += weight
            use.holders[job.id] = weight

    def free(self, job: Job) -> None:
        """It holds its locks no more."""
        for name in job.locks or ():
            use = self._use(name)
            use.used -= use.holders.pop(job.id, 0)
            self._look_at(name)

    def gone(self, job_id: int) -> None:
        """A job that waited does so no more, or not as it was."""
        job = self._ungrant(job_id)
        if job is not None:
            self.free(job)

    def _ungrant(self, job_id: int) -> Job | None:
        job = self.granted.pop(job_id, None)
        if job is not None:
            ids = self._ids_granted[job.func]
            del ids[job_id]
            if not ids:
                del self._ids_granted[job.func]
        return job

    # -- standing in line ----------------------------------------------------------------------------------------------

    @property
    def has_parked_enough(self) -> bool:
        return self._parked >= PARKED_A_STEP

    def park(self, job: Job) -> None:
        """It could not have its locks."""
        self._parked += 1
        self._step.write(order.Park(job))
        for name in job.locks or ():
            self._use(name).has_line = True
            self._look_at(name)

    def _look_at(self, name: str) -> None:
        """Its line may move on."""
        use = self.uses[name]
        if use.has_line:
            self.to_look[name] = None
        elif not use.holders and use.lock == NOTHING_SET:
            del self.uses[name]
            self.to_look.pop(name, None)

    def served(self, func: str) -> None:
        """Jobs of the function can be given out again."""
        for name in self._passed_over.pop(func, ()):
            if name in self.uses:
                self._look_at(name)

    def ask(self) -> None:
        """Ask the store who is first in the lines that may move on."""
        wanted: dict[str, int] = {}
        for name in list(islice(self.to_look, PARKED_A_STEP - self._looked)):
            del self.to_look[name]
            self._looked += 1
            use = self.uses.get(name)
            if use is None:
                continue
            opens_at_ms = 0 if use.lock.rate is None else use.lock.rate.opens_at_ms(use.lock.full_at_us)
            if opens_at_ms > self._step.now.wall_ms:
                self._opens.set(name, opens_at_ms)
            elif use.free > 0:
                wanted[name] = use.lock.capacity
        if wanted:
            self._step.read(order.Heads(wanted), self._on_heads)

    def _on_heads(self, heads: dict[str, list[order.InLine]]) -> None:
        for name, line in heads.items():
            if not line:
                # Whoever wants more than there is may stand there; then what is set will be looked at.
                self._step.read(order.LineLengths((name,), 1), self._on_lengths)
                continue
            first = self._first(name, line)
            if first is None or not self._is_free(first.locks):
                continue
            others = {other: self._use(other).lock.capacity for other in first.locks if other != name}
            if others:
                self._step.read(order.Heads(others), partial(self._on_others, first))
            else:
                self._grant(first)

    def _on_lengths(self, lengths: dict[str, int]) -> None:
        for name, length in lengths.items():
            use = self.uses.get(name)
            if use is not None and not length:
                use.has_line = False
                for names in self._passed_over.values():
                    names.pop(name, None)
                self._look_at(name)

    def _on_others(self, first: order.InLine, heads: dict[str, list[order.InLine]]) -> None:
        """It goes when it is first in all its lines."""
        if self._is_free(first.locks) and all(self._first(other, line) == first for other, line in heads.items()):
            self._grant(first)

    def _first(self, name: str, line: list[order.InLine]) -> order.InLine | None:
        for each in line:
            if not self.is_served(each.func):
                self._passed_over.setdefault(each.func, {})[name] = None
        return self.first(line)

    def first(self, line: list[order.InLine]) -> order.InLine | None:
        """Who is next of those that are first of their functions."""
        return min((each for each in line if self.is_served(each.func)), key=itemgetter(0, 1, 2), default=None)

    def _grant(self, first: order.InLine) -> None:
        """Unless it was, by the look at another of its lines."""
        if first.id in self.granted:
            return
        job = Job(first.id, first.func, "", first.due_at_ms, 0, locks=first.locks)
        self.granted[first.id] = job
        self._ids_granted.setdefault(first.func, {})[first.id] = None
        self._hold(job)
        self._step.write(order.Unpark(first.id, self._step.now.wall_ms), partial(self._on_unparked, first.id))
        for name in first.locks:
            self._look_at(name)

    def _on_unparked(self, job_id: int, job: Job | None) -> None:
        if job is None:
            self.gone(job_id)
        else:
            self.enqueue(job)

    def drop(self, func: str) -> None:
        """Jobs of the function cannot be given out: what is kept for them is free for others."""
        for job_id in self._ids_granted.pop(func, ()):
            self.free(self.granted.pop(job_id))

    # -- time ----------------------------------------------------------------------------------------------------------

    def stepped_back(self, by_ms: int) -> None:
        """The wall clock was, which prolongs no wait. Who was granted something may not be due any more."""
        for func in list(self._ids_granted):
            self.drop(func)
        for name, use in self.uses.items():
            if use.lock.rate is not None and use.lock.full_at_us:
                use.lock = replace(use.lock, full_at_us=max(0, use.lock.full_at_us - by_ms * 1_000))
                self.moved[name] = None
                self.to_look[name] = None

    def write(self) -> None:
        """How far the rates are, once a step."""
        for name in self.moved:
            use = self.uses.get(name)
            if use is not None and use.lock != NOTHING_SET:
                self._step.write(order.SetLock(name, use.lock))
        self.moved.clear()

    def advance(self) -> None:
        self._parked = self._looked = 0
        for name in self._opens.pop_due(self._step.now.wall_ms):
            if name in self.uses:
                self.to_look[name] = None

    def next_ms(self) -> int | None:
        """In how many milliseconds ``advance`` has something to do. A stepped wall clock is the caller's care."""
        if self.to_look or self.has_parked_enough:
            return 0
        at_ms = self._opens.next_ms()
        return None if at_ms is None else at_ms - self._step.now.wall_ms
