"""What may be said about the order among jobs: settings of functions and locks, groups, schedules. As fields.py."""

from typing import Annotated, Any, ClassVar

from msgspec import Meta

from periodic_client.wire import limits
from periodicd import calendar
from periodicd.protocol.fields import Job, Jobs, OfFunction, Retry, look_at_group
from periodicd.protocol.kinds import (
    CHARACTERS_THAT_FIT,
    Capacity,
    Cursor,
    Every,
    Jitter,
    Keeping,
    Lease,
    Name,
    Page,
    QueueMax,
    RateCount,
    RateTime,
    RunningMax,
    ScheduleName,
    Text,
    Time,
    Times,
)
from periodicd.protocol.words import Params, Said, Wrong, measure, says
from periodicd.schedule import Missed, Overlap


class Rate(Said):
    called: ClassVar[str] = "a rate"

    count: Annotated[RateCount, says("so many runs", "required")]
    per_ms: Annotated[RateTime, says("in so long", "required")]


class FunctionSettings(Said):
    running_max: Annotated[RunningMax | None, says("how many of its jobs run at once, of all workers together")] = None
    rate: Annotated[Rate | None, says("how often its runs begin")] = None
    queue_max: Annotated[
        QueueMax | None, says("how many jobs it may have, dead ones left out; a submit of one more is `FULL`")
    ] = None
    lease_ms: Annotated[Lease | None, says("of jobs whose submit has none", 600_000)] = None
    retry: Annotated[Retry | None, says("of jobs whose submit has none", "that of `submit`")] = None
    result_ms: Annotated[Keeping | None, says("of jobs whose submit has none", 0)] = None


class SetFunction(OfFunction):
    settings: FunctionSettings | None = None


class LockSettings(Said):
    capacity: Annotated[Capacity | None, says("how much of it can be held at once", 1)] = None
    rate: Annotated[Rate | None, says("how often it is taken, by all functions together")] = None


class SetLock(Params):
    lock: Name
    settings: LockSettings | None = None

    def __post_init__(self) -> None:
        if len(self.lock) > CHARACTERS_THAT_FIT:
            measure(limits.NAME_BYTES_MAX, self, "lock")


class Pause(OfFunction):
    pass


class Resume(OfFunction):
    pass


# -- groups ------------------------------------------------------------------------------------------------------------


class GroupOptions(Said):
    called: ClassVar[str] = "a group"

    then: Annotated[Job, says("the job that is due when all of them have ended; it is the group", "required")]
    jobs: Annotated[Jobs | None, says("its members", "empty")] = None
    sealed: Annotated[bool | None, says("no more are to come, but for follow-ons that join it", default=True)] = None

    def __post_init__(self) -> None:
        look_at_group(self.then, self.jobs or (), "jobs")


class SubmitGroup(Params):
    group: GroupOptions


# -- schedules ---------------------------------------------------------------------------------------------------------


class ScheduleOptions(Said):
    called: ClassVar[str] = "a schedule"

    job: Annotated[
        Any,
        Meta(extra={"words": "a map"}),
        says(
            "what is submitted each time: as in `submit`, but for name, due time, `expires_at_ms` and `existing`",
            "required",
        ),
    ]
    every_ms: Annotated[Every | None, says("it fires every so long; this or `cron` is given")] = None
    cron: Annotated[Text | None, says("it fires when this says: minute, hour, day of the month, month, weekday")] = None
    zone: Annotated[Text | None, says("the IANA time zone by whose clocks `cron` goes", "UTC")] = None
    jitter_ms: Annotated[Jitter | None, says("each occurrence is due up to so much later", 0)] = None
    missed: Annotated[Missed | None, says("what becomes of instants that the daemon missed", "skip")] = None
    overlap: Annotated[
        Overlap | None, says("what becomes of an instant at which the last occurrence is live", "skip")
    ] = None
    from_at_ms: Annotated[
        Time | None, says("no instant is before; those of `every_ms` are counted from here", "when it is set")
    ] = None
    until_at_ms: Annotated[Time | None, says("each instant is before")] = None

    def __post_init__(self) -> None:
        measure(limits.NAME_BYTES_MAX, self, "cron", "zone")
        if (self.every_ms is None) == (self.cron is None):
            raise Wrong("", "has one of every_ms and cron")
        if self.zone is not None and self.cron is None:
            raise Wrong("zone", "goes with cron; every_ms is the same in all zones")
        if self.cron is not None and (bad := calendar.check_cron(self.cron)) is not None:
            raise Wrong("cron", bad)
        if self.zone is not None and (bad := calendar.check_zone(self.zone)) is not None:
            raise Wrong("zone", bad)
        if self.until_at_ms is not None and self.until_at_ms <= (self.from_at_ms or 0):
            raise Wrong("until_at_ms", "is not after from_at_ms, so it would never fire")


class OfSchedule(Params):
    schedule: ScheduleName

    def __post_init__(self) -> None:
        measure(limits.SCHEDULE_NAME_BYTES_MAX, self, "schedule")


class SetSchedule(OfSchedule):
    options: ScheduleOptions


class RemoveSchedule(OfSchedule):
    pass


class PauseSchedule(OfSchedule):
    pass


class ResumeSchedule(OfSchedule):
    pass


class RunSchedule(OfSchedule):
    pass


class NextTimesOptions(Said):
    count: Annotated[Times | None, says("how many", 5)] = None


class NextTimes(OfSchedule):
    options: NextTimesOptions | None = None


class SchedulesQuery(Said):
    prefix: Annotated[Text | None, says("only schedules that begin so")] = None
    after: Annotated[Cursor | None, says("the `next` of the page before")] = None
    limit: Annotated[Page | None, says("how many schedules at the most", 100)] = None

    def __post_init__(self) -> None:
        measure(limits.NAME_BYTES_MAX, self, "prefix", "after")


class ListSchedules(Params):
    query: SchedulesQuery | None = None
