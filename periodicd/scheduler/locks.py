"""Locks: what of each is held, by whose run, and who of those in line is next. Decides nothing about due times or room.

A job takes all its locks together, in the step that gives it out, or none. Who is due and cannot have them is *parked*:
it stands in line for each of them, on disk. When something of a lock comes free, the first in line is *granted* it: it
waits in its lane again and is given out in the same step. Nobody holds some while waiting for others, so nothing
deadlocks; and nobody overtakes, so a job that wants much is not starved by many that want little.

Who could not be given out anyway is passed over, and looked at again when that has changed: its function is paused or
held back, has no worker or none with room; or it wants more than there is. Of a function one job at a time is granted
something, so nothing is kept for jobs beyond their worker's room.

What memory knows of a line is only that there may be one; who stands there is the store's. To believe in a line that is
empty does no harm: whoever is parked for its sake is granted its locks in the same step.
"""

from collections.abc import Callable
from functools import partial
from itertools import islice
from operator import itemgetter

from periodicd.job import Job
from periodicd.lock import Lock
from periodicd.scheduler.lock_uses import LockUses
from periodicd.scheduler.step import Step
from periodicd.scheduler.timers import Deadlines
from periodicd.store import order

PARKED_A_STEP = 256
"""So many are parked in a step, and so many heads of lines looked at. The rest waits for the next one."""


