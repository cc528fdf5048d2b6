"""The runs in progress: what a run is, and which there are. Decides nothing about them.

A broadcast is one run too, of nobody, and has a part for each connection that it was given to.
"""

from collections import Counter
from collections.abc import Iterator

from periodicd.clock import Now
from periodicd.job import Job, run_of
from periodicd.scheduler.peers import Peer


class Run:
    """The job's own record holds the counters as of this run."""

    __slots__ = (
        "alone",
        "begun_ms",
        "ended",
        "former",
        "handle",
        "job",
        "lease_ms",
        "lost",
        "number",
        "parts",
        "peer",
        "reported",
        "until_ms",
    )

    def __init__(self, number: int, handle: str, job: Job, peer: Peer | None, begun_ms: int) -> None:
        self.begun_ms = begun_ms
        """By the monotonic clock; of one of the life before, when this life began."""
        self.number = number
        """By which it is shown: the handle is for its worker only."""
        self.handle = handle
        self.job = job
        self.parts: dict[str, Run] = NO_PARTS
        """Of a broadcast, by handle: those that are not over."""
        self.lease_ms = job.lease_ms
        self.until_ms: int | None = None
        """When it ends, whatever its lease; by the monotonic clock."""
        self.peer = peer
        """None: the connection is gone, was one of the daemon's life before, or never was: the run was taken."""
        self.former = False
        """It began in the daemon's life before, and nobody has taken it over."""
        self.alone = False
        """No other run was on its connection when that was lost."""
        self.ended = False
        """The job waits again or is dead, but its worker may still be busy with it, and its report may still count."""
        self.reported = False
        """Its worker reported with ``finish``; the response that follows needs no answer."""
        self.lost = False
        """Its worker was told that it no longer counts."""

    def of_peers(self) -> "Iterator[Run]":
        """Itself, if a connection has it, and its parts that have a number: the others were not given yet."""
        if self.peer is not None:
            yield self
        for part in self.parts.values():
            if part.number:
                yield part


NO_PARTS: dict[str, Run] = {}
"""Never changed."""


def former(job: Job, now: Now) -> tuple[Run, int]:
    """The run of a job that ran when the daemon stopped, and how long ago it began: its worker may come back.

    Of its time some is over; if it seems to have begun only later, the clock was set back.
    """
    assert job.handle is not None
    run = Run(run_of(job.handle), job.handle, job, None, now.mono_ms)
    run.former = True
    ran_ms = max(0, now.wall_ms - (job.started_at_ms or 0))
    if job.run_max_ms is not None:
        run.until_ms = now.mono_ms + job.run_max_ms - ran_ms
    return run, ran_ms


class InProgress:
    """The runs that count, by their handle, their job, and its identity."""

    def __init__(self) -> None:
        self.by_func: Counter[str] = Counter()
        """How many, zeros left out."""
        self.broadcasts: Counter[str] = Counter()
        """How many of these are, by function: they take no room."""
        self._by_handle: dict[str, Run] = {}
        self._by_key: dict[tuple[str, str], Run] = {}
        self._by_id: dict[int, Run] = {}
        self._awaited: set[str] = set()
        self._freed: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._by_handle)

    def __iter__(self) -> Iterator[Run]:
        return iter(self._by_handle.values())

    def __contains__(self, job_id: int) -> bool:
        """Whether the job runs, though its row may not say so yet."""
        return job_id in self._by_id

    @property
    def with_workers(self) -> bool:
        """Whether a connected worker is busy with one."""
        return next(self.of_peers(), None) is not None

    def of_peers(self) -> Iterator[Run]:
        """Those that a connected worker is busy with; of broadcasts the parts."""
        for run in self:
            yield from run.of_peers()

    def by_handle(self, handle: str) -> Run | None:
        return self._by_handle.get(handle)

    def of_job(self, job_id: int) -> Run | None:
        return self._by_id.get(job_id)

    def of_key(self, key: tuple[str, str]) -> Run | None:
        return self._by_key.get(key)

    def add(self, run: Run) -> None:
        self._by_handle[run.handle] = run
        self._by_key[run.job.key] = run
        self._by_id[run.job.id] = run
        self.by_func[run.job.func] += 1
        if run.job.broadcast is not None:
            self.broadcasts[run.job.func] += 1

    def await_end(self, func: str) -> None:
        """Somebody wants to know when the next run of this function ends."""
        self._awaited.add(func)

    def take_freed(self) -> dict[str, None]:
        """The awaited functions of which one has ended."""
        freed, self._freed = self._freed, {}
        return freed

    def remove(self, run: Run) -> None:
        func = run.job.func
        if func in self._awaited:
            self._awaited.discard(func)
            self._freed[func] = None
        del self._by_handle[run.handle]
        del self._by_key[run.job.key]
        del self._by_id[run.job.id]
        if run.job.broadcast is not None:
            self.broadcasts[func] -= 1
            if not self.broadcasts[func]:
                del self.broadcasts[func]
        if self.by_func[func] == 1:
            del self.by_func[func]
        else:
            self.by_func[func] -= 1
