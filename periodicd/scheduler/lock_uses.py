"""What of each lock is set, held, and free. Counts only: who is next is decided in locks.py."""

from typing import Literal

from msgspec.structs import replace
from sortedcontainers import SortedDict

from periodic_client.wire import Invalid
from periodic_client.wire.limits import LOCKS_SET_MAX
from periodicd.function import MS_NS
from periodicd.job import Job
from periodicd.lock import NOTHING_SET, Lock
from periodicd.scheduler.step import Step
from periodicd.store import order


class Use:
    """Of one lock. There is none of a lock that nobody holds or waits for, and of which nothing is set."""

    __slots__ = ("has_line", "holders", "lock", "used")

    def __init__(self, lock: Lock) -> None:
        self.lock = lock
        self.used = 0
        self.holders: dict[int, int] = {}
        """By job: what its run holds, or what it was granted in this step."""
        self.has_line = False
        """Whether somebody may stand in line."""

    @property
    def free(self) -> int:
        return self.lock.capacity - self.used

    @property
    def opens_at_ms(self) -> int:
        """Until when its rate holds it back (wall clock)."""
        rate = self.lock.rate
        return 0 if rate is None else rate.opens_at_ms(self.lock.full_at_ns)


class LockUses:
    def __init__(self, step: Step, known: dict[str, Lock]) -> None:
        self._step = step
        self.by_name: SortedDict[str, Use] = SortedDict()
        """Not to be changed elsewhere."""
        self._set = len(known)
        """Locks of which something is set."""
        self.moved: dict[str, None] = {}
        """Locks whose rate's time has moved in this step."""
        for name, lock in known.items():
            # The clock may have been set back meanwhile: that costs a rate's whole time at the most.
            most_ns = (step.now.wall_ms + (lock.rate.per_ms if lock.rate else 0)) * MS_NS
            self.by_name[name] = Use(replace(lock, full_at_ns=min(lock.full_at_ns, most_ns)))

    def of(self, name: str) -> Use:
        use = self.by_name.get(name)
        if use is None:
            use = self.by_name[name] = Use(NOTHING_SET)
        return use

    def forget_if_unused(self, name: str) -> bool:
        """Whether it was."""
        use = self.by_name[name]
        if use.holders or use.has_line or use.lock != NOTHING_SET:
            return False
        del self.by_name[name]
        return True

    def set(self, name: str, lock: Lock) -> None:
        """Raises Invalid."""
        use = self.by_name.get(name) or Use(NOTHING_SET)
        was_set, is_set = use.lock != NOTHING_SET, lock != NOTHING_SET
        if is_set and not was_set and self._set >= LOCKS_SET_MAX:
            raise Invalid(f"something is set of {LOCKS_SET_MAX:,} locks already; unset one")
        self._set += is_set - was_set
        full_at_ns = use.lock.full_at_ns if use.lock.rate == lock.rate else 0
        use.lock = replace(lock, full_at_ns=full_at_ns)
        self.by_name[name] = use
        self._step.write(order.SetLock(name, use.lock if is_set else None))

    # -- what can be taken ---------------------------------------------------------------------------------------------

    def capacity(self, name: str) -> int:
        use = self.by_name.get(name)
        return NOTHING_SET.capacity if use is None else use.lock.capacity

    def closed_to(self, name: str, weight: int) -> Literal["too_small", "held", "rate"] | None:
        """Why nobody can take so much of it now. None: one can."""
        if weight > self.capacity(name):
            return "too_small"
        use = self.by_name.get(name)
        if use is None:
            return None
        if weight > use.free:
            return "held"
        return None if use.opens_at_ms <= self._step.now.wall_ms else "rate"

    def are_free(self, wanted: dict[str, int]) -> bool:
        return all(self.closed_to(name, weight) is None for name, weight in wanted.items())

    # -- taking and giving back ----------------------------------------------------------------------------------------

    def hold(self, job: Job) -> None:
        """It takes its locks."""
        self.recover(job)
        for name in job.locks or ():
            lock = self.by_name[name].lock
            if lock.rate is not None:
                self._move(name, lock.rate.begun(lock.full_at_ns, self._step.now.wall_ms))

    def recover(self, job: Job) -> None:
        """It holds what it took, before the daemon stopped perhaps."""
        for name, weight in (job.locks or {}).items():
            use = self.of(name)
            use.used += weight
            use.holders[job.id] = weight

    def give_back(self, job: Job) -> None:
        """It holds its locks no more."""
        for name in job.locks or ():
            use = self.of(name)
            use.used -= use.holders.pop(job.id, 0)

    def refund(self, job: Job) -> None:
        """It did not begin, so it was not one of the rates' runs."""
        for name in job.locks or ():
            lock = self.by_name[name].lock
            if lock.rate is not None:
                self._move(name, lock.full_at_ns - lock.rate.each_ns)

    def _move(self, name: str, full_at_ns: int) -> None:
        use = self.by_name[name]
        use.lock = replace(use.lock, full_at_ns=full_at_ns)
        self.moved[name] = None

    def stepped_back(self, by_ms: int) -> list[str]:
        """The wall clock was, which prolongs no wait. Returns the locks with a rate."""
        names = [name for name, use in self.by_name.items() if use.lock.rate is not None and use.lock.full_at_ns]
        for name in names:
            self._move(name, max(0, self.by_name[name].lock.full_at_ns - by_ms * MS_NS))
        return names

    def write(self) -> None:
        """How far the rates are, once a step: on disk before the runs are given out."""
        for name in self.moved:
            use = self.by_name.get(name)
            if use is not None and use.lock != NOTHING_SET:
                self._step.write(order.SetLock(name, use.lock))
        self.moved.clear()
