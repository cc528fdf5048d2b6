"""The waiting jobs that memory knows: for each function with a subscriber, a window on the jobs that are on disk.

A *lane* is the waiting jobs of one function at one priority, ordered by (due_at_ms, id). Memory holds the beginning of
a lane, complete up to its *horizon*; what lies beyond is on disk only. When the beginning is used up the next page is
read, and one budget over all lanes decides how much is remembered. Functions without a subscriber are not here at all,
so a million jobs due next month, or of a function that nobody serves, cost disk only.

No I/O and no clock: this module says which pages it wants, the scheduler asks the store for them. A page is asked for
and answered within one step, so nothing changes while it is on its way; a job that memory knows better (it is running,
its claim not yet on disk) is left out of the page by the caller.
"""

from bisect import insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from periodicd.job import Job
from periodicd.scheduler.ordered import Ordered
from periodicd.store.ops import Key, Page, PageResult

JOB_OVERHEAD_BYTES = 600
"""What a remembered job takes beside its workload, about (measured with tracemalloc)."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How much the windows of all functions together may hold."""

    jobs: int = 20_000
    bytes: int = 32 * 1024 * 1024
    inline_bytes: int = 4096
    """Workloads larger than this stay on disk until their job is given out."""
    page_jobs: int = 256
    page_bytes: int = 1024 * 1024


class Window(NamedTuple):
    """What memory holds of one lane, for whoever compares it with the store."""

    func: str
    priority: int
    horizon: Key | None
    jobs: list[Job]
    """First come first."""


class Lane:
    """The remembered beginning of one lane."""

    def __init__(self, horizon: Key | None) -> None:
        self._order: Ordered[tuple[int, int]] = Ordered()
        """By due time and id. Entries whose job is gone or has another due time by now are leftovers."""
        self._jobs: dict[int, Job] = {}
        self.horizon = horizon
        """Memory knows every job of the lane up to here. None: it knows the whole lane."""

    def __len__(self) -> int:
        return len(self._jobs)

    def reaches(self, job: Job) -> bool:
        return self.horizon is None or (job.due_at_ms, job.id) <= self.horizon

    def push(self, job: Job) -> None:
        self._jobs[job.id] = job
        self._order.add((job.due_at_ms, job.id))
        if len(self._order) > 2 * len(self._jobs) + 64:
            self._rebuild()

    def _rebuild(self) -> None:
        self._order.fill([(job.due_at_ms, job.id) for job in self._jobs.values()])

    def discard(self, job_id: int) -> None:
        self._jobs.pop(job_id, None)

    def head(self) -> Job | None:
        while (first := self._order.first()) is not None:
            due_at_ms, job_id = first
            job = self._jobs.get(job_id)
            if job is not None and job.due_at_ms == due_at_ms:
                return job
            self._order.drop_first()
        return None

    def jobs(self) -> Iterator[Job]:
        return iter(self._jobs.values())

    def cut(self, keep: int) -> list[Job]:
        """Remember only the first ``keep`` jobs (1 or more); returns the forgotten ones."""
        ordered = sorted(self._jobs.values(), key=lambda job: (job.due_at_ms, job.id))
        self._jobs = {job.id: job for job in ordered[:keep]}
        self._rebuild()
        last = ordered[keep - 1]
        self.horizon = Key(last.due_at_ms, last.id)
        return ordered[keep:]


class _Function:
    """The lanes of one function, by priority."""

    def __init__(self) -> None:
        self.lanes: dict[int, Lane] = {}
        self.order: list[int] = []

    def open_lane(self, priority: int, horizon: Key | None) -> Lane:
        lane = self.lanes[priority] = Lane(horizon)
        insort(self.order, priority)
        return lane

    def close_lane(self, priority: int) -> None:
        del self.lanes[priority]
        self.order.remove(priority)


