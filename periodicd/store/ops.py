"""What a store can be asked, one class for each question, and its answers. Values only.

The scheduler makes ops, a store executes them in order inside one transaction and answers each: an ``Op[R]`` with an R.
``store/__init__.py`` says what every store must promise about them; the conformance suite holds the stores to it.
"""

from typing import Generic, Literal, NamedTuple, TypeVar

from msgspec import Struct

from periodicd.function import Function
from periodicd.job import Broadcast, Error, Job, State
from periodicd.lock import Lock
from periodicd.schedule import Schedule
from periodicd.store.listing import Listing as Listing
from periodicd.store.listing import ListingResult as ListingResult
from periodicd.store.listing import Place as Place
from periodicd.store.listing import Shown as Shown

Existing = Literal["replace", "keep", "keep_live", "refuse"]
Submitted = Literal["created", "replaced", "queued_behind", "kept", "refused", "full"]
Removed = Literal["removed", "absent", "changed"]
Requeued = Literal["requeued", "absent", "changed", "not_dead"]
Found = Literal["found", "absent", "changed"]
Cancelled = Literal["cancelled", "asked", "absent", "changed", "not_live"]
Moved = Literal["moved", "absent", "changed", "not_waiting"]
EndingWord = Literal["done", "dead", "removed", "replaced", "cancelled", "expired"]


R_co = TypeVar("R_co", covariant=True)


class Op(Struct, Generic[R_co], frozen=True):
    """Changes something, and is answered with an R."""


class Read(Op[R_co], Generic[R_co], frozen=True):
    """Changes nothing: a step of these alone needs no commit. Executed after the writes of its step."""


class Key(NamedTuple):
    """The place of a waiting job in its lane: a lane is ordered by due time, then by id."""

    due_at_ms: int
    id: int


# -- writes ------------------------------------------------------------------------------------------------------------


class Put(Op["PutResult"], frozen=True):
    """Submit a job. The store decides the result, since most names are only on disk."""

    job: Job
    existing: Existing = "replace"
    queue_max: int | None = None
    """One more than so many live jobs of its function is "full", and not put. None: any number may be there."""


class PutResult(Struct, frozen=True):
    result: Submitted
    id: int
    """Of the job that was put, or of the one that was kept; 0 if there is neither."""
    old_id: int | None = None
    """Of the job that is gone: it waited, was behind or was dead."""


class Remove(Op["RemoveResult"], frozen=True):
    """Take a job away, with what waits behind it.

    With ``id`` only the job that has it, in front or behind; what waited behind it waits on by itself, due at ``at_ms``
    or later.
    """

    func: str
    name: str
    at_ms: int
    id: int | None = None
    state: State | None = None
    """Only if it is in this state, or it has "changed". None: in any."""


class RemoveResult(NamedTuple):
    result: Removed
    gone: tuple[int, ...] = ()
    """The ids of the jobs that are."""
    behind: Job | None = None
    """The job that waited behind and waits by itself now."""


class Requeue(Op["RequeueResult"], frozen=True):
    """Make a dead job wait again, under a new id, its counters 0."""

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


class Cancel(Op["CancelResult"], frozen=True):
    """What waits, or is behind, is gone; what runs is to end with its run, unless that is done.

    With ``id`` only the job that has it, in front or behind.
    """

    func: str
    name: str
    at_ms: int
    reason: str
    id: int | None = None
    state: State | None = None
    """Only if it is in this state, or it has "changed". None: in any."""


class CancelResult(NamedTuple):
    result: Cancelled
    gone: tuple[int, ...] = ()
    """The ids of the jobs that are."""
    asked: int | None = None
    """Of the running one that is to end."""


class Move(Op["MoveResult"], frozen=True):
    """A waiting job, or one behind, gets another due time or priority. None leaves it as it is."""

    func: str
    name: str
    due_at_ms: int | None
    dated: bool
    priority: int | None
    id: int | None = None
    """Only the job that has this id."""
    state: State | None = None
    """Only if it is in this state, or it has "changed". None: in any."""


