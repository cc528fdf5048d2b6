"""What a store can be asked, one class for each question, and its answers. Values only.

The scheduler makes ops, a store executes them in order inside one transaction and answers each. ``store/__init__.py``
says what every store must promise about them; the conformance suite holds the stores to it.
"""

from typing import Literal, NamedTuple

from periodicd.job import Job, State

Existing = Literal["replace", "keep", "keep_live", "refuse"]
Submitted = Literal["created", "replaced", "queued_behind", "kept", "refused"]
Removed = Literal["removed", "absent", "changed"]
Requeued = Literal["requeued", "absent", "changed", "not_dead"]
Found = Literal["found", "absent", "changed"]


class Key(NamedTuple):
    """The place of a waiting job in its lane: a lane is ordered by due time, then by id."""

    due_at_ms: int
    id: int


# -- writes ------------------------------------------------------------------------------------------------------------


class Put(NamedTuple):
    """Submit a job. The store decides the result, since most names are only on disk. Answer: PutResult."""

    job: Job
    existing: Existing = "replace"


class PutResult(NamedTuple):
    result: Submitted
    id: int
    """Of the job that was put, or of the one that was kept."""
    old_id: int | None = None
    """Of the waiting or dead job that is gone."""


class Remove(NamedTuple):
    """Take a job away in any state, with what waits behind it. Answer: RemoveResult.

    With ``id`` only the job that has it, in front or behind; what waited behind it waits on by itself, due at ``at_ms``
    or later.
    """

    func: str
    name: str
    at_ms: int
    id: int | None = None


class RemoveResult(NamedTuple):
    result: Removed
    id: int | None = None
    """Of the job that waited, ran or was dead, if it is gone."""
    successor: Job | None = None
    """The job that waited behind and waits by itself now."""


class Requeue(NamedTuple):
    """Make a dead job wait again, under a new id, its counters 0. Answer: RequeueResult."""

    func: str
    name: str
    new_id: int
    due_at_ms: int
    id: int | None = None
    """Only the job that has this id."""


class RequeueResult(NamedTuple):
    result: Requeued
    job: Job | None = None
    old_id: int | None = None


class Claim(NamedTuple):
    """Write that a job runs. Answer: bool, False if the job is not there to be claimed (the claim is refused)."""

    id: int
    handle: str
    attempt: int
    lease_until_at_ms: int


class Extend(NamedTuple):
    """Move the end of a running job's lease. Answer: bool."""

    id: int
    lease_until_at_ms: int


class End(NamedTuple):
    """What all ends of a run have in common.

    The job behind takes the ended one's place, due at ``at_ms`` or later. ``follow_ons`` are put if the run was found;
    one of the run's own name gives way to the job that was behind.
    """

    id: int
    func: str
    handle: str | None
    """Of the run that ends, as the store has it: another one there is "not found". None: it was never claimed."""
    at_ms: int
    follow_ons: tuple[Put, ...] = ()


class Delete(NamedTuple):
    """The run is done: delete the job. Answer: Ended."""

    end: End


class Release(NamedTuple):
    """The run ended without success: the job waits again. Answer: Ended."""

    end: End
    due_at_ms: int
    handle: str | None
    """None once the run was reported: nothing more is accepted about it."""
    attempt: int
    failures: int
    crashes: int
    restarts: int
    suspect: bool
    reason: str | None


class Bury(NamedTuple):
    """The job has failed for good and is dead from now on. Answer: Ended."""

    end: End
    ended_at_ms: int
    handle: str | None
    attempt: int
    failures: int
    crashes: int
    restarts: int
    reason: str


class Ended(NamedTuple):
    """What became of an ended run. If a job waited behind it, that one waits now and the run's own record is gone."""

    found: bool
    successor: Job | None = None
    follow_ons: tuple[PutResult | None, ...] = ()
    """In their order; None: it gave way."""


class Boot(NamedTuple):
    """The daemon starts. Answer: BootResult."""


class BootResult(NamedTuple):
    boot: int
    """One more at each start."""
    next_id: int
    """No job or run ever had this number or a larger one."""
    running: list[Job]
    """Jobs whose claim is on disk, oldest first."""


class Reserve(NamedTuple):
    """Numbers below ``next_id`` may be in use from this commit on. Answer: None."""

    next_id: int


class Shift(NamedTuple):
    """The wall clock was stepped back: whatever waits or is behind, and has no date, is due so much earlier.

    Answer: None.
    """

    by_ms: int


class Purge(NamedTuple):
    """Forget dead jobs that ended before ``ended_at_ms``, and the oldest of more than ``kept``: the oldest ``limit`` of
    them, since nothing else is done meanwhile.

    Answer: int, how many.
    """

    ended_at_ms: int
    kept: int
    limit: int


# -- reads: executed after the writes of their step --------------------------------------------------------------------


class Get(NamedTuple):
    """One job by its identity. Answer: GetResult."""

    func: str
    name: str
    id: int | None = None
    """Only the job that has this id, in front or behind."""
    workload: bool = True
    """Whether the workload is wanted."""


class Shown(NamedTuple):
    job: Job
    successor: bool
    """Whether another waits behind it."""


class GetResult(NamedTuple):
    result: Found
    shown: Shown | None = None


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
    """How many jobs the functions have whose names begin with ``prefix`` and come after ``after``, in order.

    Answer: CountResult, of ``limit`` functions at the most, and fewer if they cost too many looks.
    """

    prefix: str
    after: str
    limit: int


class FunctionCount(NamedTuple):
    live: int = 0
    """Waiting, running, or behind a running one."""
    behind: int = 0
    dead: int = 0
    due_at_ms: int | None = None
    """Of the earliest waiting one."""


class CountResult(NamedTuple):
    functions: dict[str, FunctionCount]
    """Those with jobs, in order."""
    more: bool
    """Whether there are others after the last of them."""


Op = (
    Put | Remove | Requeue | Claim | Extend | Delete | Release | Bury | Boot | Reserve | Shift | Purge
    | Get | Fetch | Lanes | Page | Count
)  # fmt: skip

READS: frozenset[type[Op]] = frozenset({Get, Fetch, Lanes, Page, Count})
"""Ops that change nothing: a step of these alone needs no commit."""

Result = (
    PutResult | RemoveResult | RequeueResult | Ended | BootResult | GetResult | PageResult | CountResult
    | Job | list[int] | bool | int | None
)  # fmt: skip


# -- listings: beside the steps, on what is committed ------------------------------------------------------------------


class Listing(NamedTuple):
    """One page of all jobs, oldest id first; protocol.md, list."""

    func: str | None = None
    state: State | None = None
    after: int = 0
    limit: int = 100


class ListingResult(NamedTuple):
    jobs: list[Shown]
    """Without their workloads."""
    next: int | None
