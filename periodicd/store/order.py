"""What a store can be asked about the order among jobs: settings of functions and locks, lines, groups, schedules,
broadcasts.

As ops.py, and values only.
"""

from typing import Literal, NamedTuple

from periodicd.function import Function
from periodicd.job import Job
from periodicd.lock import Lock
from periodicd.schedule import Schedule
from periodicd.store.ops import Op, Put, PutResult, Read


class SetFunction(Op[None], frozen=True):
    """What is set of a function from now on. None: nothing."""

    func: str
    function: Function | None


class SetLock(Op[None], frozen=True):
    """What is set of a lock from now on. None: nothing."""

    name: str
    lock: Lock | None


class Park(Op[None], frozen=True):
    """A waiting job that is due stands in line for its locks from now on, if it is there and waits."""

    job: Job


class Unpark(Op[Job | None], frozen=True):
    """A parked job waits again. The answer is the job, without its workload; None if it is not parked.

    It was due, and is: at ``at_ms`` at the latest, should the clock have been set back while nobody ran.
    """

    id: int
    at_ms: int


class InLine(NamedTuple):
    """A parked job. In this order they stand in line."""

    priority: int
    due_at_ms: int
    id: int
    func: str
    locks: dict[str, int]


class Heads(Read[dict[str, list[InLine]]], frozen=True):
    """Who is first in line for each of these locks, of each function; who wants more of any lock than its capacity is
    passed over.
    """

    locks: tuple[str, ...]


class Left(Read[tuple[str, ...]], frozen=True):
    """The locks whose line somebody has left since this was last asked, otherwise than by ``Unpark``."""


class LineLengths(Read[dict[str, int]], frozen=True):
    """How many stand in line for each of these locks, or ``limit`` if they are more."""

    locks: tuple[str, ...]
    limit: int


Grouped = Literal["created", "replaced", "queued_behind", "added", "kept", "refused", "full"]


class PutGroup(Op["PutGroupResult"], frozen=True):
    """Submit jobs, and one that is parked until all of them have ended: it is the group, and has its id.

    If a group of its identity is open the jobs are added to that one, or none are put if it is sealed.
    """

    then: Put
    jobs: tuple[Put, ...]
    sealed: bool
    """No more are to come, but for follow-ons of members."""


class PutGroupResult(NamedTuple):
    result: Grouped
    id: int
    """Of the group that the jobs are members of, or that was kept; 0 if there is none."""
    old_id: int | None = None
    """Of the job that is gone, whose place the group's takes."""
    jobs: tuple[PutResult, ...] = ()
    """In their order. Empty: none was put."""


class Freed(Read[list[Job]], frozen=True):
    """The jobs of groups that have finished since this was last asked, if they wait now; without their workloads."""


class SetSchedule(Op[None], frozen=True):
    """What a schedule is from now on. None: it is gone."""

    name: str
    schedule: Schedule | None


class Fire(Op[PutResult | None], frozen=True):
    """Submit an occurrence, and keep how far its schedule is, with its id. None: the last occurrence is live."""

    name: str
    schedule: Schedule
    put: Put
    unless_live: int | None
    """The last occurrence, if that matters."""


class Expire(Op["ExpireResult"], frozen=True):
    """End jobs that have expired by then: they are dead, or gone if they are behind. ``limit`` at the most."""

    at_ms: int
    limit: int


class Expired(NamedTuple):
    id: int
    func: str
    name: str


class ExpireResult(NamedTuple):
    ended: tuple[Expired, ...]
    next_at_ms: int | None
    """When the next one does."""


class Broadcasts(Read["BroadcastsResult"], frozen=True):
    """The broadcasts that wait and are due by then, in the order of their due times, with their workloads.

    ``limit`` at the most. Those of paused functions and those that have expired are passed over.
    """

    at_ms: int
    limit: int


class BroadcastsResult(NamedTuple):
    jobs: list[Job]
    next_at_ms: int | None
    """When the one after them is due."""