class Queues:
    def __init__(self, budget: Budget | None = None) -> None:
        self.budget = budget or Budget()
        self._functions: dict[str, _Function] = {}
        self._jobs: dict[int, Job] = {}
        self._bytes = 0
        self._cut_above_jobs = self.budget.jobs
        self._cut_above_bytes = self.budget.bytes

    def __len__(self) -> int:
        """How many jobs memory holds."""
        return len(self._jobs)

    @property
    def held_bytes(self) -> int:
        return self._bytes

    def snapshot(self) -> list[Window]:
        """All windows, those without jobs too."""
        return [
            Window(func, priority, lane.horizon, sorted(lane.jobs(), key=lambda job: (job.due_at_ms, job.id)))
            for func, function in self._functions.items()
            for priority, lane in function.lanes.items()
        ]

    def is_open(self, func: str) -> bool:
        return func in self._functions

    def open(self, func: str, priorities: Sequence[int]) -> None:
        """Begin to remember jobs of ``func``, whose waiting jobs on disk have these priorities."""
        function = self._functions[func] = _Function()
        for priority in priorities:
            function.open_lane(priority, Key(-1, -1))

    def close(self, func: str) -> None:
        """Forget the function: its jobs stay on disk."""
        function = self._functions.pop(func, None)
        for lane in function.lanes.values() if function else ():
            for job in lane.jobs():
                self._forget(job)

    def get(self, job_id: int) -> Job | None:
        return self._jobs.get(job_id)

    def add(self, job: Job) -> bool:
        """A job waits, and the store has it. Remember it if its function is open and its lane reaches so far."""
        function = self._functions.get(job.func)
        if function is None:
            return False
        lane = function.lanes.get(job.priority)
        if lane is None:
            lane = function.open_lane(job.priority, None)
        if not lane.reaches(job):
            return False
        self._remember(lane, job)
        self._keep_to_budget()
        return True

    def discard(self, job_id: int) -> None:
        """The job waits no more, or not as it was."""
        job = self._jobs.get(job_id)
        if job is not None:
            self._functions[job.func].lanes[job.priority].discard(job_id)
            self._forget(job)

    def due(self, func: str, wall_ms: int) -> Job | None:
        """The job of ``func`` to be given out now: the due one of smallest priority, due time and id.

        None if there is none, or if a page must be read before that can be said.
        """
        function = self._functions[func]
        for priority in function.order:
            lane = function.lanes[priority]
            job = lane.head()
            if job is None:
                if lane.horizon is not None:
                    return None
            elif job.due_at_ms <= wall_ms:
                return job
        return None

    def next_due_at_ms(self, func: str) -> int | None:
        """When the next job of ``func`` is due; only meaningful when no page is wanted."""
        heads = [lane.head() for lane in self._functions[func].lanes.values()]
        return min((job.due_at_ms for job in heads if job is not None), default=None)

    def wanted_pages(self, func: str) -> list[Page]:
        """The pages without which the function's next job is not known. Lanes that are used up are dropped."""
        function = self._functions[func]
        budget = self.budget
        pages = []
        for priority in list(function.order):
            lane = function.lanes[priority]
            if lane.head() is not None:
                continue
            if lane.horizon is None:
                function.close_lane(priority)
                continue
            share = budget.jobs // (len(self._functions) + len(function.lanes))
            limit = min(budget.page_jobs, max(8, share))
            pages.append(Page(func, priority, lane.horizon, limit, budget.inline_bytes, budget.page_bytes))
        return pages

    def load(self, page: Page, result: PageResult, known: set[int]) -> None:
        """The answer to a wanted page. Jobs whose id is in ``known`` are left out: memory knows better."""
        lane = self._functions[page.func].lanes[page.priority]
        for job in result.jobs:
            if job.id not in known and job.id not in self._jobs:
                self._remember(lane, job)
        last = result.jobs[-1] if result.jobs else None
        lane.horizon = Key(last.due_at_ms, last.id) if last and result.more else None
        self._keep_to_budget()

    def _remember(self, lane: Lane, job: Job) -> None:
        if job.workload is not None and len(job.workload) > self.budget.inline_bytes:
            job.workload = None
        lane.push(job)
        self._jobs[job.id] = job
        self._bytes += JOB_OVERHEAD_BYTES + len(job.workload or b"")

    def _forget(self, job: Job) -> None:
        del self._jobs[job.id]
        self._bytes -= JOB_OVERHEAD_BYTES + len(job.workload or b"")

    def _keep_to_budget(self) -> None:
        """Cut the longest lanes until a quarter of the budget is free. Each lane keeps its first job.

        The thresholds move up when even that is too much (more lanes than the budget has jobs), so that the work is
        not done again for every job added.
        """
        if len(self._jobs) <= self._cut_above_jobs and self._bytes <= self._cut_above_bytes:
            return
        budget = self.budget
        lanes = [lane for function in self._functions.values() for lane in function.lanes.values() if len(lane) > 1]
        for lane in sorted(lanes, key=len, reverse=True):
            if len(self._jobs) * 4 <= budget.jobs * 3 and self._bytes * 4 <= budget.bytes * 3:
                break
            for job in lane.cut(max(1, len(lane) // 4)):
                self._forget(job)
        self._cut_above_jobs = max(budget.jobs, len(self._jobs) * 5 // 4)
        self._cut_above_bytes = max(budget.bytes, self._bytes * 5 // 4)
