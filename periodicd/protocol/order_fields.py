"""What may be said about the order among jobs: settings of functions and locks, groups. As fields.py."""

from typing import Annotated, ClassVar

from periodic_client.wire import limits
from periodicd.protocol.fields import Job, Jobs, OfFunction, Retry, look_at_group
from periodicd.protocol.kinds import (
    CHARACTERS_THAT_FIT,
    Capacity,
    Keeping,
    Lease,
    Name,
    QueueMax,
    RateCount,
    RateTime,
    RunningMax,
)
from periodicd.protocol.words import Params, Said, measure, says


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
