"""Params of the methods about the order among jobs, checked as in requests.py: settings, locks, groups, schedules."""

from collections.abc import Callable
from typing import Any, NamedTuple

from periodic_client.wire.limits import SCHEDULE_JOB_BYTES_MAX
from periodicd.calendar import Recurrence
from periodicd.function import Function, Rate
from periodicd.lock import NOTHING_SET, Lock
from periodicd.protocol import fields, order_fields, requests
from periodicd.protocol.words import kind_of, take, wrong
from periodicd.schedule import Schedule


def set_function(params: list[Any], _rules: requests.Rules) -> tuple[str, Function]:
    """The second has only what can be set."""
    said = take(params, order_fields.SetFunction)
    settings = said.settings or order_fields.FunctionSettings()
    function = Function(
        running_max=settings.running_max,
        rate=_rate(settings.rate),
        queue_max=settings.queue_max,
        lease_ms=settings.lease_ms,
        retry=None if settings.retry is None else requests.retry_of(settings.retry),
        result_ms=settings.result_ms,
    )
    return said.func, function


def set_lock(params: list[Any], _rules: requests.Rules) -> tuple[str, Lock]:
    said = take(params, order_fields.SetLock)
    settings = said.settings or order_fields.LockSettings()
    return said.lock, Lock(settings.capacity or NOTHING_SET.capacity, _rate(settings.rate))


def _rate(said: order_fields.Rate | None) -> Rate | None:
    return None if said is None else Rate(said.count, said.per_ms)


def locks(params: list[Any], _rules: requests.Rules) -> tuple[requests.NamesQuery]:
    return (requests.names(take(params, fields.Locks).query),)


class Group(NamedTuple):
    """Jobs, and the one that is due when all of them have ended."""

    then: requests.Submission
    jobs: tuple[requests.Submission, ...]
    sealed: bool


def submit_group(params: list[Any], rules: requests.Rules) -> tuple[Group]:
    said = take(params, order_fields.SubmitGroup).group
    then = requests.submission(said.then, "group.then", rules)
    jobs = requests.submissions(said.jobs or (), "group.jobs", rules)
    return (Group(then, jobs, said.sealed is not False),)


def pause(params: list[Any], _rules: requests.Rules) -> tuple[str]:
    return (take(params, order_fields.Pause).func,)


def resume(params: list[Any], _rules: requests.Rules) -> tuple[str]:
    return (take(params, order_fields.Resume).func,)


# -- schedules ---------------------------------------------------------------------------------------------------------


_NOT_SAID = {
    "name": "is the schedule's with the instant",
    "due_at_ms": "is the instant",
    "delay_ms": "is the schedule's, with its jitter_ms",
    "expires_at_ms": "would be one point in time for all of them",
    "existing": "means nothing: each occurrence has a name of its own",
    "join_group": "is for follow-on jobs",
}
"""Of the job of a schedule."""


class SetSchedule(NamedTuple):
    """``schedule`` without what its past decides; ``has_from``: whether ``from_at_ms`` was said."""

    name: str
    schedule: Schedule
    has_from: bool


def set_schedule(params: list[Any], rules: requests.Rules) -> tuple[SetSchedule]:
    said = take(params, order_fields.SetSchedule)
    options = said.options
    job = _job_of_schedule(options.job, said.schedule, rules)
    recurrence = Recurrence(
        options.every_ms, options.cron, options.zone or "UTC", options.from_at_ms or 0, options.until_at_ms
    )
    schedule = Schedule(recurrence, job, options.jitter_ms or 0, options.missed or "skip", options.overlap or "skip")
    return (SetSchedule(said.schedule, schedule, options.from_at_ms is not None),)


def _job_of_schedule(job: Any, name: str, rules: requests.Rules) -> dict[str, Any]:
    """Its workload as bytes, so that it is the same job if it is said as text. Raises Invalid."""
    where = "options.job"
    if type(job) is not dict:
        raise wrong(where, f"is a map, not {kind_of(job)}")
    for key, why in _NOT_SAID.items():
        if key in job:
            raise wrong(f"{where}.{key}", f"is not said: it {why}")
    submitted = occurrence(job, name, rules, where).job
    size = submitted.workload_bytes
    if size > SCHEDULE_JOB_BYTES_MAX:
        raise wrong(f"{where}.workload", f"has {size:,} bytes, and may have {SCHEDULE_JOB_BYTES_MAX:,} in a schedule")
    return job | {"workload": submitted.workload} if job.get("workload") else job


def occurrence(job: dict[str, Any], name: str, rules: requests.Rules, where: str = "job") -> requests.Submission:
    """The job of a schedule, submitted by this name. Raises Invalid."""
    return requests.submission(take(job | {"name": name, "existing": "keep"}, fields.Job, where), where, rules)


def of_schedule(said: type[order_fields.OfSchedule]) -> Callable[[list[Any], requests.Rules], tuple[str]]:
    """The check of a method that takes its name alone."""

    def check(params: list[Any], _rules: requests.Rules) -> tuple[str]:
        return (take(params, said).schedule,)

    return check


def next_times(params: list[Any], _rules: requests.Rules) -> tuple[str, int]:
    said = take(params, order_fields.NextTimes)
    return said.schedule, (said.options and said.options.count) or 5


def list_schedules(params: list[Any], _rules: requests.Rules) -> tuple[requests.NamesQuery]:
    return (requests.names(take(params, order_fields.ListSchedules).query),)