class Locks:
    def __init__(self, step: Step, known: dict[str, Lock], lines: tuple[str, ...]) -> None:
        self._step = step
        self.uses = LockUses(step, known)
        self.granted: dict[int, Job] = {}
        """In this step, and not given out yet."""
        self._granted_of: dict[str, int] = {}
        """The same by function."""
        self.passed_over: dict[str, dict[str, None]] = {}
        """By function whose jobs cannot be given out: the lines in which it is one of the first."""
        self._first_of: dict[str, dict[str, None]] = {}
        """By function: the lines in which its job is first, and waits for a lock. Others go if it can no more."""
        self.to_look: dict[str, None] = {}
        """Lines that may have moved on."""
        self.lines = 0
        """How many there may be."""
        self.may_have_left = False
        """A parked job may have left its lines otherwise than by a grant."""
        self._opens: Deadlines[str] = Deadlines()
        """Locks whose rate holds their line back (wall clock)."""
        self._parked = self._looked = 0
        """In this step."""
        self.can_begin: Callable[[str], bool]
        """To be set by whoever composes the parts: whether a job of the function could be given out now. If not, the
        function is looked at when that has changed, and ``became_able`` called."""
        self.enqueue: Callable[[Job], None]
        """Likewise: the job waits."""
        for name in lines:
            self._stand(name)
            self.to_look[name] = None

    def set(self, name: str, lock: Lock) -> None:
        """Raises Invalid."""
        self.uses.set(name, lock)
        self._moves_on(name)

    # -- taking --------------------------------------------------------------------------------------------------------

    def take(self, job: Job) -> bool:
        """The due job is to be given out now: whether it may. If not, it is to be parked."""
        assert job.locks is not None
        if self._ungrant(job.id) is not None:
            self.became_able(job.func)
            return True
        uses = [use for name in job.locks if (use := self.uses.by_name.get(name)) is not None]
        if any(use.has_line for use in uses) or not self.uses.are_free(job.locks):
            return False
        self.uses.hold(job)
        return True

    def free(self, job: Job) -> None:
        """It holds its locks no more."""
        self.uses.give_back(job)
        for name in job.locks or ():
            self._moves_on(name)

    # -- standing in line ----------------------------------------------------------------------------------------------

    def has_granted(self, func: str) -> bool:
        """Whether a job of it was, which is to be given out in this step or not at all."""
        return func in self._granted_of

    @property
    def has_parked_enough(self) -> bool:
        return self._parked >= PARKED_A_STEP

    def park(self, job: Job) -> None:
        """It could not have its locks."""
        self._parked += 1
        self._step.write(order.Park(job))
        for name in job.locks or ():
            self._stand(name)
            self._moves_on(name)

    def _stand(self, name: str) -> None:
        use = self.uses.of(name)
        self.lines += not use.has_line
        use.has_line = True

    def _moves_on(self, name: str) -> None:
        """Its line may; or nobody uses the lock any more, and it is forgotten."""
        if self.uses.by_name[name].has_line:
            self.to_look[name] = None
        elif self.uses.forget_if_unused(name):
            self.to_look.pop(name, None)

    def became_able(self, func: str) -> None:
        """Jobs of the function can be given out again, perhaps."""
        for name in self.passed_over.pop(func, ()):
            if name in self.uses.by_name:
                self._moves_on(name)

    @property
    def wants_to_ask(self) -> bool:
        return bool(self.to_look or self._first_of or self.may_have_left)

    def ask(self) -> None:
        """Ask the store who is first in the lines that may move on."""
        if self.may_have_left:
            self.may_have_left = False
            self._step.read(order.Left(), self._on_left)
        for func in [func for func in self._first_of if not self.can_begin(func)]:
            for name in self._first_of.pop(func):
                if name in self.uses.by_name:
                    self._moves_on(name)
        wanted = []
        for name in list(islice(self.to_look, max(0, PARKED_A_STEP - self._looked))):
            del self.to_look[name]
            self._looked += 1
            use = self.uses.by_name[name]
            if use.opens_at_ms > self._step.now.wall_ms:
                self._opens.set(name, use.opens_at_ms)
            elif use.free > 0:
                wanted.append(name)
        if wanted:
            self._step.read(order.Heads(tuple(wanted)), self._on_heads)

    def _on_left(self, left: tuple[str, ...]) -> None:
        for name in left:
            if name in self.uses.by_name:
                self._moves_on(name)

    def _on_heads(self, heads: dict[str, list[order.InLine]]) -> None:
        empty = tuple(name for name, line in heads.items() if not line)
        if empty:
            # Whoever wants more than there is may stand there; then what is set will be looked at.
            self._step.read(order.LineLengths(empty, 1), self._on_lengths)
        for name, line in heads.items():
            self._looked += len(line)
            first = self._first(name, line)
            if first is None:
                continue
            others = tuple(other for other in first.locks if other != name)
            if not self.uses.are_free(first.locks):
                self._waits(first)
            elif others:
                self._step.read(order.Heads(others), partial(self._on_others, first))
            else:
                self._grant(first)

    def _on_lengths(self, lengths: dict[str, int]) -> None:
        for name, length in lengths.items():
            use = self.uses.by_name.get(name)
            if use is not None and not length:
                self.lines -= use.has_line
                use.has_line = False
                self._moves_on(name)

    def _on_others(self, first: order.InLine, heads: dict[str, list[order.InLine]]) -> None:
        """It goes when it is first in all its lines."""
        are_first = [self._first(other, line) == first for other, line in heads.items()]
        if self.uses.are_free(first.locks) and all(are_first):
            self._grant(first)
        else:
            self._waits(first)

    def _waits(self, first: order.InLine) -> None:
        self._first_of.setdefault(first.func, {}).update(dict.fromkeys(first.locks))

    def _first(self, name: str, line: list[order.InLine]) -> order.InLine | None:
        """Who is next of those that are first of their functions. Remembers who was passed over."""
        able = []
        for each in line:
            if each.func not in self._granted_of and self.can_begin(each.func):
                able.append(each)
            else:
                self.passed_over.setdefault(each.func, {})[name] = None
        return min(able, key=itemgetter(0, 1, 2), default=None)

    def _grant(self, first: order.InLine) -> None:
        """Unless it was, by the look at another of its lines."""
        if first.func in self._granted_of:
            self.passed_over.setdefault(first.func, {}).update(dict.fromkeys(first.locks))
            return
        job = Job(first.id, first.func, "", first.due_at_ms, 0, locks=first.locks)
        self.granted[first.id] = job
        self._granted_of[first.func] = first.id
        self.uses.hold(job)
        self._step.write(order.Unpark(first.id, self._step.now.wall_ms), partial(self._on_unparked, first.id))
        for name in first.locks:
            self._moves_on(name)

    def _on_unparked(self, job_id: int, job: Job | None) -> None:
        if job is None:
            self.gone(job_id)
        else:
            self.enqueue(job)

    def _ungrant(self, job_id: int) -> Job | None:
        job = self.granted.pop(job_id, None)
        if job is not None:
            del self._granted_of[job.func]
        return job

    def gone(self, job_id: int) -> None:
        """A job that was granted something is not given out: it is gone, or there was no room after all."""
        job = self._ungrant(job_id)
        if job is None:
            return
        self.uses.refund(job)
        self.free(job)
        self.became_able(job.func)

    def end_step(self) -> None:
        """What was granted and not given out comes back: its lane had another job for its worker's room."""
        for job_id in list(self.granted):
            self.gone(job_id)

    # -- time ----------------------------------------------------------------------------------------------------------

    def stepped_back(self, by_ms: int) -> None:
        """The wall clock was."""
        for name in self.uses.stepped_back(by_ms):
            self._moves_on(name)

    def advance(self) -> None:
        self._parked = self._looked = 0
        for name in self._opens.pop_due(self._step.now.wall_ms):
            if name in self.uses.by_name:
                self._moves_on(name)

    def next_ms(self) -> int | None:
        """In how many milliseconds ``advance`` has something to do. A stepped wall clock is the caller's care."""
        if self.to_look or self.has_parked_enough:
            return 0
        at_ms = self._opens.next_ms()
        return None if at_ms is None else at_ms - self._step.now.wall_ms