class MoveResult(NamedTuple):
    result: Moved
    job: Job | None = None
    """As it is now, without its workload."""


class Claim(Op[None], frozen=True):
    """Write that a job runs, if it is there and waits."""

    id: int
    handle: str
    attempt: int
    lease_until_at_ms: int
    started_at_ms: int
    taken_ms: int = 0


class Extend(Op[bool], frozen=True):
    """Move the end of a running job's lease. The answer is whether there was one."""

    id: int
    lease_until_at_ms: int


class JobEnd(NamedTuple):
    """How a job ended."""

    id: int
    ending: EndingWord
    ended_at_ms: int
    attempt: int
    reason: str | None = None
    data: bytes | None = None
    """The result. None: there is none, or it is not here."""
    data_bytes: int = 0
    """How large the result was."""


class Kept(NamedTuple):
    """An ending that is to be remembered for a while, since the job's submit asked for that."""

    func: str
    name: str
    end: JobEnd
    until_at_ms: int


class FollowOns(NamedTuple):
    """What is put if a run is found that ends."""

    puts: tuple[Put, ...] = ()
    then: Put | None = None
    """Those are the members of a group: that of this job."""


NO_FOLLOW_ONS = FollowOns()


class End(Struct, frozen=True):
    """What all ends of a run have in common.

    The job behind takes the ended one's place, due at ``at_ms`` or later. ``follow_ons`` are put if the run was found;
    one of the run's own name gives way to the job that was behind.
    """

    id: int
    handle: str | None
    """Of the run that ends, as the store has it: another one there is "not found". None: it was never claimed."""
    at_ms: int
    follow_ons: tuple[Put, ...] = ()
    kept: Kept | None = None
    """To be remembered if the job has ended with this: it is done or dead, or another takes its place."""
    group_id: int | None = None
    """The job is a member of this group, and has not ended before."""
    then: Put | None = None
    """The follow-ons are the members of a group: that of this job."""


class History(NamedTuple):
    """What a job has been through; each is the job's field of that name."""

    attempt: int
    failures: int = 0
    crashes: int = 0
    restarts: int = 0
    suspect: bool = False
    reason: str | None = None
    errors: tuple[Error, ...] = ()
    started_at_ms: int | None = None

    @classmethod
    def of(cls, job: Job) -> "History":
        counted = job.attempt, job.failures, job.crashes, job.restarts, job.suspect
        return cls(*counted, job.reason, job.errors, job.started_at_ms)


class Delete(Op["Ended"], frozen=True):
    """The job has ended with its run: it is done, or was to end."""

    end: End
    ending: EndingWord = "done"


class Release(Op["Ended"], frozen=True):
    """The run ended without success: the job waits again."""

    end: End
    due_at_ms: int
    handle: str | None
    """None once the run was reported: nothing more is accepted about it."""
    history: History
    locks: dict[str, int] | None = None
    """What the job takes from now on. None: as before."""


class Bury(Op["Ended"], frozen=True):
    """The job has failed for good and is dead from now on."""

    end: End
    ended_at_ms: int
    handle: str | None
    history: History


Ending = Delete | Release | Bury


class Tally(Op["Ended"], frozen=True):
    """Of a broadcast that goes on one run has ended: so far it is.

    A follow-on of its name gives way to a job that is behind.
    """

    end: End
    broadcast: Broadcast


class Ended(Struct, frozen=True):
    """What became of an ended run. If a job waited behind it, that one waits now and the run's own record is gone."""

    found: bool
    behind: Job | None = None
    follow_ons: tuple[PutResult | None, ...] = ()
    """In their order; None: it gave way."""
    then: PutResult | None = None
    """Of the job of the follow-ons' group, "kept" if one of its name is open. None: there was none, or it gave way."""


class Boot(Op["BootResult"], frozen=True):
    """The daemon starts."""


