"""What the daemon says of the order among jobs: locks, groups, schedules. As answers.py."""

from typing import Any, TypedDict

from periodicd.schedule import Schedule


class HolderAnswer(TypedDict):
    """Who holds some of a lock."""

    func: str
    name: str
    id: int
    run: int
    weight: int
    started_at_ms: int | None


class LockAnswer(TypedDict):
    """A lock that somebody holds or waits for, or of which something is set."""

    lock: str
    capacity: int
    rate: dict[str, int] | None
    used: int
    parked: int
    holder_count: int
    holders: list[HolderAnswer]


class LocksAnswer(TypedDict):
    locks: list[LockAnswer]
    next: str | None


class SubmitGroupAnswer(TypedDict):
    result: str
    id: int
    results: list[str]
    ids: list[int | None]


class SetScheduleAnswer(TypedDict):
    result: str
    next_at_ms: int | None


class RunScheduleAnswer(TypedDict):
    result: str
    id: int | None


class NextTimesAnswer(TypedDict):
    result: str
    times: list[int]


class ScheduleAnswer(TypedDict):
    """A schedule as ``list_schedules`` shows it."""

    schedule: str
    job: dict[str, Any]
    every_ms: int | None
    cron: str | None
    zone: str | None
    jitter_ms: int
    missed: str
    overlap: str
    from_at_ms: int
    until_at_ms: int | None
    paused: bool
    fired_at_ms: int
    last_id: int | None
    next_at_ms: int | None


class ListSchedulesAnswer(TypedDict):
    schedules: list[ScheduleAnswer]
    next: str | None


def scheduled(name: str, schedule: Schedule, next_at_ms: int | None) -> ScheduleAnswer:
    """A schedule as ``list_schedules`` shows it: without the workload."""
    recurrence = schedule.recurrence
    return {
        "schedule": name,
        "job": {key: value for key, value in schedule.job.items() if key != "workload"},
        "every_ms": recurrence.every_ms,
        "cron": recurrence.cron,
        "zone": recurrence.zone if recurrence.cron is not None else None,
        "jitter_ms": schedule.jitter_ms,
        "missed": schedule.missed,
        "overlap": schedule.overlap,
        "from_at_ms": recurrence.from_at_ms,
        "until_at_ms": recurrence.until_at_ms,
        "paused": schedule.paused,
        "fired_at_ms": schedule.fired_at_ms,
        "last_id": schedule.last_id or None,
        "next_at_ms": next_at_ms,
    }
