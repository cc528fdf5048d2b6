"""What a store can be asked, one class for each question, and its answers. Values only.

The scheduler makes ops, a store executes them in order inside one transaction and answers each. ``store/__init__.py``
says what every store must promise about them; the conformance suite holds the stores to it.
"""

from typing import Literal, NamedTuple

from periodicd.job import Job, State

Submitted = Literal["created", "replaced", "queued_behind", "kept"]
Removed = Literal["removed", "absent"]
Requeued = Literal["requeued", "not_dead", "absent"]


class Key(NamedTuple):
    """The place of a waiting job in its lane: a lane is ordered by due time, then by id."""

    due_ms: int
    id: int


# -- writes ------------------------------------------------------------------------------------------------------------


class Put(NamedTuple):
    """Submit a job. The store decides the outcome, since most names are only on disk. Answer: PutResult."""

    job: Job
    keep: bool = False


class PutResult(NamedTuple):
    outcome: Submitted
    old_id: int | None = None
    """With "replaced": the waiting job that is gone."""


class Remove(NamedTuple):
    """Take a job away in any state, with what waits behind it. Answer: RemoveResult."""

    func: str
    name: str


class RemoveResult(NamedTuple):
    outcome: Removed
    id: int | None = None
    """Of the job that waited, ran or was dead."""


class Requeue(NamedTuple):
    """Make a dead job wait again, under a new id, its counters 0. Answer: RequeueResult."""

    func: str
    name: str
    id: int
    due_ms: int


class RequeueResult(NamedTuple):
    outcome: Requeued
    job: Job | None = None


class Claim(NamedTuple):
    """Write that a job runs. Answer: bool, False if the job is not there to be claimed (the claim is refused)."""

    id: int
    handle: str
    attempt: int
    lease_until_ms: int


class Extend(NamedTuple):
    """Move the end of a running job's lease. Answer: bool."""

    id: int
    lease_until_ms: int


class Finish(NamedTuple):
    """The run is done: delete the job. Answer: Ended."""

    id: int
    func: str


class Release(NamedTuple):
    """The run ended without success: the job waits again. Answer: Ended."""

    id: int
    func: str
    due_ms: int
    handle: str | None
    """None once the run was reported: nothing more is accepted about it."""
    attempt: int
    failures: int
    crashes: int
    suspect: bool
    reason: str | None


class Bury(NamedTuple):
    """The job has failed for good and is dead from now on. Answer: Ended."""

    id: int
    func: str
    ended_ms: int
    handle: str | None
    attempt: int
    failures: int
    crashes: int
    reason: str


class Ended(NamedTuple):
    """What became of an ended run. If a job waited behind it, that one waits now and the run's own record is gone."""

    found: bool
    successor: Job | None = None


class Boot(NamedTuple):
    """The daemon starts. Answer: BootResult."""


class BootResult(NamedTuple):
    boot: int
    """One more at each start."""
    next_id: int
    """No job ever had this id or a larger one."""
    running: list[Job]
    """Jobs whose claim is on disk, oldest first."""


class Reserve(NamedTuple):
    """Ids below ``next_id`` may be in use from this commit on. Answer: None."""

    next_id: int


class Purge(NamedTuple):
    """Forget dead jobs that ended before ``ended_ms``, and the oldest of more than ``kept``. Answer: int, how many."""

    ended_ms: int
    kept: int


# -- reads: executed after the writes of their step --------------------------------------------------------------------


class Get(NamedTuple):
    """One job by its identity, workload included. Answer: GetResult."""

    func: str
    name: str


class GetResult(NamedTuple):
    job: Job | None
    """The one that waits, runs or is dead."""
    successor: bool = False
    """Whether another waits behind it."""


class Fetch(NamedTuple):
    """One job by its id, workload included. Answer: Job | None."""

    id: int


class Lanes(NamedTuple):
    """The priorities at which a function has waiting jobs, ascending. Answer: list[int]."""

    func: str


class Page(NamedTuple):
    """The next waiting jobs of a lane, in order. Answer: PageResult.

    Workloads of more than ``inline_bytes`` are left on disk. The page ends early when its workloads exceed
    ``page_bytes``, but never before its first job.
    """

    func: str
    priority: int
    after: Key | None
    limit: int
    inline_bytes: int
    page_bytes: int


class PageResult(NamedTuple):
    jobs: list[Job]
    more: bool
    """Whether the lane goes on after the page."""


class Count(NamedTuple):
    """How many jobs there are, and when the earliest waiting one is due. Answer: dict[str, FunctionCount] by func."""


class FunctionCount(NamedTuple):
    live: int = 0
    """Waiting, running, or behind a running one."""
    dead: int = 0
    due_ms: int | None = None


Op = (
    Put | Remove | Requeue | Claim | Extend | Finish | Release | Bury | Boot | Reserve | Purge
    | Get | Fetch | Lanes | Page | Count
)  # fmt: skip

READS: frozenset[type[Op]] = frozenset({Get, Fetch, Lanes, Page, Count})
"""Ops that change nothing: a step of these alone needs no commit."""

Result = (
    PutResult | RemoveResult | RequeueResult | Ended | BootResult | GetResult | PageResult
    | Job | dict[str, FunctionCount] | list[int] | bool | int | None
)  # fmt: skip


# -- listings: beside the steps, on what is committed ------------------------------------------------------------------


class Listing(NamedTuple):
    """One page of all jobs, oldest id first; protocol.md, list."""

    func: str | None = None
    state: State | None = None
    after: int = 0
    limit: int = 100


class ListingResult(NamedTuple):
    jobs: list[Job]
    """Without their workloads."""
    next: int | None