class BootResult(NamedTuple):
    boot: int
    """One more at each start."""
    next_id: int
    """No job or run ever had this number or a larger one."""
    running: list[Job]
    """Jobs whose claim is on disk, oldest first."""
    functions: dict[str, Function] = {}  # noqa: RUF012 - a field of a NamedTuple
    """What is set of them."""
    locks: dict[str, Lock] = {}  # noqa: RUF012
    """Likewise."""
    lines: tuple[str, ...] = ()
    """The locks for which somebody stands in line."""
    has_groups: bool = False
    """Whether any is open."""
    schedules: dict[str, Schedule] = {}  # noqa: RUF012
    """By name."""
    expires_at_ms: int | None = None
    """When the first of those does that can."""
    broadcast_at_ms: int | None = None
    """When the first broadcast that waits is due, or was."""


class Reserve(Op[None], frozen=True):
    """Numbers below ``next_id`` may be in use from this commit on."""

    next_id: int


class Shift(Op[None], frozen=True):
    """The wall clock was stepped back: whatever waits or is behind, and has no date, is due so much earlier."""

    by_ms: int


class Forget(Op[int], frozen=True):
    """Forget endings whose time is over, then, of more than ``kept`` or ``kept_bytes``, those that end soonest.

    ``limit`` of each at the most. The answer is how many.
    """

    at_ms: int
    kept: int
    kept_bytes: int
    limit: int


class Purge(Op[int], frozen=True):
    """Forget dead jobs that ended before ``ended_at_ms``, and the oldest of more than ``kept``: the oldest ``limit`` of
    them, since nothing else is done meanwhile.


    The answer is how many.
    """

    ended_at_ms: int
    kept: int
    limit: int


# -- reads: executed after the writes of their step --------------------------------------------------------------------


class Get(Read["GetResult"], frozen=True):
    """One job by its identity."""

    func: str
    name: str
    id: int | None = None
    """Only the job that has this id, in front or behind."""
    workload: bool = True
    """Whether the workload is wanted."""
    at_ms: int = 0
    """Endings whose time was over by then are not told."""
    data: bool = False
    """Whether the ending's data is wanted."""


class Group(NamedTuple):
    """How far a group is that is open: each number is of members."""

    sealed: bool
    """No more are to come, but for follow-ons."""
    members: int = 0
    open: int = 0
    """Have not ended."""
    done: int = 0
    dead: int = 0
    removed: int = 0
    """Or replaced."""
    cancelled: int = 0
    expired: int = 0

    def headers(self) -> dict[str, str]:
        """What the group's job is told of them when it goes free."""
        ended = ("members", "done", "dead", "removed", "cancelled", "expired")
        return {f"group-{name}": str(getattr(self, name)) for name in ended}


class GetResult(NamedTuple):
    result: Found
    shown: Shown | None = None
    last: JobEnd | None = None
    """Of what is remembered: how the job with this ``id`` ended, or else the last one of this name."""
    group: Group | None = None
    """That of the job, which waits for its members."""


class FetchEnd(Read[JobEnd | None], frozen=True):
    """How the job with this id ended, data included, if that is remembered."""

    id: int


class Fetch(Read[Job | None], frozen=True):
    """One job by its id, workload included."""

    id: int


class Lanes(Read[list[int]], frozen=True):
    """The priorities at which a function has waiting jobs, ascending."""

    func: str


class Page(Read["PageResult"], frozen=True):
    """The next waiting jobs of a lane, in order.

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


class Count(Read["CountResult"], frozen=True):
    """How many jobs the functions have whose names begin with ``prefix`` and come after ``after``, in order.

    Of ``limit`` functions at the most, and of fewer if they cost too many looks.
    """

    prefix: str
    after: str
    limit: int


class FunctionCount(NamedTuple):
    live: int = 0
    """Waiting, parked, running, or behind a running one."""
    behind: int = 0
    dead: int = 0
    due_at_ms: int | None = None
    """Of the earliest waiting one."""
    parked: int = 0


class CountResult(NamedTuple):
    functions: dict[str, FunctionCount]
    """Those with jobs, in order."""
    more: bool
    """Whether there are others after the last of them."""
