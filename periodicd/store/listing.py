"""Pages of jobs, which are made beside the steps, on what is committed. Values only; ops.py has them too."""

from typing import NamedTuple

from periodicd.job import Job, State


class Shown(NamedTuple):
    job: Job
    behind: bool
    """Whether another waits behind it."""


class Place(NamedTuple):
    """Where a page ended: the last job that was looked at."""

    id: int
    name: str | None = None
    """If the listing goes by names."""


class Listing(NamedTuple):
    """One page of the jobs to which all of this applies; protocol.md, list. Oldest id first, or by name and then by id.

    A page may be short, even empty, and not be the last: looking costs time too.
    """

    func: str | None = None
    state: State | None = None
    prefix: str | None = None
    """How the job's name begins."""
    due_from_at_ms: int | None = None
    due_before_at_ms: int | None = None
    reason: str | None = None
    """What occurs in the reason of the last failure."""
    before_id: int | None = None
    """Only jobs with smaller ids: those that were there when somebody began to list them."""
    after: Place | None = None
    limit: int = 100
    only_count: bool = False
    """Count all that a page's time allows, and show none."""
    group_id: int | None = None
    """Only members of this group."""

    @property
    def by_name(self) -> bool:
        """Whether the jobs come by name, and not by id."""
        return self.func is not None and self.prefix is not None


class ListingResult(NamedTuple):
    jobs: list[Shown]
    """Without their workloads."""
    next: Place | None
    found: int = 0
    """How many, if they were only to be counted."""
